//! The session's thread: the only one that adds, starts, stops and removes torrents.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use torrent_common::ids::InfoHash;

use super::Shared;
use super::adopt::{self, NewTorrent};
use super::entry::{Entry, Running};
use super::gate::Gate;
use super::start;
use crate::announcer::AnnounceTarget;
use crate::control::api::{TorrentState, TorrentStatus};
use crate::control::engine::Refusal;
use crate::options::OptionsPatch;
use crate::resume::{ResumeError, Saved};
use crate::settings::{SessionSettings, SettingsPatch};
use crate::text::escape_for_log;
use crate::torrent::Notice;
use crate::torrent::input::Input;

/// When a torrent is paused or removed: its data and its record may be changed right after, so nothing may come late.
const SETTLING: Duration = Duration::from_secs(30);

/// What the session's thread is asked. Replies never block it: their channels have room.
pub enum Request {
    /// Peers can reach us: start what is to run.
    Open,
    /// Add a torrent, or show the one that is there.
    Add(Box<NewTorrent>, Sender<Result<TorrentStatus, Refusal>>),
    /// Stop it until it is resumed.
    Pause(InfoHash, Sender<Result<(), Refusal>>),
    /// Start it again.
    Resume(InfoHash, Sender<Result<(), Refusal>>),
    /// Forget it; with `true` delete its payload.
    Remove(InfoHash, bool, Sender<Result<(), Refusal>>),
    /// Set something for a torrent; of how many files it is, if the change names files.
    Options(InfoHash, Box<OptionsPatch>, usize, Sender<Result<(), Refusal>>),
    /// Set something for all torrents.
    Settings(Box<SettingsPatch>, Sender<Result<SessionSettings, Refusal>>),
    /// Somebody wants to connect: give the torrent a thread.
    Wake(InfoHash, Sender<Option<Arc<Gate>>>),
    /// A tracker named leechers of an idle torrent.
    Found(InfoHash, Vec<SocketAddr>),
    /// A torrent has said something.
    Notice(Notice),
    /// Stop everything: trackers have so long to hear of it, and what is in flight as long to get to disk.
    Stop(Duration),
}

