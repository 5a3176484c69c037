//! What waits for the disks of payload and is no torrent's work: a look at the files of a complete torrent, and deleting.
//! Each disk has a thread for it while there is something to do, so one that does not answer holds up its own torrents: not
//! the session, and not those of another.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::SendTimeoutError;
use torrent_common::ids::InfoHash;
use torrent_common::worker::Worker;

use super::Shared;
use super::error::StartupError;
use super::request::{Reply, Request};
use super::start::{self, Resting};
use crate::resume::Saved;
use crate::storage::mounts;

/// Disks that have a thread each. More share theirs.
const MAX_LANES: usize = 8;
/// Between two looks whether a session that has no room for a request is ending.
const RETRY: Duration = Duration::from_millis(50);

/// What was seen of a complete torrent: what its trackers are to be told, if it needs no thread.
pub type Seen = Result<Option<Resting>, StartupError>;

/// Something to do. Each ends in a request to the session.
pub enum Errand {
    /// Looks whether a torrent can seed without a thread; ends in [`Request::Seen`] with this number.
    Look(Box<Saved>, u64),
    /// Deletes what is on disk of a torrent without a thread: its payload, or only what is none. Ends in
    /// [`Request::Deleted`].
    Delete(InfoHash, bool, Reply<()>),
}

/// All that is to be done.
#[derive(Default)]
pub struct Errands(Mutex<State>);

#[derive(Default)]
struct State {
    lanes: HashMap<u64, Lane>,
}

/// Of one disk.
struct Lane {
    queue: VecDeque<Errand>,
    /// It sees to the queue. When that is empty it ends.
    worker: Option<Worker>,
    at_work: bool,
}

impl Errands {
    /// Gives an errand to the thread of the disk that `path` is on.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread, and the errand.
    pub fn add(shared: &Arc<Shared>, path: &Path, errand: Errand) -> Result<(), (Errand, io::Error)> {
        let mut state = shared.errands.lock();
        let disk = state.lane_of(mounts::device_of(path));
        let mut queue = match state.lanes.get_mut(&disk) {
            Some(lane) if lane.at_work => {
                lane.queue.push_back(errand);
                return Ok(());
            }
            Some(lane) => std::mem::take(&mut lane.queue),
            None => VecDeque::new(),
        };
        let worker = {
            let shared = Arc::clone(shared);
            Worker::spawn("errands", move || run(&shared, disk))
        };
        match worker {
            Ok(worker) => {
                queue.push_back(errand);
                // The one that was there before, if any, has ended or is about to.
                state.lanes.insert(disk, Lane { queue, worker: Some(worker), at_work: true });
                Ok(())
            }
            Err(error) => Err((errand, error)),
        }
    }

    /// Looks are not begun any more, what is to be deleted is. Waits for that.
    pub fn stop(&self) {
        let workers: Vec<Worker> = {
            let mut state = self.lock();
            for lane in state.lanes.values_mut() {
                lane.queue.retain(|errand| matches!(errand, Errand::Delete(..)));
            }
            state.lanes.values_mut().filter_map(|lane| lane.worker.take()).collect()
        };
        workers.into_iter().for_each(Worker::join);
    }

    /// The next of a lane; if there is none its thread ends.
    fn next(&self, lane: u64) -> Option<Errand> {
        let mut state = self.lock();
        let lane = state.lanes.get_mut(&lane)?;
        let next = lane.queue.pop_front();
        lane.at_work = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Which lane is for a device: its own, if there is room for another.
    fn lane_of(&mut self, device: u64) -> u64 {
        if self.lanes.contains_key(&device) || self.lanes.len() < MAX_LANES {
            return device;
        }
        let idle = self.lanes.iter().find(|(_, lane)| !lane.at_work).map(|(&other, _)| other);
        if let Some(idle) = idle {
            self.lanes.remove(&idle);
            return device;
        }
        let mut all: Vec<u64> = self.lanes.keys().copied().collect();
        all.sort_unstable();
        let nth = usize::try_from(device).unwrap_or_default() % all.len().max(1);
        all.get(nth).copied().unwrap_or(device)
    }
}

/// Sees to a lane until nothing is left to do.
fn run(shared: &Arc<Shared>, lane: u64) {
    while let Some(errand) = shared.errands.next(lane) {
        match errand {
            Errand::Look(saved, number) => {
                let info_hash = saved.info_hash;
                let seen = start::resting(shared, *saved);
                shared.tell(Request::Seen(info_hash, number, Box::new(seen)));
            }
            Errand::Delete(info_hash, data, reply) => {
                let outcome = start::delete(shared, &info_hash, data);
                if let Err(error) = &outcome {
                    log::warn!("{info_hash}: not all could be deleted: {error}");
                }
                shared.tell(Request::Deleted(info_hash, outcome, reply));
            }
        }
    }
}

impl Shared {
    /// Tells the session, which waits for nobody, unless it is ending.
    pub(super) fn tell(&self, mut request: Request) {
        while !self.closing.is_set() {
            match self.requests.send_timeout(request, RETRY) {
                Err(SendTimeoutError::Timeout(same)) => request = same,
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }
}
