//! Where requests come from: one worker at a time takes them from tiny_http, a few at once, and answers them itself.
//!
//! The order of a connection's requests is known only to whoever takes them, so two workers must not take at once. Should
//! the post change hands with every request, then every request would wake a worker, that most often finds nothing to do
//! any more: on one core that costs as much as an announce does. So who has the post keeps it while what waits
//! is little, and hands it on before it answers when there is enough for two.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use tiny_http::{Request, Server};

/// Requests taken together at most. As many of them are work for another worker, too.
pub const BATCH: usize = 16;

/// A tiny_http server, and who takes its requests.
pub struct Source {
    server: Server,
    /// Whether a worker has the post.
    is_taken: Mutex<bool>,
    vacant: Condvar,
    is_ended: AtomicBool,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("is_ended", &self.is_ended).finish_non_exhaustive()
    }
}

/// The right to take requests, given back when dropped.
pub struct Post<'a>(&'a Source);

impl Source {
    /// Nobody has taken any yet.
    pub fn new(server: Server) -> Self {
        Self { server, is_taken: Mutex::new(false), vacant: Condvar::new(), is_ended: AtomicBool::new(false) }
    }

    /// Waits for the post. `None`: there will be no requests any more.
    pub fn post(&self) -> Option<Post<'_>> {
        let taken = self.is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |is_taken: &mut bool| *is_taken && !self.is_ended();
        let mut taken = self.vacant.wait_while(taken, wait).unwrap_or_else(PoisonError::into_inner);
        if self.is_ended() {
            return None;
        }
        *taken = true;
        Some(Post(self))
    }

    /// Ends the waiting of all workers.
    pub fn end(&self) {
        let taken = self.is_taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_ended.store(true, Ordering::Release);
        drop(taken);
        self.vacant.notify_all();
        // Who has the post may be waiting for a request, or wait for one before it looks whether it should.
        self.server.unblock();
    }

    fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Acquire)
    }
}

impl Post<'_> {
    /// Takes the requests that wait, up to [`BATCH`], in the order of their arrival; if there is none and `may_wait`, waits
    /// for the first. False: there will be none any more.
    ///
    /// # Errors
    /// Connections are not accepted any more. Requests over those there are may still come.
    pub fn take(&self, requests: &mut Vec<Request>, may_wait: bool) -> io::Result<bool> {
        let Self(source) = self;
        // A look at what waits may have taken the notice that ends all waiting.
        if source.is_ended() {
            return Ok(false);
        }
        if may_wait {
            match source.server.recv() {
                Ok(request) => requests.push(request),
                // The way tiny_http ends a wait on demand.
                Err(error) if error.kind() == io::ErrorKind::Other => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        while requests.len() < BATCH {
            match source.server.try_recv() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for Post<'_> {
    fn drop(&mut self) {
        *self.0.is_taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.vacant.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn source() -> (Arc<Source>, TcpStream) {
        let server = Server::http("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(server.server_addr().to_ip().unwrap()).unwrap();
        (Arc::new(Source::new(server)), client)
    }

    #[test]
    fn the_end_reaches_every_worker() {
        let (source, _client) = source();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let source = Arc::clone(&source);
                thread::spawn(move || {
                    while let Some(post) = source.post() {
                        while post.take(&mut Vec::new(), true).unwrap() {}
                    }
                })
            })
            .collect();
        source.end();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    }

    #[test]
    fn the_end_is_seen_by_whom_its_notice_has_passed() {
        let (source, _client) = source();
        let post = source.post().unwrap();
        source.end();
        // As a look at what else waits would.
        assert!(source.server.try_recv().unwrap().is_none());
        assert!(!post.take(&mut Vec::new(), true).unwrap());
    }

    #[test]
    fn the_post_goes_on_to_the_next_with_what_is_left() {
        let (source, mut client) = source();
        let count = 2 * BATCH;
        client.write_all("GET / HTTP/1.1\r\n\r\n".repeat(count).as_bytes()).unwrap();
        let mut answered = 0;
        while answered < count {
            // Would wait for ever had the one before not given it back.
            let post = source.post().unwrap();
            let mut requests = Vec::new();
            assert!(post.take(&mut requests, true).unwrap());
            assert!((1..=BATCH).contains(&requests.len()));
            drop(post);
            for request in requests {
                let number = tiny_http::Response::from_string(format!("<{answered}>"));
                request.respond(number).unwrap();
                answered += 1;
            }
        }
        let (mut answers, last) = (String::new(), format!("<{}>", count - 1));
        while !answers.contains(&last) {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answers.push(byte[0].into());
        }
        let at: Vec<_> = (0..count).map(|n| answers.find(&format!("<{n}>")).unwrap()).collect();
        assert!(at.is_sorted(), "{at:?}");
    }
}
