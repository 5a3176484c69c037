//! Threads that answer what others have taken, and their end, which comes in time whatever clients do.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use torrent_common::worker::Worker;

use crate::Guard;

/// The threads. Dropped, it has them end, and waits for as long as that takes: see [`Crew::dismiss`].
#[derive(Debug)]
pub struct Crew {
    /// Tells them to end when it is dropped, which comes before waiting for them.
    orders: Sender<Infallible>,
    ordered: Receiver<Infallible>,
    workers: Vec<Worker>,
    /// Each of them has one until it ends.
    presence: Sender<Infallible>,
    present: Receiver<Infallible>,
}

impl Crew {
    /// Nobody yet.
    pub fn new() -> Self {
        let (orders, ordered) = crossbeam_channel::bounded(0);
        let (presence, present) = crossbeam_channel::bounded(0);
        Self { orders, ordered, workers: Vec::new(), presence, present }
    }

    /// Starts a thread of that name. `run` is to end when what it is given has no sender any more.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn hire(
        &mut self,
        name: impl Into<String>,
        run: impl FnOnce(&Receiver<Infallible>) + Send + 'static,
    ) -> io::Result<()> {
        let (ordered, presence) = (self.ordered.clone(), self.presence.clone());
        self.workers.push(Worker::spawn(name, move || {
            let _presence = presence;
            run(&ordered);
        })?);
        Ok(())
    }

    /// Has them end. What they are at may take so long before all connections are cut, and as long again after that.
    pub fn dismiss(self, guard: &Guard, grace: Duration) {
        let Self { orders, ordered, workers, presence, present } = self;
        drop((orders, ordered, presence));
        let have_left =
            || present.recv_deadline(Instant::now() + grace) == Err(RecvTimeoutError::Disconnected);
        if have_left() {
            return;
        }
        guard.hang_up_all();
        if !have_left() {
            // Only where connections cannot be cut from outside: these threads end with the process.
            let (others, stuck): (Vec<_>, Vec<_>) = workers.into_iter().partition(Worker::is_finished);
            log::warn!("{} requests that do not end were left behind", stuck.len());
            stuck.into_iter().for_each(std::mem::forget);
            drop(others);
        }
    }
}

impl Default for Crew {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::Limits;

    /// Nobody waits as long when all is well.
    const LONG: Duration = Duration::from_secs(60);
    /// Long enough for threads to begin, and short enough to wait for.
    const SHORT: Duration = Duration::from_millis(100);

    fn guard(listener: &TcpListener) -> Guard {
        let limits = Limits { connections: 10, request: LONG, idle: LONG };
        Guard::new(listener.local_addr().unwrap(), limits, LONG).unwrap().0
    }

    fn until_told(orders: &Receiver<Infallible>) {
        let _ = orders.recv();
    }

    #[test]
    fn who_ends_when_told_is_waited_for_no_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut crew, began) = (Crew::new(), Instant::now());
        for number in 0..3 {
            crew.hire(format!("t-{number}"), until_told).unwrap();
        }
        crew.dismiss(&guard(&listener), LONG);
        let mut dropped = Crew::default();
        dropped.hire("t", until_told).unwrap();
        drop(dropped);
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn who_waits_for_a_client_ends_when_connections_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let (ended, end) = crossbeam_channel::bounded::<Infallible>(0);
        let mut crew = Crew::new();
        crew.hire("t", move |_| {
            let _ended = ended;
            let _ = stream.read(&mut [0]);
        })
        .unwrap();
        crew.dismiss(&guard(&listener), SHORT);
        assert_eq!(end.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn who_never_ends_is_left_behind_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let (ended, end) = crossbeam_channel::bounded::<Infallible>(0);
        let mut crew = Crew::new();
        crew.hire("stuck", move |_| {
            let _ended = ended;
            let _ = released.recv();
        })
        .unwrap();
        crew.hire("t", until_told).unwrap();
        crew.dismiss(&guard(&listener), SHORT);
        assert_eq!(end.try_recv(), Err(crossbeam_channel::TryRecvError::Empty), "it was not waited for");
        drop(release);
        assert_eq!(end.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    }
}
