//! The loop of a connection after its handshake.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rustix::event::PollFlags;
use socket2::SockRef;
use torrent_common::geometry::MAX_BLOCK_LEN;
use torrent_common::wire::{Decoder, Handshake, Message};

use super::inbox::Inbox;
use super::link::{ConnectionHandle, TorrentLink, obey_all};
use super::protocol::Protocol;
use super::registry::Lease;
use super::{End, Violation};
use crate::limits::{Allowance, Grant};
use crate::torrent::event::{CloseReason, Command, Direction, PeerEvent, PeerInfo};
use crate::torrent::input::Input;

/// After so long without sending, a keep-alive: peers give up on silence after two minutes (BEP 3).
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// How often uploaded bytes are told to the torrent, for its rates.
const REPORT: Duration = Duration::from_millis(500);
/// So many bytes may wait in a socket for a peer to have room for them, beyond what is on its way: with what the system allows,
/// 4 MiB, a few who never read take as many from those who do, and a slow one seems idle while it takes what is there.
const NOT_SENT: u32 = 512 << 10;
/// A turn that received so much is followed by a pause: payload comes faster than it is worth to be woken for.
const BULK: usize = 128 << 10;
/// How long what comes may gather meanwhile. One wake-up, one read and one acknowledgement then serve many segments.
const PAUSE: Duration = Duration::from_micros(300);
/// How often the torrent is told that a limit keeps us from listening: before it thinks that the peer sends nothing.
const REPORT_HELD: Duration = Duration::from_secs(10);
/// Messages other than bitfields: extended handshakes are the longest.
const MAX_MESSAGE_LEN: usize = 64 * 1024;

/// A connection that a torrent knows of.
pub struct Connection {
    stream: TcpStream,
    lease: Lease,
    address: SocketAddr,
    link: Arc<TorrentLink>,
    commands: Receiver<Command>,
    protocol: Protocol,
    inbox: Inbox,
    clock: Clock,
    down: Pace,
    up: Pace,
    unreported: u64,
    /// The peer says too much: it is not listened to before then.
    braked: Option<Instant>,
    /// The socket may have something: not known to be drained.
    readable: bool,
    /// Reading will tell what is wrong: no limit holds it up.
    broken: bool,
    /// The last turn received [`BULK`].
    bulk: bool,
    /// Payload was sent or received.
    useful: bool,
}

/// One direction, as limits allow.
struct Pace {
    allowance: Allowance,
    /// Payload waits for the allowance, which is to be asked again then.
    held: Option<Instant>,
}

/// When things last happened.
struct Clock {
    heard: Instant,
    spoke: Instant,
    /// Bytes waited since, for a socket that takes none.
    blocked: Option<Instant>,
    reported: Instant,
    /// The torrent was told that we do not listen.
    excused: Instant,
    /// The torrent was told that a limit keeps the peer waiting until then.
    kept_waiting: Instant,
}

impl Connection {
    /// Presents a connection with a finished handshake to its torrent.
    ///
    /// # Errors
    /// [`End`]: the torrent has ended, or the socket is broken.
    pub fn open(
        stream: TcpStream,
        lease: Lease,
        link: &Arc<TorrentLink>,
        address: SocketAddr,
        direction: Direction,
        theirs: &Handshake,
    ) -> Result<Self, End> {
        if !lease.settle() {
            return Err(End::TimedOut);
        }
        stream.set_nodelay(true)?;
        // It works without.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(NOT_SENT);
        let (handle, commands) = ConnectionHandle::new(lease.waker.clone());
        let fast = theirs.supports_fast();
        let protocol = Protocol::new(Arc::clone(link), lease.key, fast, theirs.supports_extended());
        let info =
            PeerInfo { address, peer_id: theirs.peer_id, direction, fast, hidden: protocol.is_hiding() };
        link.inputs.send(Input::Opened(lease.key, info, handle)).map_err(|_| End::TorrentGone)?;
        let bitfield_len = link.geometry.piece_count().div_ceil(8) as usize + 1;
        let decoder =
            Decoder { max_message_len: bitfield_len.max(MAX_MESSAGE_LEN), max_block_len: MAX_BLOCK_LEN };
        let (down, up) = link.limits.allowances(lease.key, &lease.waker);
        let now = Instant::now();
        Ok(Self {
            stream,
            lease,
            address,
            link: Arc::clone(link),
            commands,
            protocol,
            inbox: Inbox::new(decoder),
            clock: Clock {
                heard: now,
                spoke: now,
                blocked: None,
                reported: now,
                excused: now,
                kept_waiting: now,
            },
            down: Pace { allowance: down, held: None },
            up: Pace { allowance: up, held: None },
            unreported: 0,
            braked: None,
            readable: true,
            broken: false,
            bulk: false,
            useful: false,
        })
    }