/// Runs until it is asked to stop.
pub fn run(shared: &Arc<Shared>, requests: &Receiver<Request>, loaded: &Sender<Result<(), ResumeError>>) {
    // Read once: what is needed to seed on without a thread.
    let mut complete = match load(shared) {
        Ok(complete) => complete,
        Err(error) => return drop(loaded.send(Err(error))),
    };
    let _ = loaded.send(Ok(()));
    loop {
        let wait = [shared.next_end(), shared.next_try()].into_iter().flatten().min();
        let request = match wait {
            Some(wait) => requests.recv_timeout(wait),
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match request {
            Ok(Request::Stop(patience)) => {
                stop_all(shared, patience);
                return;
            }
            Ok(Request::Open) => shared.open(std::mem::take(&mut complete)),
            Ok(request) => shared.serve(request),
            Err(RecvTimeoutError::Timeout) => shared.end_in_time(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        shared.try_again();
        shared.fill_places();
    }
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

fn stop_all(shared: &Arc<Shared>, patience: Duration) {
    let running: Vec<_> =
        shared.table().entries.values_mut().filter_map(|entry| entry.running.take()).collect();
    // All are told before any is waited for.
    running.iter().for_each(|running| running.tell_to_stop(patience));
    if let Some(announcer) = shared.take_announcer() {
        announcer.stop(patience);
    }
    running.into_iter().for_each(Running::join);
}

impl Running {
    fn tell_to_stop(&self, patience: Duration) {
        self.cancel.set();
        self.gate.shut();
        // A torrent's thread takes what is in its queue, or has ended.
        let _ = self.inputs.send(Input::Stop(patience));
    }

    fn join(self) {
        self.worker.join();
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, request: Request) {
        match request {
            Request::Add(new, reply) => drop(reply.send(self.add_new(*new))),
            Request::Pause(info_hash, reply) => drop(reply.send(self.pause_torrent(&info_hash))),
            Request::Resume(info_hash, reply) => drop(reply.send(self.resume_torrent(&info_hash))),
            Request::Remove(info_hash, data, reply) => {
                drop(reply.send(self.remove_torrent(&info_hash, data)))
            }
            Request::Options(info_hash, patch, files, reply) => {
                drop(reply.send(self.change_options(&info_hash, &patch, files)))
            }
            Request::Settings(patch, reply) => drop(reply.send(self.change_settings(&patch))),
            Request::Wake(info_hash, reply) => drop(reply.send(self.wake(&info_hash))),
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

    fn add_new(self: &Arc<Self>, new: NewTorrent) -> Result<TorrentStatus, Refusal> {
        let info_hash = new.metainfo.info_hash;
        let known = {
            let table = self.table();
            let lacks = |entry: &Entry| entry.stats.transfer.left.load(Ordering::Relaxed) > 0;
            let entry = table.entries.get(&info_hash);
            entry.map(|entry| (entry.output.clone(), entry.stats.state(), lacks(entry)))
        };
        if let Some((output, state, lacks)) = known {
            if !same_folder(&output, &new.output) {
                return Err(Refusal::Conflict(format!(
                    "the torrent is here already, in {}: remove it first, or use that folder",
                    output.display()
                )));
            }
            let is_taken = new.is_made() && lacks;
            if is_taken {
                adopt::check_root(self, &new)?;
            }
            if !new.options.is_empty() {
                self.change_options(&info_hash, &new.options, new.metainfo.payload_files().count())?;
            }
            if is_taken {
                self.take_as_made(&new)?;
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
            return self.table().entries.get(&info_hash).map(Entry::status).ok_or(Refusal::NotFound);
        }
        let entry = adopt::add(self, new)?;
        self.table().insert(entry);
        self.aim(&info_hash);
        self.wake(&info_hash);
        let status = self.table().entries.get(&info_hash).map(Entry::status);
        status.ok_or_else(|| Refusal::Internal("the torrent is gone again".into()))
    }

    /// What a torrent lacks was found where it is to be, when a torrent was made of it.
    fn take_as_made(self: &Arc<Self>, new: &NewTorrent) -> Result<(), Refusal> {
        let info_hash = new.metainfo.info_hash;
        self.halt(&info_hash);
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

    fn pause_torrent(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            (entry.paused, entry.finished, entry.queued) = (true, false, false);
        }
        self.halt(info_hash);
        if let Some(entry) = self.table().entries.get(info_hash) {
            entry.stats.set_state(TorrentState::Paused);
        }
        start::save_wishes(self, info_hash)
    }

    fn resume_torrent(self: &Arc<Self>, info_hash: &InfoHash) -> Result<(), Refusal> {
        let settings = self.settings();
        let goes_on = {
            let table = self.table();
            let entry = table.entries.get(info_hash).ok_or(Refusal::NotFound)?;
            if entry.is_wanted() {
                return Ok(());
            }
            entry.finished.then(|| Arc::new(Self::beyond_goals(entry, &settings)))
        };
        if let Some(options) = &goes_on {
            self.keep_options(info_hash, options)?;
        }
        {
            let mut table = self.table();
            let entry = table.entries.get_mut(info_hash).ok_or(Refusal::NotFound)?;
            entry.options = goes_on.unwrap_or_else(|| Arc::clone(&entry.options));
            (entry.paused, entry.finished, entry.anew) = (false, false, true);
            entry.stats.set_state(TorrentState::Checking);
        }
        // The thread of a torrent that failed may still be there: nothing is saved beside its journal.
        self.halt(info_hash);
        start::save_wishes(self, info_hash)?;
        if !self.aim(info_hash) {
            self.wake(info_hash);
        }
        Ok(())
    }

    fn remove_torrent(&self, info_hash: &InfoHash, delete_data: bool) -> Result<(), Refusal> {
        if !self.table().entries.contains_key(info_hash) {
            return Err(Refusal::NotFound);
        }
        self.halt(info_hash);
        let deleted = if delete_data {
            start::delete_data(self, info_hash)
        } else {
            start::delete_part(self, info_hash);
            Ok(())
        };
        let removed = self.store.remove(info_hash).map_err(|error| Refusal::Internal(error.to_string()));
        self.table().remove(info_hash);
        deleted.and(removed)
    }

    /// Ends a torrent's thread and takes leave of its trackers: in this order, since the thread announces itself.
    pub(super) fn halt(&self, info_hash: &InfoHash) {
        self.end_thread(info_hash);
        self.with_announcer(|announcer| announcer.remove(*info_hash));
    }

    fn end_thread(&self, info_hash: &InfoHash) {
        let running = {
            let mut table = self.table();
            let Some(entry) = table.entries.get_mut(info_hash) else { return };
            let (running, rank) = (entry.running.take(), entry.rank);
            table.places.leave(info_hash, rank);
            running
        };
        if let Some(running) = running {
            running.tell_to_stop(SETTLING);
            running.join();
        }
    }

    /// Gives a torrent a thread unless it has one, is paused, finished or queued, or stands still for an error. Without a
    /// free place it is queued.
    pub(super) fn wake(self: &Arc<Self>, info_hash: &InfoHash) -> Option<Arc<Gate>> {
        let finished = {
            let table = self.table();
            let entry = table.entries.get(info_hash).filter(|entry| entry.may_run())?;
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
            log::error!("{}: {error}", escape_for_log(&entry.name, start::LOG_NAME_LEN));
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
                // Resumed meanwhile, it has a new thread that did not fail.
                let failed = self.table().entries.get(&info_hash).is_some_and(|entry| !entry.may_run());
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

fn same_folder(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}
