//! The swarm of one torrent. [`core`] decides and is pure; [`thread`] runs it and carries out what it decided.

pub mod assembly;
pub mod bans;
pub mod choker;
pub mod core;
pub mod dial;
pub mod event;
pub mod evidence;
pub mod hashing;
pub mod have;
pub mod host;
pub mod input;
pub mod late;
pub mod peers;
pub mod picker;
pub mod rate;
pub mod requests;
pub mod saving;
pub mod selection;
pub mod stats;
pub mod superseed;
pub mod suspects;
pub mod thread;
pub mod uplink;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::TrySendError;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;

use self::bans::Bans;
use self::core::CoreConfig;
use self::stats::Stats;
use crate::connection::link::TorrentLink;
use crate::connection::registry::Connections;
use crate::limits::RateControl;
use crate::options::{Preallocation, TorrentOptions};
use crate::storage::blocks::BlockPool;
use crate::storage::disk::DiskThreads;

/// What all torrents of a daemon share.
pub struct Room {
    /// Block buffers, and the budget of pieces in flight.
    pub pool: Arc<BlockPool>,
    /// Writes.
    pub disk: DiskThreads,
    /// Hashes.
    pub hashers: rayon::ThreadPool,
    /// Hash what is on disk, of torrents that are checked or made: apart, since a disk that hangs keeps them.
    pub checkers: rayon::ThreadPool,
    /// Connection threads.
    pub connections: Arc<Connections>,
    /// Whom nobody talks to.
    pub bans: Bans,
    /// How fast they may be together.
    pub rates: Arc<RateControl>,
}

/// What a torrent's thread is given.
pub struct Active {
    /// For log lines; safe to print.
    pub name: String,
    /// The torrent.
    pub metainfo: Arc<Metainfo>,
    /// What its connections share with it.
    pub link: Arc<TorrentLink>,
    /// Limits.
    pub core_config: CoreConfig,
    /// What the user set for it.
    pub options: Arc<TorrentOptions>,
    /// How files are made unless the options say otherwise.
    pub preallocation: Preallocation,
    /// Between two checkpoints while pieces come in: a power cut takes no more than came in this time, and while the
    /// last was made.
    pub checkpoint_every: Duration,
    /// What it shows of itself.
    pub stats: Arc<Stats>,
    /// Where it notes what it has.
    pub record: Arc<saving::Record>,
    /// What it shares with other torrents.
    pub room: Arc<Room>,
    /// Tells the session. Must not wait: gives the notice back when there is no room.
    pub notify: Box<dyn Fn(Notice) -> Result<(), TrySendError<Notice>> + Send>,
    /// Complete and without a connection, it gives its thread back after so long.
    pub linger: Duration,
}

/// What a torrent tells the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It is at work, so what it has is known.
    Looked(InfoHash),
    /// Every wanted piece is had.
    Completed(InfoHash),
    /// Complete, and as much was uploaded as was to be.
    Goal(InfoHash),
    /// Complete, and nobody to talk to for a while: its thread may end.
    Idle(InfoHash),
    /// The disk failed it. Its thread waits to be stopped. `true`: it may be well again by itself.
    Failed(InfoHash, bool),
    /// Its trackers are to be asked earlier than planned.
    WantPeers(InfoHash),
}
