//! One torrent, as the session knows it whether it is active or not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use torrent_common::bitfield::Bitfield;
use torrent_common::ids::InfoHash;
use torrent_common::worker::{Shutdown, Worker};

use super::gate::Gate;
use super::leaving::Leaving;
use super::overlap::RootKey;
use super::places::{Kind, Rank};
use super::recheck::Judged;
use crate::control::api::{TorrentState, TorrentStatus};
use crate::options::TorrentOptions;
use crate::queue::Sender;
use crate::text::escape_for_log;
use crate::torrent::input::Input;
use crate::torrent::stats::Stats;

/// Characters of a torrent's name in log lines.
const LOG_NAME_LEN: usize = 80;

/// A torrent in the table.
pub struct Entry {
    /// Which.
    pub info_hash: InfoHash,
    /// A stranger's text.
    pub name: String,
    /// Bytes of payload.
    pub total_len: u64,
    /// The folder that the payload is in.
    pub output: PathBuf,
    /// What it is called there.
    pub root: RootKey,
    /// BEP 27.
    pub private: bool,
    /// Stopped by the user.
    pub paused: bool,
    /// Stopped because it was seeded as long as it was to be.
    pub finished: bool,
    /// Waiting for a place.
    pub queued: bool,
    /// The user has resumed it: what is not there is fetched, even if nothing is there at all.
    pub anew: bool,
    /// What the user set for it.
    pub options: Arc<TorrentOptions>,
    /// When it was added, among the others.
    pub rank: Rank,
    /// Since when it is complete, if it is: seconds since 1970.
    pub complete_since_s: u64,
    /// When its seeding ends, if it is on the list of those that end by time: seconds since 1970.
    pub end_s: Option<u64>,
    /// Its numbers.
    pub stats: Arc<Stats>,
    /// Its thread, while it has one.
    pub running: Option<Running>,
    /// That, while it ends.
    pub leaving: Option<Box<Leaving>>,
    /// Somebody looks whether it can seed without a thread: on the errand of this number.
    pub looking: Option<u64>,
    /// What a check found that the disk failed.
    pub judged: Option<Box<Judged>>,
    /// It is being removed.
    pub removing: bool,
}

/// A torrent's thread, from outside.
pub struct Running {
    /// Its queue.
    pub inputs: Sender<Input>,
    /// Where its connections enter.
    pub gate: Arc<Gate>,
    /// Ends a check early.
    pub cancel: Shutdown,
    /// The thread.
    pub worker: Worker,
    /// No other thread of a torrent has the same.
    pub number: u64,
}

/// What the log calls a torrent of this name.
pub fn log_name(name: &str) -> String {
    escape_for_log(name, LOG_NAME_LEN)
}

impl Entry {
    /// What the log calls it.
    pub fn log_name(&self) -> String {
        log_name(&self.name)
    }

    /// Its queue, while it is active.
    pub fn inputs(&self) -> Option<Sender<Input>> {
        self.running.as_ref().map(|running| running.inputs.clone())
    }

    /// Where its connections enter, while it is active.
    pub fn gate(&self) -> Option<Arc<Gate>> {
        self.running.as_ref().map(|running| Arc::clone(&running.gate))
    }

    /// Neither paused, nor finished, nor queued, nor being removed, nor standing still for an error: only the user starts it
    /// again then, no stranger and no tracker.
    pub fn may_run(&self) -> bool {
        self.is_wanted() && !self.queued
    }

    /// As [`Entry::may_run`], but for a place.
    pub fn is_wanted(&self) -> bool {
        !self.paused && !self.finished && !self.removing && self.stats.state() != TorrentState::Error
    }

    /// Every wanted piece is had, as far as is known.
    pub fn is_complete(&self) -> bool {
        self.stats.lacking() == 0
    }

    /// Bytes of the pieces that are wanted.
    pub fn selected_len(&self) -> u64 {
        self.stats.wanted_len.load(Ordering::Relaxed)
    }

    /// What it wants a place for.
    pub fn kind(&self) -> Kind {
        if self.is_complete() || self.stats.state() == TorrentState::Seeding {
            Kind::Seed
        } else {
            Kind::Download
        }
    }

    /// The pieces had, while it is active and not checking.
    pub fn had(&self) -> Option<Bitfield> {
        self.running.as_ref()?.gate.link().map(|link| link.have.snapshot())
    }

    /// For people and scripts.
    pub fn status(&self) -> TorrentStatus {
        let stats = &self.stats;
        // Before the state: if all is as asked, the state is of it.
        let left = stats.lacking();
        let (state, moment) = (stats.state(), stats.moment());
        // All is had, and not in its place yet.
        let state =
            if state == TorrentState::Seeding && left > 0 { TorrentState::Downloading } else { state };
        let stops = self.removing || self.leaving.as_ref().is_some_and(|leaving| leaving.is_for_rest());
        let state = if stops { TorrentState::Stopping } else { state };
        let wanted = self.selected_len().max(left);
        let done = match state {
            TorrentState::Checking => stats.checked.load(Ordering::Relaxed),
            _ => wanted.saturating_sub(left),
        };
        let eta = (state == TorrentState::Downloading && moment.download_rate > 0)
            .then(|| left.div_ceil(moment.download_rate));
        TorrentStatus {
            info_hash: self.info_hash,
            name: self.name.clone(),
            state,
            progress: fraction(done, if state == TorrentState::Checking { self.total_len } else { wanted }),
            size: self.total_len,
            selected: wanted,
            downloaded: stats.downloaded.load(Ordering::Relaxed),
            uploaded: stats.uploaded.load(Ordering::Relaxed),
            download_rate: moment.download_rate,
            upload_rate: moment.upload_rate,
            peers: moment.peers,
            seeds: moment.seeds,
            eta_seconds: eta,
            error: stats.error(),
            retry_seconds: stats.again_s(),
            output: self.output.clone(),
            private: self.private,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a fraction for people")]
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { (part as f64 / whole as f64).min(1.0) }
}
