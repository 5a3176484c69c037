//! Torrents whose threads were told to stop. A thread ends when what it has begun is on disk, which takes as long as the
//! disk likes: so nobody waits for it. What was asked of its torrent meanwhile, and what it was stopped for, is carried
//! out when it says that it ends: so of a torrent that has no thread nothing is written any more, whatever is made of its
//! files and its record then.

use std::sync::Arc;
use std::time::Duration;

use torrent_common::ids::InfoHash;

use super::Shared;
use super::entry::Running;
use super::request::Request;
use crate::control::api::TorrentState;
use crate::control::engine::Refusal;
use crate::torrent::input::Input;

/// A thread that ends takes what it is told within this time.
const TAKING: Duration = Duration::from_millis(100);
/// Requests that wait for one torrent.
const MAX_LATER: usize = 32;

/// A thread that was told to stop, and what is done when it has ended.
pub struct Leaving {
    running: Running,
    /// Requests that wait for it, in order.
    later: Vec<Request>,
    /// Then the torrent is to have a thread again.
    wake: bool,
    /// Then it is to be kept that the torrent is finished.
    finished: bool,
    /// Its trackers are not to know it any more; it may have announced itself while it was told.
    unannounced: bool,
}

impl Leaving {
    const fn new(running: Running) -> Self {
        Self { running, later: Vec::new(), wake: false, finished: false, unannounced: false }
    }

    /// The user is waiting for it to rest, or to go.
    pub fn is_for_rest(&self) -> bool {
        self.later.iter().any(|request| matches!(request, Request::Pause(..) | Request::Remove(..)))
    }
}

impl Running {
    /// Tells it to stop. Never waits for a disk: a torrent's thread that lets nobody in yet will not begin, any other takes
    /// its inputs.
    fn stopper(&self) -> impl FnOnce(Option<Duration>) + use<> {
        let (cancel, gate, inputs) = (self.cancel.clone(), Arc::clone(&self.gate), self.inputs.clone());
        move |patience| {
            cancel.set();
            if gate.shut() {
                let _ = inputs.send(Input::Stop(patience));
            }
        }
    }

    pub(super) fn join(self) {
        self.worker.join();
    }
}

impl Shared {
    /// Tells a torrent's thread to stop, if it has one, and takes leave of its trackers. True if it has none, or none any
    /// more: what it has is as its checkpoint says.
    pub(super) fn halt(&self, info_hash: &InfoHash) -> bool {
        let gone = self.end_thread(info_hash);
        self.with_announcer(|announcer| announcer.remove(*info_hash));
        // It may announce itself until it has heard of it.
        let _ = self.with_leaving(info_hash, |leaving| leaving.unannounced = true);
        gone
    }

    /// The same, but its trackers go on to know it.
    pub(super) fn end_thread(&self, info_hash: &InfoHash) -> bool {
        self.end_thread_within(info_hash, None)
    }

    /// The same, when the daemon ends: what is not on disk after `patience` is given up.
    pub(super) fn end_thread_within(&self, info_hash: &InfoHash, patience: Option<Duration>) -> bool {
        let mut table = self.table();
        let Some(rank) = table.entries.get(info_hash).map(|entry| entry.rank) else { return true };
        table.places.leave(info_hash, rank);
        let Some(entry) = table.entries.get_mut(info_hash) else { return true };
        entry.looking = None;
        match entry.running.take() {
            Some(running) if running.worker.is_finished() => {
                drop(table);
                running.join();
                true
            }
            Some(running) => {
                let stop = running.stopper();
                // Before it is told: it may end at once, and say so.
                entry.leaving = Some(Box::new(Leaving::new(running)));
                drop(table);
                stop(patience);
                false
            }
            None => {
                let known = entry.leaving.as_ref().map(|leaving| leaving.running.inputs.clone());
                drop(table);
                if let (Some(inputs), Some(_)) = (&known, patience) {
                    let _ = inputs.send_timeout(Input::Stop(patience), TAKING);
                }
                known.is_none()
            }
        }
    }

    /// The request, if it can be carried out now; else it is when the thread of its torrent has ended.
    pub(super) fn unless_leaving(&self, request: Request) -> Option<Request> {
        let leaves = request.subject().is_some_and(|info_hash| self.is_leaving(info_hash));
        // These are remembered as one wish, however many strangers come.
        let is_wish = matches!(request, Request::Wake(..) | Request::Found(..));
        if leaves && !is_wish {
            self.put_off(request);
            return None;
        }
        Some(request)
    }

    /// Lets a request wait until the thread of its torrent has ended.
    pub(super) fn put_off(&self, request: Request) {
        let mut table = self.table();
        let Some(entry) = request.subject().and_then(|info_hash| table.entries.get_mut(info_hash)) else {
            return;
        };
        let Some(leaving) = &mut entry.leaving else { return };
        if leaving.later.len() < MAX_LATER {
            request.say_that_it_waits();
            leaving.later.push(request);
        } else {
            // It may be stopping for this request alone.
            leaving.wake = true;
            request.refuse(Refusal::Unavailable(
                "the torrent is stopping, and its disk does not answer: try again later".into(),
            ));
        }
    }

    pub(super) fn is_leaving(&self, info_hash: &InfoHash) -> bool {
        self.table().entries.get(info_hash).is_some_and(|entry| entry.leaving.is_some())
    }

    /// A torrent whose thread is ending is to have one again, afterwards; false if it is not ending.
    pub(super) fn wake_later(&self, info_hash: &InfoHash) -> bool {
        self.with_leaving(info_hash, |leaving| leaving.wake = true)
    }

    /// That a torrent is finished is to be kept when its thread has ended; false if it is not ending.
    pub(super) fn finish_later(&self, info_hash: &InfoHash) -> bool {
        self.with_leaving(info_hash, |leaving| leaving.finished = true)
    }

    fn with_leaving(&self, info_hash: &InfoHash, act: impl FnOnce(&mut Leaving)) -> bool {
        let mut table = self.table();
        let leaving = table.entries.get_mut(info_hash).and_then(|entry| entry.leaving.as_mut());
        leaving.map(|leaving| act(leaving)).is_some()
    }

    /// A thread ends: what waited for it is carried out.
    pub(super) fn ended(self: &Arc<Self>, info_hash: &InfoHash, number: u64) {
        let leaving = {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(info_hash) else { return };
            // By itself. It says so once: told to stop from now on, it would not be heard of again.
            let alone = entry.running.take_if(|running| running.number == number);
            let leaving = entry.leaving.take_if(|leaving| leaving.running.number == number);
            // The last that it said may be otherwise.
            if leaving.is_some() && entry.queued {
                entry.stats.set_state(TorrentState::Queued);
            }
            if alone.is_some() {
                let rank = entry.rank;
                table.places.leave(info_hash, rank);
            }
            drop(table);
            alone.into_iter().for_each(Running::join);
            leaving
        };
        let Some(leaving) = leaving else { return };
        let Leaving { running, later, wake, finished, unannounced } = *leaving;
        running.join();
        if unannounced {
            self.with_announcer(|announcer| announcer.remove(*info_hash));
        }
        if finished {
            self.keep_finished(info_hash);
        }
        for request in later {
            self.serve(request);
        }
        if wake {
            self.wake(info_hash);
        }
    }
}
