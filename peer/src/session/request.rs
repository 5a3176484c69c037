//! What the session's thread is asked, and how it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use torrent_common::ids::InfoHash;

use super::Shared;
use super::adopt::NewTorrent;
use super::errands::Seen;
use super::gate::Gate;
use crate::control::api::TorrentStatus;
use crate::control::engine::Refusal;
use crate::options::OptionsPatch;
use crate::settings::{SessionSettings, SettingsPatch};
use crate::torrent::Notice;

/// Whoever gives an order that must wait for a disk waits so long with it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the session's thread is asked. Replies never block it: their channels have room.
pub enum Request {
    /// Peers can reach us: start what is to run.
    Open,
    /// Add a torrent, or show the one that is there.
    Add(Box<NewTorrent>, Reply<TorrentStatus>),
    /// Stop it until it is resumed.
    Pause(InfoHash, Reply<()>),
    /// Start it again.
    Resume(InfoHash, Reply<()>),
    /// Forget it; with `true` delete its payload.
    Remove(InfoHash, bool, Reply<()>),
    /// Set something for a torrent; of how many files it is, if the change names files.
    Options(InfoHash, Box<OptionsPatch>, usize, Reply<()>),
    /// Set something for all torrents.
    Settings(Box<SettingsPatch>, Reply<SessionSettings>),
    /// Somebody wants to connect: give the torrent a thread.
    Wake(InfoHash, Sender<Option<Arc<Gate>>>),
    /// A tracker named leechers of an idle torrent.
    Found(InfoHash, Vec<SocketAddr>),
    /// A torrent has said something.
    Notice(Notice),
    /// A torrent's thread ends: the one of this number.
    Ended(InfoHash, u64),
    /// Somebody has looked at a complete torrent, on the errand of this number.
    Seen(InfoHash, u64, Box<Seen>),
    /// What was to be deleted of a torrent is, or is not.
    Deleted(InfoHash, Result<(), Refusal>, Reply<()>),
    /// Stop everything: trackers have so long to hear of it, and what is in flight as long to get to disk.
    Stop(Duration),
}

/// Where an answer goes. It has room for two.
pub type Reply<T> = Sender<Answer<T>>;

/// What whoever gave an order hears.
pub enum Answer<T> {
    /// It is carried out when a disk has done its part, whether somebody waits for it or not. Told once at a time.
    Waits,
    /// That is all.
    Done(Result<T, Refusal>),
}

/// Says that an order waits for a disk.
pub fn say_that_it_waits<T>(reply: &Reply<T>) {
    // The answer itself must find room.
    if reply.is_empty() {
        let _ = reply.try_send(Answer::Waits);
    }
}

/// Answers an order. Nobody may be waiting any more.
pub fn answer<T>(reply: &Reply<T>, outcome: Result<T, Refusal>) {
    let _ = reply.try_send(Answer::Done(outcome));
}

/// Why an order is not carried out now.
pub enum Held {
    /// It never is.
    Refused(Refusal),
    /// The torrent's thread must have ended first: see [`Leaving`](super::leaving::Leaving). Nothing was changed.
    Leaves,
}

impl From<Refusal> for Held {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Request {
    /// Which torrent it changes, for which that must not be at work and ending.
    pub fn subject(&self) -> Option<&InfoHash> {
        match self {
            Self::Add(new, _) => Some(&new.metainfo.info_hash),
            Self::Pause(info_hash, _)
            | Self::Resume(info_hash, _)
            | Self::Remove(info_hash, _, _)
            | Self::Options(info_hash, _, _, _)
            | Self::Wake(info_hash, _)
            | Self::Found(info_hash, _) => Some(info_hash),
            Self::Open
            | Self::Settings(..)
            | Self::Notice(_)
            | Self::Ended(..)
            | Self::Seen(..)
            | Self::Deleted(..)
            | Self::Stop(_) => None,
        }
    }

    /// Something that was begun is over: heard also when all are to stop.
    pub const fn is_an_end(&self) -> bool {
        matches!(self, Self::Ended(..) | Self::Deleted(..))
    }

    /// Says that it waits for a disk.
    pub fn say_that_it_waits(&self) {
        match self {
            Self::Add(_, reply) => say_that_it_waits(reply),
            Self::Pause(_, reply)
            | Self::Resume(_, reply)
            | Self::Remove(_, _, reply)
            | Self::Options(_, _, _, reply) => say_that_it_waits(reply),
            _ => {}
        }
    }

    /// Answers that it is not carried out.
    pub fn refuse(&self, refusal: Refusal) {
        match self {
            Self::Add(_, reply) => answer(reply, Err(refusal)),
            Self::Pause(_, reply)
            | Self::Resume(_, reply)
            | Self::Remove(_, _, reply)
            | Self::Options(_, _, _, reply) => answer(reply, Err(refusal)),
            Self::Wake(_, reply) => drop(reply.try_send(None)),
            _ => {}
        }
    }
}

impl Shared {
    /// Asks the session's thread, and waits for its answer: if that waits for a disk, [`PATIENCE`], then `late` answers.
    pub(super) fn order<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
        late: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if self.closing.is_set() {
            return Err(stopping());
        }
        let (reply, answers) = crossbeam_channel::bounded(2);
        self.ask(request(reply));
        hear(&answers, PATIENCE).unwrap_or_else(late)
    }
}

/// The answer; `None` if that waits for a disk for longer than `patience`.
fn hear<T>(answers: &Receiver<Answer<T>>, patience: Duration) -> Option<Result<T, Refusal>> {
    let mut deadline = None;
    loop {
        let heard = match deadline {
            None => answers.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => answers.recv_deadline(deadline),
        };
        match heard {
            Ok(Answer::Waits) => {
                deadline.get_or_insert_with(|| Instant::now() + patience);
            }
            Ok(Answer::Done(outcome)) => return Some(outcome),
            Err(RecvTimeoutError::Timeout) => return None,
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Err(stopping()));
            }
        }
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable("the daemon is stopping".into())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;

    #[test]
    fn who_gives_an_order_waits_for_a_disk_so_long_and_for_all_else_as_long_as_it_takes() {
        let (reply, answers) = bounded::<Answer<u32>>(2);
        say_that_it_waits(&reply);
        say_that_it_waits(&reply);
        answer(&reply, Ok(1));
        assert!(matches!(hear(&answers, Duration::from_secs(600)), Some(Ok(1))), "there was room for it");
        say_that_it_waits(&reply);
        assert!(hear(&answers, Duration::ZERO).is_none());
        answer(&reply, Ok(2));
        assert!(matches!(hear(&answers, Duration::ZERO), Some(Ok(2))));
        drop(reply);
        assert!(matches!(hear(&answers, Duration::ZERO), Some(Err(Refusal::Unavailable(_)))));
    }
}
