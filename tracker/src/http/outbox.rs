//! Answers that do not fit into a socket's buffer, and refusals of bodies that are not read.
//!
//! - Threat: who asks for long answers and does not read them, or sends a body that will be refused, and reads and writes as
//!   slowly as he likes. A thread that waited for him would be missing to others.
//! - Cost: one thread sends all of them, a piece of each whenever its client has room for more. So nobody waits for anybody
//!   else; who does not read holds memory alone, and of that there is a bound.
//! - Bounds: [`MAX_LETTERS`] and [`MAX_HELD`]. Beyond them, of the host that has most of it, who has read slowest so far is
//!   cut off; so is who pauses for [`PAUSE`], or is slower than [`MIN_RATE`] on the whole. A torrent file that a whole class asks
//!   for is there once.
//!
//! What is written here goes past tiny_http, through a duplicate of its socket that never blocks. It keeps the connection's
//! next answer back until this one's writer is dropped.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendError, Sender};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tiny_http::Request;
use torrent_common::ids::InfoHash;
use torrent_common::network::Network;

use super::Inner;
use super::answer::Rest;
use super::pen::Pen;
use crate::metrics::labels::Closed;
use torrent_guard::Limits;

/// Answers on their way at most.
const MAX_LETTERS: usize = 256;
/// Bytes of memory that they hold at most, unless a single one is longer.
const MAX_HELD: usize = 32 << 20;
/// How long nothing may be taken.
const PAUSE: Duration = Duration::from_secs(10);
/// What any answer may take besides what is due to its length.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes per second that a client takes at the least.
const MIN_RATE: u64 = 16 << 10;
/// Bytes that are sent to one client before the others have their turn.
const TURN: usize = 1 << 20;
/// How long a client whose body is refused has to notice, and how many bytes of it are thrown away meanwhile: were they left
/// unread, the system would take the answer back that it has not read yet.
const FAREWELL: Duration = Duration::from_secs(2);
const FAREWELL_LEN: usize = 1 << 20;
/// What is under way when the tracker stops has so long.
const GRACE: Duration = Duration::from_secs(1);

/// Where such answers are handed in.
pub(super) struct Outbox {
    letters: Sender<Letter>,
    /// Rung when there is one, or the tracker stops.
    bell: OwnedFd,
    is_stopping: AtomicBool,
    /// Torrent files that are under way.
    torrents: Mutex<HashMap<InfoHash, Weak<Vec<u8>>>>,
    /// Answers on their way at most: they must not take all connections there may be.
    max_letters: usize,
}

/// An answer under way.
pub(super) struct Letter {
    from: SocketAddr,
    stream: TcpStream,
    then: Then,
    /// To be sent now, from `at` on.
    bytes: Vec<u8>,
    at: usize,
    /// To be sent behind that.
    rest: Rest,
    /// Bytes in all, without the head.
    len: u64,
    sent: u64,
    began: Instant,
    progress: Instant,
    /// All was sent, and so many bytes of the body were thrown away.
    farewell: Option<usize>,
}

/// What becomes of the connection.
pub(super) enum Then {
    /// It goes on when this is dropped.
    GoOn(Box<dyn Write + Send>),
    /// It ends, for the body of this request was not read.
    End(Request),
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The client has no room for more, or it is somebody else's turn.
    Waits,
    Done,
}

impl Outbox {
    /// # Errors
    /// The system's, when it is out of descriptors.
    pub(super) fn new(limits: &Limits) -> io::Result<(Self, Receiver<Letter>)> {
        // Room for one: what waits here is not counted.
        let (letters, posted) = crossbeam_channel::bounded(1);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let max_letters = (limits.kept() / 2).clamp(1, MAX_LETTERS);
        let (is_stopping, torrents) = (AtomicBool::new(false), Mutex::default());
        Ok((Self { letters, bell, is_stopping, torrents, max_letters }, posted))
    }