    /// Serves the peer until one side has enough, and tells the torrent that it is over. How it ended, if no payload was moved
    /// and there is no line in the log about it.
    pub fn run(mut self) -> Option<End> {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        self.protocol.flush();
        let untold = match end {
            End::Storage(error) => {
                // Told by the torrent, once for all that upload from that file.
                log::debug!("{}: upload failed: {error}", self.address);
                let _ = self.link.inputs.send(Input::ReadFailed(error));
                None
            }
            foul if foul.is_foul() => {
                self.lease.registry().blame.tell(self.address, "hung up on", &foul);
                None
            }
            other => {
                log::debug!("{}: closed: {other}", self.address);
                Some(other)
            }
        };
        if self.unreported > 0 {
            self.protocol.report(PeerEvent::Uploaded(self.unreported));
        }
        // Fails only when the torrent has ended, and knows.
        let _ = self.link.inputs.send(Input::Gone(self.lease.key));
        untold.filter(|_| !self.useful)
    }

    fn turn(&mut self) -> Result<(), End> {
        if self.lease.shutdown.is_set() {
            return Err(End::Closed(CloseReason::Stopped));
        }
        if !obey_all(&self.commands, |command| self.protocol.obey(command))? {
            return Err(End::Closed(CloseReason::TooSlow));
        }
        self.protocol.announce_haves();
        let now = Instant::now();
        let more_to_send = self.send(now)?;
        self.receive(now)?;
        self.protocol.flush();
        self.report_uploads(now);
        if self.protocol.torrent_gone() {
            return Err(End::TorrentGone);
        }
        self.check_time(now)?;
        if !more_to_send && (!self.readable || self.is_held()) {
            self.sleep()?;
        }
        Ok(())
    }

    /// True when a turn's worth was sent and the socket would take more.
    fn send(&mut self, now: Instant) -> Result<bool, End> {
        self.up.held = None;
        if self.protocol.outbox.is_empty() {
            self.clock.blocked = None;
            self.up.allowance.rest();
            return Ok(false);
        }
        let uploads = self.protocol.outbox.has_uploads();
        let grant = if uploads { self.up.allowance.ask(now) } else { Grant::Free };
        let sent = self.protocol.outbox.send(&self.stream, &self.link.storage, grant.bytes())?;
        self.up.moved(sent.payload, sent.held, sent.blocked, now);
        self.unreported += sent.payload;
        self.useful |= sent.payload > 0;
        self.report_wait(now);
        if sent.any {
            self.clock.spoke = now;
        }
        self.clock.blocked = match (sent.blocked, sent.any, self.clock.blocked) {
            (false, ..) => None,
            (true, false, Some(since)) => Some(since),
            (true, ..) => Some(now),
        };
        if self.protocol.outbox.is_overfull() {
            return Err(End::Stalled);
        }
        Ok(!sent.blocked && self.up.held.is_none() && !self.protocol.outbox.is_empty())
    }

    /// Reads a turn's worth, if the socket may have something.
    fn receive(&mut self, now: Instant) -> Result<(), End> {
        self.braked = self.protocol.brake.until(now);
        if self.braked.is_some() {
            // Who is not listened to is not silent. But once it has hung up its last words are not worth the wait.
            self.clock.heard = now;
            let over = self.broken || self.protocol.brake.is_flooded(now);
            return if over { Err(Violation::Flood.into()) } else { Ok(()) };
        }
        if self.readable {
            let payload = self.inbox.is_in_block() || self.protocol.expects_blocks();
            let grant = if payload && !self.broken { self.down.allowance.ask(now) } else { Grant::Free };
            let received = self.inbox.receive(&self.stream, &mut self.protocol, grant.bytes())?;
            self.down.moved(received.payload, received.held, received.drained, now);
            self.useful |= received.payload > 0;
            if received.bytes > 0 || received.held {
                // Who is not listened to is not silent.
                self.clock.heard = now;
            }
            if received.held && now.duration_since(self.clock.excused) >= REPORT_HELD {
                self.protocol.report(PeerEvent::Held);
                self.clock.excused = now;
            }
            self.readable = !received.drained;
            self.bulk = received.bytes >= BULK && !received.held;
        }
        Ok(())
    }

