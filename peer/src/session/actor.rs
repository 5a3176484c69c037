//! The session's thread: the only one that adds, starts, stops and removes torrents. It waits for no disk that payload is
//! on: what does is a torrent's own thread, which it tells to stop and hears of when it has (`leaving`), or an errand
//! (`errands`).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use torrent_common::ids::InfoHash;

use super::Shared;
use super::adopt::{self, NewTorrent};
use super::entry::Entry;
use super::errands::{Errand, Errands};
use super::gate::Gate;
use super::request::{Held, Reply, Request, answer, say_that_it_waits};
use super::start;
use crate::announcer::AnnounceTarget;
use crate::control::api::{TorrentState, TorrentStatus};
use crate::control::engine::Refusal;
use crate::queue::Receiver;
use crate::resume::{ResumeError, Saved};
use crate::torrent::Notice;
use crate::torrent::input::Input;

/// Runs until it is asked to stop, and all have stopped.
pub fn run(shared: &Arc<Shared>, requests: Receiver<Request>, loaded: &Sender<Result<(), ResumeError>>) {
    // Read once: what is needed to seed on without a thread.
    let mut complete = match load(shared) {
        Ok(complete) => complete,
        Err(error) => return drop(loaded.send(Err(error))),
    };
    let _ = loaded.send(Ok(()));
    let mut busy = loop {
        let wait = [shared.next_end(), shared.next_try()].into_iter().flatten().min();
        let request = match wait {
            Some(wait) => requests.recv_timeout(wait),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match request {
            Ok(Request::Stop(patience)) => break shared.stop_all(patience),
            Ok(Request::Open) => shared.open(std::mem::take(&mut complete)),
            Ok(request) => shared.serve(request),
            Err(RecvTimeoutError::Timeout) => shared.end_in_time(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.try_again();
        shared.fill_places();
    };
    // Each as it ends: one that hangs keeps no other from what was promised. Who asks for anything else hears that there will
    // be no answer.
    while let Some(last) = busy.last() {
        if !shared.is_busy(last) {
            busy.pop();
        } else if let Ok(request) = requests.recv()
            && request.is_an_end()
        {
            shared.serve(request);
        }
    }
    drop(requests);
    shared.errands.join();
}

/// Makes the table of what was saved. Gives back what is complete, and is to be seeded.
fn load(shared: &Shared) -> Result<Vec<Saved>, ResumeError> {
    let mut all: Vec<Saved> = Vec::new();
    for loaded in shared.store.load_all()? {
        match loaded {
            Ok(saved) => all.push(saved),
            Err((_, error)) if error.is_damage() => log::error!("{error}. It is set aside (*.bad)"),
            Err((_, error)) => log::error!("{error}. It is left as it is"),
        }
    }
    all.sort_by_key(|saved| (saved.details.added_ns, saved.info_hash));
    let mut table = shared.table();
    let mut complete = Vec::new();
    for saved in all {
        let entry = start::entry_of(&saved);
        if entry.is_complete() && entry.is_wanted() {
            complete.push(saved);
        }
        table.insert(entry);
    }
    Ok(complete)
}

impl Shared {
    /// Tells all to stop, and waits for none of their threads; for trackers so long at the most. Gives back all that may have
    /// a thread.
    fn stop_all(&self, patience: Duration) -> Vec<InfoHash> {
        self.closing.set();
        self.errands.tell_to_stop();
        let all: Vec<InfoHash> = self.table().entries.keys().copied().collect();
        for info_hash in &all {
            self.end_thread_within(info_hash, Some(patience));
        }
        if let Some(announcer) = self.take_announcer() {
            announcer.stop(patience);
        }
        all
    }

    /// A torrent's thread ends, or its payload is being deleted.
    fn is_busy(&self, info_hash: &InfoHash) -> bool {
        let ends = |entry: &Entry| entry.leaving.is_some() || entry.removing;
        self.table().entries.get(info_hash).is_some_and(ends)
    }

    pub(super) fn serve(self: &Arc<Self>, request: Request) {
        let Some(request) = self.unless_leaving(request) else { return };
        match request {
            Request::Add(new, reply) => {
                let outcome = self.add_new(&new);
                self.answer_or_put_off(outcome, reply, |reply| Request::Add(new, reply));
            }
            Request::Pause(info_hash, reply) => {
                let outcome = self.pause_torrent(&info_hash);
                self.answer_or_put_off(outcome, reply, |reply| Request::Pause(info_hash, reply));
            }
            Request::Resume(info_hash, reply) => {
                let outcome = self.resume_torrent(&info_hash);
                self.answer_or_put_off(outcome, reply, |reply| Request::Resume(info_hash, reply));
            }
            Request::Remove(info_hash, data, reply) => {
                self.remove_torrent(&info_hash, data, reply);
            }
            Request::Options(info_hash, patch, files, reply) => {
                answer(&reply, self.change_options(&info_hash, &patch, files));
            }
            Request::Settings(patch, reply) => answer(&reply, self.change_settings(&patch)),
            Request::Wake(info_hash, reply) => drop(reply.try_send(self.wake(&info_hash))),
            Request::Ended(info_hash, number) => self.ended(&info_hash, number),
            Request::Seen(info_hash, number, seen) => self.seen(&info_hash, number, *seen),
            Request::Deleted(info_hash, outcome, reply) => {
                let gone = self.table().remove(&info_hash);
                // Whatever is left of it ends while nobody waits for the table.
                drop(gone);
                answer(&reply, outcome);
            }
            Request::Found(info_hash, peers) => {
                self.wake(&info_hash);
                let inputs = self.table().entries.get(&info_hash).and_then(Entry::inputs);
                if let Some(inputs) = inputs {
                    let _ = inputs.try_send(Input::Found(peers));
                }
            }
            Request::Notice(notice) => self.noticed(notice),
            Request::Open | Request::Stop(_) => {}
        }
    }

    /// Answers, unless the torrent's thread must have ended first: then the order waits for that.
    fn answer_or_put_off<T>(
        &self,
        outcome: Result<T, Held>,
        reply: Reply<T>,
        order: impl FnOnce(Reply<T>) -> Request,
    ) {
        match outcome {
            Err(Held::Leaves) => self.put_off(order(reply)),
            Err(Held::Refused(refusal)) => answer(&reply, Err(refusal)),
            Ok(done) => answer(&reply, Ok(done)),
        }
    }

    /// Unfinished torrents start; then complete ones are looked at, those unchanged only announced.
    fn open(self: &Arc<Self>, complete: Vec<Saved>) {
        let others: Vec<InfoHash> = {
            let seeds: HashSet<InfoHash> = complete.iter().map(|saved| saved.info_hash).collect();
            let table = self.table();
            let others =
                table.in_order().filter(|entry| entry.is_wanted() && !seeds.contains(&entry.info_hash));
            others.map(|entry| entry.info_hash).collect()
        };
        for info_hash in others {
            self.aim(&info_hash);
            self.wake(&info_hash);
        }
        for saved in complete {
            let info_hash = saved.info_hash;
            // The user may have been quicker.
            let waits = self
                .table()
                .entries
                .get(&info_hash)
                .is_some_and(|entry| entry.may_run() && entry.running.is_none());
            if waits && !self.aim(&info_hash) {
                self.begin(saved);
            }
        }
    }

    /// A complete torrent seeds without a thread.
    pub(super) fn rest(&self, target: AnnounceTarget) {
        if let Some(entry) = self.table().entries.get(&target.info_hash) {
            entry.stats.set_state(TorrentState::Seeding);
        }
        self.with_announcer(|announcer| announcer.add(target, true));
    }

    fn add_new(self: &Arc<Self>, new: &NewTorrent) -> Result<TorrentStatus, Held> {
        let info_hash = new.metainfo.info_hash;
        if self.table().entries.contains_key(&info_hash) {
            self.add_again(new)?;
        } else {
            let entry = adopt::add(self, new)?;
            self.table().insert(entry);
            self.aim(&info_hash);
            self.wake(&info_hash);
        }
        let status = self.table().entries.get(&info_hash).map(Entry::status);
        status.ok_or_else(|| Refusal::Internal("the torrent is gone again".into()).into())
    }

    /// The torrent is known.
    fn add_again(self: &Arc<Self>, new: &NewTorrent) -> Result<(), Held> {
        let info_hash = new.metainfo.info_hash;
        self.there_to_stay(&info_hash)?;
        let (output, state, lacks) = {
            let table = self.table();
            let entry = table.entries.get(&info_hash).ok_or(Refusal::NotFound)?;
            let left = entry.stats.transfer.left.load(Ordering::Relaxed);
            (entry.output.clone(), entry.stats.state(), left > 0)
        };
        if output != new.output {
            return Err(Held::Refused(Refusal::Conflict(format!(
                "the torrent is here already, in {}: remove it first, or use that folder",
                output.display()
            ))));
        }
        let is_taken = new.is_made() && lacks;
        if is_taken {
            adopt::check_root(self, new)?;
            // First of all, so that nothing is changed if it takes long.
            if !self.halt(&info_hash) {
                return Err(Held::Leaves);
            }
        }
        if !new.options.is_empty() {
            let files = new.metainfo.payload_files().count();
            if let Err(refusal) = self.change_options(&info_hash, &new.options, files) {
                if is_taken && !self.aim(&info_hash) {
                    self.go_on(&info_hash);
                }
                return Err(refusal.into());
            }
        }
        if is_taken {
            self.take_as_made(new)?;
        }
        let starts_again = match state {
            // Asked for again: what it stood still for may be mended.
            TorrentState::Error => true,
            // Who makes a torrent of it wants it seeded, whatever was wanted before.
            TorrentState::Paused | TorrentState::Finished => new.is_made(),
            _ => false,
        };
        if starts_again {
            self.resume_torrent(&info_hash)?;
        }
        // It may have ended at once, for a goal that it reached before it was paused or taken as made.
        let has_ended = |entry: &Entry| entry.finished;
        if new.is_made() && self.table().entries.get(&info_hash).is_some_and(has_ended) {
            self.resume_torrent(&info_hash)?;
        }
        Ok(())
    }

    /// A torrent that was halted is as before: it waits for a place, or has a thread if it may.
    fn go_on(self: &Arc<Self>, info_hash: &InfoHash) {
        let waits = self.table().entries.get(info_hash).is_some_and(|entry| entry.queued);
        if waits {
            self.queue(info_hash);
        } else {
            self.wake(info_hash);
        }
    }

    /// What a torrent without a thread lacks was found where it is to be, when a torrent was made of it.
    fn take_as_made(self: &Arc<Self>, new: &NewTorrent) -> Result<(), Refusal> {
        let info_hash = new.metainfo.info_hash;
        let taken = adopt::take_as_made(self, new);
        {
            let mut table = self.table();
            let entry = table.entries.get_mut(&info_hash).ok_or(Refusal::NotFound)?;
            // It waits for no place any more, whatever comes of it.
            entry.queued = false;
            if let Ok(Some(anew)) = &taken {
                (entry.paused, entry.finished) = (false, false);
                (entry.stats, entry.complete_since_s) = (Arc::clone(&anew.stats), anew.complete_since_s);
            }
        }
        if !self.aim(&info_hash) {
            self.wake(&info_hash);
        }
        taken.map(drop)
    }

    fn pause_torrent(&self, info_hash: &InfoHash) -> Result<(), Held> {
        self.there_to_stay(info_hash)?;
        if !self.halt(info_hash) {
            return Err(Held::Leaves);
        }
        if let Some(entry) = self.table().entries.get_mut(info_hash) {
            (entry.paused, entry.finished, entry.queued) = (true, false, false);
            entry.stats.set_state(TorrentState::Paused);
        }
        Ok(start::save_wishes(self, info_hash)?)
    }

    /// It is known, and not being removed.
    pub(super) fn there_to_stay(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        match self.table().entries.get(info_hash) {
            None => Err(Refusal::NotFound),
            Some(entry) if entry.removing => Err(being_removed()),
            Some(_) => Ok(()),
        }
    }

    fn resume_torrent(self: &Arc<Self>, info_hash: &InfoHash) -> Result<(), Held> {
        let settings = self.settings();
        self.there_to_stay(info_hash)?;
        let goes_on = {
            let table = self.table();
            let entry = table.entries.get(info_hash).ok_or(Refusal::NotFound)?;
            if entry.is_wanted() {
                return Ok(());
            }
            entry.finished.then(|| Arc::new(Self::beyond_goals(entry, &settings)))
        };
        // The thread of a torrent that failed may still be there: nothing is saved beside its journal.
        if !self.halt(info_hash) {
            return Err(Held::Leaves);
        }
        if let Some(options) = &goes_on {
            self.keep_options(info_hash, options)?;
        }
        let before = {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            entry.options = goes_on.unwrap_or_else(|| Arc::clone(&entry.options));
            let before = (entry.paused, entry.finished);
            (entry.paused, entry.finished) = (false, false);
            before
        };
        let saved = start::save_wishes(self, info_hash);
        {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            if let Err(refusal) = saved {
                // It stands still as before: who asks again finds it so.
                (entry.paused, entry.finished) = before;
                return Err(refusal.into());
            }
            entry.anew = true;
            entry.stats.set_state(TorrentState::Checking);
        }
        if !self.aim(info_hash) {
            self.wake(info_hash);
        }
        Ok(())
    }

    /// Ends in [`Request::Deleted`], when its disk has done its part.
    fn remove_torrent(self: &Arc<Self>, info_hash: &InfoHash, delete_data: bool, reply: Reply<()>) {
        if let Err(refusal) = self.there_to_stay(info_hash) {
            return answer(&reply, Err(refusal));
        }
        if !self.halt(info_hash) {
            return self.put_off(Request::Remove(*info_hash, delete_data, reply));
        }
        let output = {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(info_hash) else { return };
            (entry.removing, entry.queued) = (true, false);
            let output = entry.output.clone();
            table.retries.remove(info_hash);
            output
        };
        say_that_it_waits(&reply);
        let errand = Errand::Delete(*info_hash, delete_data, reply);
        if let Err((Errand::Delete(_, _, reply), error)) = Errands::add(self, &output, errand) {
            if let Some(entry) = self.table().entries.get_mut(info_hash) {
                entry.removing = false;
            }
            answer(&reply, Err(Refusal::Internal(format!("no room for another thread: {error}"))));
        }
    }

    /// Gives a torrent a thread unless it has one, is paused, finished or queued, or stands still for an error. Without a
    /// free place it is queued.
    pub(super) fn wake(self: &Arc<Self>, info_hash: &InfoHash) -> Option<Arc<Gate>> {
        if self.closing.is_set() {
            return None;
        }
        let finished = {
            let table = self.table();
            let entry = table.entries.get(info_hash).filter(|entry| entry.may_run())?;
            if entry.leaving.is_some() {
                drop(table);
                self.wake_later(info_hash);
                return None;
            }
            match &entry.running {
                Some(running) if !running.worker.is_finished() => return Some(Arc::clone(&running.gate)),
                running => running.is_some(),
            }
        };
        if finished {
            self.end_thread(info_hash);
        }
        if !self.take_place(info_hash) {
            self.queue(info_hash);
            return None;
        }
        match start::spawn(self, info_hash) {
            Ok(running) => {
                let gate = Arc::clone(&running.gate);
                self.table().entries.get_mut(info_hash)?.running = Some(running);
                Some(gate)
            }
            Err(error) => {
                // Without a thread it may have been announced.
                self.halt(info_hash);
                self.failed(info_hash, &error.to_string(), true);
                self.try_again_later(info_hash);
                None
            }
        }
    }

    pub(super) fn failed(&self, info_hash: &InfoHash, error: &str, may_pass: bool) {
        if let Some(entry) = self.table().entries.get(info_hash) {
            log::error!("{}: {error}", entry.log_name());
            entry.stats.fail(error.to_owned(), may_pass);
        }
    }

    fn noticed(&self, notice: Notice) {
        match notice {
            Notice::Looked(info_hash) => self.looked(&info_hash),
            Notice::Completed(info_hash) => {
                // BEP 3: when the download is complete. A selection of its files is not all of it.
                let left = |entry: &Entry| entry.stats.transfer.left.load(Ordering::Relaxed);
                if self.table().entries.get(&info_hash).is_some_and(|entry| left(entry) == 0) {
                    self.with_announcer(|announcer| announcer.completed(info_hash));
                }
                self.completed(&info_hash);
            }
            Notice::Goal(info_hash) => drop(self.aim(&info_hash)),
            Notice::WantPeers(info_hash) => {
                self.with_announcer(|announcer| announcer.want_peers(info_hash));
            }
            Notice::Idle(info_hash) => {
                let idle =
                    self.table().entries.get(&info_hash).is_some_and(|entry| {
                        entry.stats.state() == TorrentState::Seeding && entry.is_complete()
                    });
                if idle {
                    self.end_thread(&info_hash);
                }
            }
            Notice::Failed(info_hash, may_pass) => {
                // Resumed meanwhile, it has a new thread that did not fail. Queued meanwhile, it is to wait on for its place.
                let state = |entry: &Entry| entry.stats.state();
                let failed = self.table().entries.get(&info_hash).map(state) == Some(TorrentState::Error);
                if failed {
                    self.halt(&info_hash);
                }
                if failed && may_pass {
                    self.try_again_later(&info_hash);
                }
            }
        }
    }
}

fn being_removed() -> Refusal {
    Refusal::Conflict("the torrent is being removed: its disk has not done its part yet".into())
}