    /// The same torrent file, but in memory only once with those of others that are under way.
    pub(super) fn share(&self, info_hash: InfoHash, rest: Rest) -> Rest {
        let Rest::Bytes(bytes) = rest else { return rest };
        let mut torrents = self.torrents.lock().unwrap_or_else(PoisonError::into_inner);
        let known = torrents.get(&info_hash).and_then(Weak::upgrade);
        // The file may have been written anew meanwhile, with other trackers.
        let all = known.filter(|known| **known == bytes).unwrap_or_else(|| {
            torrents.retain(|_, bytes| bytes.strong_count() > 0);
            let all = Arc::new(bytes);
            torrents.insert(info_hash, Arc::downgrade(&all));
            all
        });
        Rest::Shared(all, 0)
    }

    /// Hands a letter in. Waits for a moment if others do the same.
    pub(super) fn post(&self, letter: Letter) {
        self.ring();
        match self.letters.send(letter) {
            Ok(()) => self.ring(),
            // The tracker has stopped: tiny_http is not to wait for this client when the letter is dropped.
            Err(SendError(letter)) => drop(letter.stream.shutdown(Shutdown::Both)),
        }
    }

    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.ring();
    }

    fn ring(&self) {
        // It fails only when it was rung 2^64 times and not heard.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

impl Letter {
    pub(super) fn new(from: SocketAddr, stream: TcpStream, then: Then, head: Vec<u8>, rest: Rest) -> Self {
        let now = Instant::now();
        let len = u64::try_from(rest.len()).unwrap_or(u64::MAX);
        Self {
            from,
            stream,
            then,
            bytes: head,
            at: 0,
            rest,
            len,
            sent: 0,
            began: now,
            progress: now,
            farewell: None,
        }
    }

    /// Sends as much as there is room for.
    pub(super) fn advance(&mut self, now: Instant) -> io::Result<Step> {
        if self.farewell.is_some() {
            return self.take_leave();
        }
        let mut turn = TURN;
        while turn > 0 {
            if self.at == self.bytes.len() {
                self.at = 0;
                self.bytes.clear();
                if !self.rest.next(&mut self.bytes)? {
                    return self.end(now);
                }
            }
            let bytes = self.bytes.get(self.at..).unwrap_or_default();
            match send(&self.stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
                .map_err(io::Error::from)
            {
                Ok(len) => {
                    self.at += len;
                    self.sent += u64::try_from(len).unwrap_or(0);
                    self.progress = now;
                    turn = turn.saturating_sub(len);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Waits)
    }

    fn end(&mut self, now: Instant) -> io::Result<Step> {
        if matches!(self.then, Then::GoOn(_)) {
            return Ok(Step::Done);
        }
        (self.began, self.farewell) = (now, Some(0));
        self.stream.shutdown(Shutdown::Write)?;
        Ok(Step::Waits)
    }

    /// Throws away what still comes, until the client has ended.
    fn take_leave(&mut self) -> io::Result<Step> {
        let mut scrap = [0; 16 << 10];
        while let Some(taken) = self.farewell.filter(|taken| *taken < FAREWELL_LEN) {
            match recv(&self.stream, &mut scrap[..], RecvFlags::DONTWAIT).map_err(io::Error::from) {
                Ok((0, _)) => return Ok(Step::Done),
                Ok((len, _)) => self.farewell = Some(taken.saturating_add(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Waits),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Step::Done)
    }

    /// When it is cut off if nothing changes.
    fn due(&self) -> Instant {
        if self.farewell.is_some() {
            return self.began + FAREWELL;
        }
        let enough = PATIENCE + Duration::from_secs(self.len / MIN_RATE);
        (self.progress + PAUSE).min(self.began + enough)
    }

    /// Bytes that it keeps in memory.
    fn held(&self) -> usize {
        self.bytes.capacity().saturating_add(self.rest.held())
    }

    /// Bytes a second so far: who has just begun is not slow.
    fn pace(&self, now: Instant) -> u64 {
        let millis = now.saturating_duration_since(self.began).as_millis().max(1000);
        self.sent.saturating_mul(1000) / u64::try_from(millis).unwrap_or(u64::MAX)
    }
}

/// Sends what is handed in, until the tracker stops.
pub(super) fn run(inner: &Inner, posted: &Receiver<Letter>) {
    let (mut pen, mut letters) = (Pen::new(), Vec::new());
    let mut until = None;
    loop {
        let now = Instant::now();
        if inner.outbox.is_stopping.load(Ordering::Relaxed) {
            let until = *until.get_or_insert(now + GRACE);
            if letters.is_empty() || now >= until {
                break;
            }
        }
        wait(inner, &letters, until);
        letters.extend(posted.try_iter());
        let now = Instant::now();
        let mut at = 0;
        while let Some(letter) = letters.get_mut(at) {
            match letter.advance(now) {
                Ok(Step::Waits) if now < letter.due() => at += 1,
                Ok(step) => finish(inner, letters.swap_remove(at), step == Step::Done, &mut pen),
                Err(error) => {
                    log::debug!("no answer to {}: {error}", letter.from);
                    finish(inner, letters.swap_remove(at), false, &mut pen);
                }
            }
        }
        while let Some(slowest) = one_too_many(&letters, inner.outbox.max_letters, now) {
            finish(inner, letters.swap_remove(slowest), false, &mut pen);
        }
    }
    letters.into_iter().for_each(|letter| finish(inner, letter, false, &mut pen));
}

/// Sleeps until a client has room, a letter is due, or the bell is rung.
fn wait(inner: &Inner, letters: &[Letter], until: Option<Instant>) {
    let due = letters.iter().map(Letter::due).chain(until).min();
    let timeout = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(Instant::now())).ok());
    let mut descriptors = vec![PollFd::new(&inner.outbox.bell, PollFlags::IN)];
    descriptors.extend(letters.iter().map(|letter| {
        let event = if letter.farewell.is_some() { PollFlags::IN } else { PollFlags::OUT };
        PollFd::new(&letter.stream, event)
    }));
    if let Err(error) = poll(&mut descriptors, timeout.as_ref())
        && error != rustix::io::Errno::INTR
    {
        log::error!("long answers wait: {error}");
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = rustix::io::read(&inner.outbox.bell, &mut [0; 8]);
}

/// Who has read slowest of the host (an IPv4 address, an IPv6 network of 64 bits) that has most, if there are too many, or
/// they hold too much.
fn one_too_many(letters: &[Letter], max_letters: usize, now: Instant) -> Option<usize> {
    let held: usize = letters.iter().map(Letter::held).sum();
    let are_too_many = letters.len() > max_letters;
    if !are_too_many && (held <= MAX_HELD || letters.len() <= 1) {
        return None;
    }
    let mut shares = HashMap::<Network, usize>::new();
    let host = |letter: &Letter| Network::of_host(letter.from.ip());
    for letter in letters {
        *shares.entry(host(letter)).or_default() += if are_too_many { 1 } else { letter.held() };
    }
    let share = |letter: &Letter| shares.get(&host(letter)).copied().unwrap_or(0);
    // Of equals the oldest.
    let key =
        |letter: &Letter| (Reverse(share(letter)), host(letter).first(), letter.pace(now), letter.began);
    letters.iter().enumerate().min_by_key(|(_, letter)| key(letter)).map(|(at, _)| at)
}

/// The connection goes on with its next request, or ends.
fn finish(inner: &Inner, letter: Letter, is_done: bool, pen: &mut Pen) {
    let Letter { from, stream, then, .. } = letter;
    match then {
        Then::GoOn(writer) if is_done => drop(writer),
        Then::GoOn(writer) => {
            let _ = stream.shutdown(Shutdown::Both);
            inner.turns.close(&from);
            inner.shared.metrics.closed(Closed::Unread);
            drop(writer);
        }
        Then::End(request) => {
            let _ = stream.shutdown(Shutdown::Both);
            inner.refuse(request, from);
        }
    }
    inner.contain(|| inner.go_on(from, pen));
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// A letter of so many bytes, and the client's side of its connection.
    fn letter(len: usize) -> (Letter, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, from) = listener.accept().unwrap();
        let then = Then::GoOn(Box::new(io::sink()));
        (Letter::new(from, stream, then, b"head".to_vec(), Rest::Bytes(vec![7; len])), client)
    }

    #[test]
    fn all_of_it_arrives_however_slowly_it_is_read() {
        let (mut letter, mut client) = letter(20 << 20);
        let (mut read, mut part) = (Vec::new(), vec![0; 100_000]);
        while letter.advance(Instant::now()).unwrap() == Step::Waits {
            let len = client.read(&mut part).unwrap();
            read.extend_from_slice(&part[..len]);
        }
        assert_eq!(letter.sent, (20 << 20) + 4);
        drop(letter);
        client.read_to_end(&mut read).unwrap();
        assert!(read.starts_with(b"head\x07") && read.len() == (20 << 20) + 4);
    }

    #[test]
    fn who_does_not_read_or_drips_is_late() {
        let (mut deaf, _client) = letter(20 << 20);
        let began = deaf.began;
        while deaf.at == 0 || deaf.at == deaf.bytes.len() || deaf.progress == began {
            assert_eq!(deaf.advance(began + Duration::from_millis(1)).unwrap(), Step::Waits);
        }
        let sent = deaf.sent;
        deaf.advance(began + Duration::from_secs(5)).unwrap();
        if deaf.sent == sent {
            assert_eq!(deaf.due(), began + Duration::from_millis(1) + PAUSE);
        }
        let (mut dripping, _client) = letter(64 << 10);
        dripping.progress = began + Duration::from_secs(100);
        assert_eq!(dripping.due(), dripping.began + PATIENCE + Duration::from_secs(4));
    }

    #[test]
    fn when_they_are_too_many_or_too_long_the_slowest_goes() {
        let at = |letter: &Letter| letter.began + Duration::from_secs(10);
        let (mut letters, _clients): (Vec<_>, Vec<_>) = (0..3).map(|_| letter(10 << 20)).unzip();
        let now = at(&letters[2]);
        for (letter, sent) in letters.iter_mut().zip([50_000, 100, 70_000]) {
            letter.sent = sent;
        }
        assert_eq!(one_too_many(&letters, MAX_LETTERS, now), None);
        letters.push(letter(10 << 20).0);
        // Who has just begun has sent nothing yet.
        letters[3].began = now;
        letters[3].sent = 64 << 10;
        assert_eq!(one_too_many(&letters, MAX_LETTERS, now), Some(1));
        let (mut one, _client) = letter(MAX_HELD + 1);
        one.sent = 5;
        assert_eq!(one_too_many(&[one], MAX_LETTERS, now), None, "a single one may be as long as it is");
        // Who has one of them does not go before whose many hold more together, however slow it is.
        let (mut shared, _clients): (Vec<_>, Vec<_>) = (0..5).map(|_| letter(8 << 20)).unzip();
        for (number, letter) in (1..).zip(&mut shared[1..]) {
            letter.from.set_ip([10, 0, 0, 9].into());
            letter.sent = number << 20;
        }
        shared.swap(1, 3);
        assert_eq!(one_too_many(&shared, MAX_LETTERS, now), Some(3));
        // A host has as many addresses of IPv6 as it likes, but of one network.
        for (number, letter) in (1..).zip(&mut shared[1..]) {
            letter.from.set_ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, number].into());
        }
        assert_eq!(one_too_many(&shared, MAX_LETTERS, now), Some(3));
        let (many, _clients): (Vec<_>, Vec<_>) = (0..=MAX_LETTERS).map(|_| letter(1)).unzip();
        assert!(one_too_many(&many, MAX_LETTERS, now).is_some());
        assert!(one_too_many(&many[1..], MAX_LETTERS, now).is_none());
    }

    #[test]
    fn a_torrent_file_that_many_ask_for_is_there_once() {
        let limits = Limits { connections: 100, request: PAUSE, idle: PAUSE };
        let (outbox, _posted) = Outbox::new(&limits).unwrap();
        let [a, b] = [1, 2].map(|byte| InfoHash::new([byte; 20]));
        let file = vec![7; 1 << 20];
        let mut rests: Vec<_> = (0..64).map(|_| outbox.share(a, Rest::Bytes(file.clone()))).collect();
        assert!(rests.iter().map(Rest::held).sum::<usize>() <= 1 << 20);
        let (mut all, mut part) = (Vec::new(), Vec::new());
        while rests[5].next(&mut part).unwrap() {
            all.extend_from_slice(&part);
        }
        assert_eq!(all, file);
        let Rest::Shared(newer, 0) = outbox.share(a, Rest::Bytes(vec![8; 10])) else { panic!("is shared") };
        assert_eq!(*newer, [8; 10], "the file has changed");
        drop(rests);
        outbox.share(b, Rest::Bytes(vec![9; 10]));
        assert_eq!(outbox.torrents.lock().unwrap().len(), 2, "those that are gone are forgotten");
    }
}
