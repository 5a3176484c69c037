//! What waits for the disks of payload and is no torrent's work: a look at the files of a complete torrent, and deleting.
//! Each disk has a thread for it while there is something to do, so one that does not answer holds up its own torrents: not
//! the session, and not those of another. Where links lead is part of it: an errand begins with the disk that its path is on
//! by name, and is handed on.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use torrent_common::ids::InfoHash;
use torrent_common::worker::{Worker, contain};

use super::Shared;
use super::error::StartupError;
use super::request::{Reply, Request};
use super::start::{self, Resting};
use crate::control::engine::Refusal;
use crate::resume::Saved;
use crate::storage::mounts;

/// Disks that have a thread each. More share theirs.
const MAX_LANES: usize = 8;

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
    /// Looks are not begun any more.
    stopping: bool,
}

/// An errand, and the path that it is about until it is known which disk that leads to.
struct Job {
    path: Option<PathBuf>,
    errand: Errand,
}

/// Of one disk.
struct Lane {
    queue: VecDeque<Job>,
    /// It sees to the queue. When that is empty it ends.
    worker: Option<Worker>,
    at_work: bool,
}

impl Errands {
    /// Gives an errand to the thread of the disk that `path` is on. Asks no disk.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread, and the errand.
    pub fn add(shared: &Arc<Shared>, path: &Path, errand: Errand) -> Result<(), (Errand, io::Error)> {
        let device = mounts::device_by_name(path);
        let job = Job { path: Some(path.into()), errand };
        Self::give(shared, device, job).map_err(|(job, error)| (job.errand, error))
    }

    /// Gives it to the thread of that disk.
    fn give(shared: &Arc<Shared>, device: u64, job: Job) -> Result<(), (Job, io::Error)> {
        let mut state = shared.errands.lock();
        if state.stopping && job.is_look() {
            return Ok(());
        }
        let disk = state.lane_of(device);
        let mut queue = match state.lanes.get_mut(&disk) {
            Some(lane) if lane.at_work => {
                lane.queue.push_back(job);
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
                queue.push_back(job);
                // The one that was there before, if any, has ended or is about to.
                state.lanes.insert(disk, Lane { queue, worker: Some(worker), at_work: true });
                Ok(())
            }
            Err(error) => Err((job, error)),
        }
    }

    /// Looks are not begun any more, what is to be deleted is.
    pub fn tell_to_stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.lanes.values_mut().for_each(|lane| lane.queue.retain(|job| !job.is_look()));
    }

    /// Waits until what was begun is over; after [`Errands::tell_to_stop`], when nothing is to be deleted any more.
    pub fn join(&self) {
        let workers: Vec<_> = self.lock().lanes.values_mut().filter_map(|lane| lane.worker.take()).collect();
        workers.into_iter().for_each(Worker::join);
    }

    /// The next of a lane; if there is none its thread ends.
    fn next(&self, lane: u64) -> Option<Job> {
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

impl Job {
    const fn is_look(&self) -> bool {
        matches!(self.errand, Errand::Look(..))
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
    while let Some(job) = shared.errands.next(lane) {
        if let Some(errand) = hand_on(shared, lane, job) {
            carry_out(shared, errand);
        }
    }
}

/// Gives the errand back if it is for this lane, or none can be had for the disk that it is for.
fn hand_on(shared: &Arc<Shared>, lane: u64, Job { path, errand }: Job) -> Option<Errand> {
    let Some(path) = path else { return Some(errand) };
    let device = mounts::device_of(&path);
    if shared.errands.lock().lane_of(device) == lane {
        return Some(errand);
    }
    let refused = Errands::give(shared, device, Job { path: None, errand });
    refused.err().map(|(job, _)| job.errand)
}

fn carry_out(shared: &Arc<Shared>, errand: Errand) {
    match errand {
        Errand::Look(saved, number) => {
            let info_hash = saved.info_hash;
            // With a thread of its own it says itself what is wrong with it.
            let seen = contain("a look at a torrent", || start::resting(shared, *saved)).unwrap_or(Ok(None));
            shared.ask(Request::Seen(info_hash, number, Box::new(seen)));
        }
        Errand::Delete(info_hash, data, reply) => {
            let panicked = || Err(Refusal::Internal("not all could be deleted: see the log".into()));
            let deleted = contain("the deletion of a torrent", || start::delete(shared, &info_hash, data));
            let outcome = deleted.unwrap_or_else(panicked);
            if let Err(error) = &outcome {
                log::warn!("{info_hash}: not all could be deleted: {error}");
            }
            shared.ask(Request::Deleted(info_hash, outcome, reply));
        }
    }
}
