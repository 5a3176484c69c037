//! What a torrent and its connections share.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use torrent_common::geometry::Geometry;
use torrent_common::ids::{InfoHash, PeerId};

use crate::limits::TorrentLimits;
use crate::queue;
use crate::storage::blocks::BlockPool;
use crate::storage::files::Storage;
use crate::torrent::event::Command;
use crate::torrent::have::Have;
use crate::torrent::input::Input;
use crate::wake::{Ring, Waker};

/// Commands that may wait for a connection. They come in batches and a connection looks often. What finds no room waits
/// with the torrent ([`Outlet`](crate::torrent::late::Outlet)).
const COMMAND_QUEUE_LEN: usize = 128;

/// So long may bytes wait for a peer that takes none.
pub const STALL: Duration = Duration::from_secs(60);

/// A torrent, as its connections see it.
#[derive(Debug)]
pub struct TorrentLink {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Our name.
    pub own_peer_id: PeerId,
    /// Its sizes.
    pub geometry: Geometry,
    /// What may be uploaded, and what is to be told to the peer.
    pub have: Arc<Have>,
    /// Where uploads are read.
    pub storage: Arc<Storage>,
    /// Where downloads are received.
    pub pool: Arc<BlockPool>,
    /// The torrent's thread. Sending may wait: it waits for nobody.
    pub inputs: queue::Sender<Input>,
    /// Time-outs.
    pub timeouts: Timeouts,
    /// How fast its connections may be.
    pub limits: TorrentLimits,
}

/// How long a connection is patient.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For dialling, and again for the handshake.
    pub connect: Duration,
    /// Without a byte from the peer.
    pub silence: Duration,
    /// While bytes wait for a peer that takes none; [`STALL`], but in tests.
    pub stall: Duration,
}

/// How the torrent's thread reaches a connection. The queue and the waker are parameters for the sake of
/// [`model`](crate::model) alone.
#[derive(Debug)]
pub struct ConnectionHandle<Q = Sender<Command>, W: Ring = Waker> {
    /// `None` only while it is being dropped.
    commands: Option<Q>,
    waker: W,
}

/// A queue of commands that is never waited for.
pub trait CommandQueue {
    /// Puts a command behind the others.
    ///
    /// # Errors
    /// Gives it back when there is no room, or nobody listens.
    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>>;
}

impl CommandQueue for Sender<Command> {
    fn try_send(&self, command: Command) -> Result<(), TrySendError<Command>> {
        Self::try_send(self, command)
    }
}

/// The connection's end of that queue.
pub trait CommandSource {
    /// The next command.
    ///
    /// # Errors
    /// There is none now, or there will be no more.
    fn try_recv(&self) -> Result<Command, TryRecvError>;
}

impl CommandSource for Receiver<Command> {
    fn try_recv(&self) -> Result<Command, TryRecvError> {
        Self::try_recv(self)
    }
}

/// Obeys what is in the queue. False when nobody holds the handle any more: the connection is to end.
///
/// # Errors
/// Those of `obey`.
pub fn obey_all<E>(
    commands: &impl CommandSource,
    mut obey: impl FnMut(Command) -> Result<(), E>,
) -> Result<bool, E> {
    loop {
        match commands.try_recv() {
            Ok(command) => obey(command)?,
            Err(TryRecvError::Empty) => return Ok(true),
            Err(TryRecvError::Disconnected) => return Ok(false),
        }
    }
}

impl ConnectionHandle {
    /// A handle, and the connection's end of it.
    pub fn new(waker: Waker) -> (Self, Receiver<Command>) {
        let (commands, receiver) = bounded(COMMAND_QUEUE_LEN);
        (Self::over(commands, waker), receiver)
    }
}

impl<Q: CommandQueue, W: Ring> ConnectionHandle<Q, W> {
    /// Never waits. False when the connection has no room or is gone.
    pub fn send(&self, command: Command) -> bool {
        self.offer(command).is_ok()
    }

    /// Never waits.
    ///
    /// # Errors
    /// Gives the command back when the connection has no room, or is gone.
    pub fn offer(&self, command: Command) -> Result<(), TrySendError<Command>> {
        match &self.commands {
            Some(commands) => commands.try_send(command)?,
            None => return Err(TrySendError::Disconnected(command)),
        }
        self.waker.ring();
        Ok(())
    }
}

impl<Q, W: Ring> ConnectionHandle<Q, W> {
    /// A handle on a queue, and the waker of who reads that.
    pub(crate) const fn over(commands: Q, waker: W) -> Self {
        Self { commands: Some(commands), waker }
    }

    /// Makes the connection look at what is new in [`Have`].
    pub fn ring(&self) {
        self.waker.ring();
    }
}

/// A connection without a handle ends: so a torrent need only drop one that does not keep up.
impl<Q, W: Ring> Drop for ConnectionHandle<Q, W> {
    fn drop(&mut self) {
        self.commands = None;
        self.waker.ring();
    }
}

/// Finds the torrent that a stranger names. May wait while an idle torrent is woken.
pub trait Directory: Send + Sync {
    /// The torrent, if it takes connections.
    fn find(&self, info_hash: &InfoHash) -> Option<Arc<TorrentLink>>;
}