    /// There may be something to read, and it is left there for now.
    const fn is_held(&self) -> bool {
        self.braked.is_some() || self.down.held.is_some()
    }

    /// Tells of long waits for our own limit, so that the torrent does not think the peer takes nothing.
    fn report_wait(&mut self, now: Instant) {
        let long = self.up.held.filter(|&due| due >= now + REPORT && due > self.clock.kept_waiting);
        if let Some(due) = long {
            self.protocol.report(PeerEvent::KeptWaiting(due));
            self.clock.kept_waiting = due;
        }
    }

    fn report_uploads(&mut self, now: Instant) {
        if self.unreported > 0 && now.duration_since(self.clock.reported) >= REPORT {
            self.protocol.report(PeerEvent::Uploaded(std::mem::take(&mut self.unreported)));
            self.clock.reported = now;
        }
    }

    fn check_time(&mut self, now: Instant) -> Result<(), End> {
        if now >= self.clock.heard + self.link.timeouts.silence {
            return Err(End::TimedOut);
        }
        if self.clock.blocked.is_some_and(|since| now >= since + self.link.timeouts.stall) {
            return Err(End::Stalled);
        }
        let quiet = self.protocol.outbox.is_empty() || self.up.held.is_some();
        if now >= self.clock.spoke + KEEP_ALIVE && quiet {
            self.protocol.outbox.push(&Message::KeepAlive);
        }
        Ok(())
    }

    fn sleep(&mut self) -> Result<(), End> {
        if std::mem::take(&mut self.bulk) && self.protocol.outbox.is_empty() {
            let until = Instant::now() + PAUSE;
            self.lease.waker.wait(self.stream.as_fd(), PollFlags::empty(), Some(until))?;
            self.readable = true;
            return Ok(());
        }
        let mut interest = PollFlags::empty();
        let mut deadline = self.clock.heard + self.link.timeouts.silence;
        match (self.braked, self.down.held) {
            (Some(until), _) => {
                deadline = deadline.min(until);
                // What it said before it went would take longer to read than it is worth.
                interest |= PollFlags::RDHUP;
            }
            (None, Some(until)) => deadline = deadline.min(until).min(self.clock.excused + REPORT_HELD),
            (None, None) => interest |= PollFlags::IN,
        }
        if let Some(until) = self.up.held {
            deadline = deadline.min(until).min(self.clock.spoke + KEEP_ALIVE);
        } else if self.protocol.outbox.is_empty() {
            deadline = deadline.min(self.clock.spoke + KEEP_ALIVE);
        } else {
            interest |= PollFlags::OUT;
            deadline =
                deadline.min(self.clock.blocked.map_or(deadline, |since| since + self.link.timeouts.stall));
        }
        if self.unreported > 0 {
            deadline = deadline.min(self.clock.reported + REPORT);
        }
        let ready = self.lease.waker.wait(self.stream.as_fd(), interest, Some(deadline))?;
        // Readable although that was not asked for: there is no end to wait for.
        self.broken |= ready.readable && self.is_held();
        self.readable = ready.readable || self.is_held();
        Ok(())
    }
}

impl Pace {
    /// So much payload was moved. `held`: more waits for the allowance; `blocked`: it is the socket's turn.
    fn moved(&mut self, payload: u64, held: bool, blocked: bool, now: Instant) {
        self.allowance.spent(payload);
        self.held = None;
        if held {
            if let Grant::Until(due) = self.allowance.ask(now) {
                self.held = Some(due);
            }
        } else if blocked {
            self.allowance.rest();
        }
    }
}
