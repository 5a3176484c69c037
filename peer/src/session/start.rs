//! From what is saved to a torrent at work.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use crossbeam_channel::TrySendError;
use torrent_common::bitfield::Bitfield;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;
use torrent_common::worker::{Shutdown, Worker, contain};

use super::entry::{Entry, Running, log_name};
use super::error::StartupError;
use super::gate::Gate;
use super::overlap::RootKey;
use super::request::Request;
use super::{Shared, bytes_of};
use crate::announcer::AnnounceTarget;
use crate::connection::link::{STALL, Timeouts, TorrentLink};
use crate::control::api::TorrentState;
use crate::control::engine::Refusal;
use crate::limits::{Limits, TorrentLimits};
use crate::options::TorrentOptions;
use crate::queue::{self, Receiver, Sender};
use crate::resume::{Details, Journal, Look, Saved};
use crate::storage::files::Storage;
use crate::torrent::core::CoreConfig;
use crate::torrent::have::Have;
use crate::torrent::input::Input;
use crate::torrent::saving::Record;
use crate::torrent::selection::{Selection, Wanted};
use crate::torrent::stats::Stats;
use crate::torrent::{Active, Notice, thread};

/// Inputs that may wait for a torrent's thread.
const INPUT_QUEUE_LEN: usize = 256;
/// A complete torrent without a connection gives its thread back after so long.
const LINGER: Duration = Duration::from_secs(30);
/// With more torrents at work than this, one that nobody comes to does not stay as long: thousands may be added at once.
const CROWD: usize = 64;
/// So long.
const SHORT_LINGER: Duration = Duration::from_secs(1);
/// Addresses that one torrent dials at a time, however many all may.
const MAX_DIALLING: usize = 32;

/// Most torrents have nothing set for them: they share that.
fn shared_options(options: &TorrentOptions) -> Arc<TorrentOptions> {
    static NOTHING_SET: LazyLock<Arc<TorrentOptions>> = LazyLock::new(Arc::default);
    if *options == **NOTHING_SET { Arc::clone(&NOTHING_SET) } else { Arc::new(options.clone()) }
}

/// A torrent of an earlier life.
pub fn entry_of(saved: &Saved) -> Entry {
    let details = &saved.details;
    // More was selected, and a kill came before that was kept with the rest: it is not what it was finished with.
    let finished = details.finished && details.wanted.is_none_or(|(_, lacking)| lacking == 0);
    // What it has is known only when somebody has looked: the checkpoint may lag behind, files may have changed.
    let state = match () {
        () if details.paused => TorrentState::Paused,
        () if finished => TorrentState::Finished,
        () => TorrentState::Checking,
    };
    let bytes_had = if saved.is_complete() {
        details.total_len
    } else {
        // Good enough until its thread has looked: the last piece may be shorter.
        let pieces = u64::from(details.piece_count.max(1));
        details.total_len / pieces * u64::from(saved.pieces_had())
    };
    let complete_since_s = details.completed_s.unwrap_or(details.added_ns / 1_000_000_000);
    let stats = Stats::new(details.total_len, state, saved.pieces_had(), bytes_had);
    stats.downloaded.store(details.downloaded, Ordering::Relaxed);
    stats.uploaded.store(details.uploaded, Ordering::Relaxed);
    if let Some((wanted_len, lacking)) = details.wanted {
        stats.set_wanted(wanted_len, lacking);
    }
    Entry {
        info_hash: saved.info_hash,
        name: details.name.clone(),
        total_len: details.total_len,
        output: details.output.clone(),
        root: RootKey::of(details),
        private: details.private,
        paused: details.paused,
        finished,
        queued: false,
        anew: false,
        rank: 0,
        complete_since_s,
        end_s: None,
        options: shared_options(&details.options),
        stats: Arc::new(stats),
        running: None,
        leaving: None,
        looking: None,
        judged: None,
        removing: false,
    }
}

/// The file or folder that is a torrent's payload.
pub(super) fn payload_path(output: &Path, root: Option<&OsStr>, metainfo: &Metainfo) -> PathBuf {
    root.map_or_else(|| output.join(metainfo.root.as_str()), |root| output.join(root))
}

/// A torrent that is complete, and whose files are as we left them: it needs no thread.
pub struct Resting {
    /// What its trackers are told.
    pub target: AnnounceTarget,
    /// Pieces had, and bytes of them.
    pub had: (u32, u64),
    /// Bytes of payload.
    pub total_len: u64,
    /// Bytes wanted.
    pub wanted_len: u64,
}

/// Whether a torrent is so. One look at every file, no payload is read.
pub fn resting(shared: &Shared, saved: Saved) -> Result<Option<Resting>, StartupError> {
    let info_hash = saved.info_hash;
    if !saved.is_complete() && saved.details.options.priorities.is_empty() {
        return Ok(None);
    }
    let storage = shared.storage(&saved)?;
    let metainfo = storage.metainfo();
    let selection = Selection::of(metainfo, &saved.details.options.priorities);
    let wanted = Wanted::of(metainfo, &saved.details.options.priorities);
    let kept = saved.had(&metainfo.geometry);
    let had = Look::take(&shared.store, saved, &storage)?.had;
    // After a kill: what only a journal knows is neither shown nor flushed until a thread makes a checkpoint.
    if kept.as_ref() != Some(&had) {
        return Ok(None);
    }
    // Wanted, and its bytes wait for it in the part file.
    let waits = |index: usize| wanted.contains(index) && storage.layout().max_len(index) > 0;
    if !selection.is_satisfied_by(&metainfo.geometry, &had) || storage.layout().all_parted().any(waits) {
        return Ok(None);
    }
    let Some(transfer) =
        shared.table().entries.get(&info_hash).map(|entry| Arc::clone(&entry.stats.transfer))
    else {
        return Ok(None);
    };
    Ok(Some(Resting {
        target: AnnounceTarget { info_hash, tiers: metainfo.trackers.clone(), transfer },
        had: (had.count(), bytes_of(&had, &metainfo.geometry)),
        total_len: metainfo.total_len(),
        wanted_len: selection.wanted_len(&metainfo.geometry),
    }))
}

/// Keeps for the next start what the user wants of a torrent: to rest or to work, and its options. Only for one without a
/// thread.
pub fn save_wishes(shared: &Shared, info_hash: &InfoHash) -> Result<(), Refusal> {
    let change = || {
        let mut saved = shared.store.load(info_hash)?;
        {
            let table = shared.table();
            let Some(entry) = table.entries.get(info_hash) else { return Ok(()) };
            saved.details.paused = entry.paused;
            saved.details.finished = entry.finished;
            if entry.is_complete() {
                saved.details.completed_s = Some(entry.complete_since_s);
            }
            saved.details.wanted = entry.stats.wanted_if_not_all();
            saved.details.options = TorrentOptions::clone(&entry.options);
        }
        shared.store.save(&saved)
    };
    change().map_err(|error| Refusal::Internal(error.to_string()))
}

/// Forgets a torrent without a thread, and deletes its payload, or what is on disk of it and is no payload: of no use to
/// anybody else. Whatever comes of that, the torrent is forgotten.
pub fn delete(shared: &Shared, info_hash: &InfoHash, data: bool) -> Result<(), Refusal> {
    let deleted = if data {
        delete_data(shared, info_hash).map_err(|error| Refusal::Internal(error.to_string()))
    } else {
        if let Err(error) = delete_part(shared, info_hash) {
            log::warn!("{info_hash}: {error}");
        }
        Ok(())
    };
    let removed = shared.store.remove(info_hash).map_err(|error| Refusal::Internal(error.to_string()));
    deleted.and(removed)
}

fn delete_data(shared: &Shared, info_hash: &InfoHash) -> Result<(), StartupError> {
    let saved = shared.store.load(info_hash)?;
    let storage = shared.storage(&saved)?;
    saved.prepare_removal(&storage)?;
    Ok(storage.remove_data()?)
}

fn delete_part(shared: &Shared, info_hash: &InfoHash) -> Result<(), StartupError> {
    // Whatever is selected now: it goes some time after all was.
    Ok(shared.storage(&shared.store.load(info_hash)?)?.remove_part()?)
}

/// Starts a torrent's thread. What goes wrong on it is told by the torrent's state.
pub fn spawn(shared: &Arc<Shared>, info_hash: &InfoHash) -> Result<Running, StartupError> {
    let (inputs, receiver) = queue::bounded(INPUT_QUEUE_LEN);
    let cancel = Shutdown::new();
    let gate = Arc::new(Gate::default());
    let start = Start {
        shared: Arc::clone(shared),
        info_hash: *info_hash,
        inputs: inputs.clone(),
        gate: Arc::clone(&gate),
        cancel: cancel.clone(),
    };
    let short = info_hash.to_string();
    let name = format!("torrent-{}", short.get(..7).unwrap_or_default());
    let number = shared.next_number();
    let (ending, info_hash) = (Arc::clone(shared), *info_hash);
    let worker = Worker::spawn(name, move || {
        start.run_or_panic(receiver);
        // Last: what follows finds the disk as this thread left it.
        ending.ask(Request::Ended(info_hash, number));
    })?;
    Ok(Running { inputs, gate, cancel, worker, number })
}

/// What a torrent's thread begins with.
pub(super) struct Start {
    pub(super) shared: Arc<Shared>,
    pub(super) info_hash: InfoHash,
    inputs: Sender<Input>,
    pub(super) gate: Arc<Gate>,
    pub(super) cancel: Shutdown,
}

impl Start {
    /// A torrent that panics takes no other with it, and stands still until it is resumed.
    fn run_or_panic(self, receiver: Receiver<Input>) {
        let (shared, info_hash, gate) = (Arc::clone(&self.shared), self.info_hash, Arc::clone(&self.gate));
        if contain("a torrent's thread", || self.run(receiver)).is_some() {
            return;
        }
        gate.shut();
        let stats = shared.table().entries.get(&info_hash).map(|entry| Arc::clone(&entry.stats));
        if let Some(stats) = stats {
            let text = "this is a bug, please report it with the log; resume this torrent to go on";
            stats.fail(text.to_owned(), false);
            shared.ask(Request::Notice(Notice::Failed(info_hash, false)));
        }
    }

    fn run(self, receiver: Receiver<Input>) {
        let known = {
            let table = self.shared.table();
            table.entries.get(&self.info_hash).map(|entry| (Arc::clone(&entry.stats), entry.log_name()))
        };
        let Some((stats, name)) = known else {
            self.gate.shut();
            return;
        };
        // Tried again, it may fail for the same reason many times: told once.
        let told = stats.error();
        match self.prepare(&stats) {
            Ok(Some(active)) => {
                self.tell(Notice::Looked(self.info_hash));
                // Told to stop meanwhile, it does not begin.
                if self.gate.open(Arc::clone(&active.link)) {
                    if told.is_some() {
                        log::info!("{name}: it goes on");
                    }
                    self.announce(&active);
                    thread::run(active, &receiver);
                }
            }
            Ok(None) => {}
            Err(error) => {
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    log::error!("{name}: {text}");
                }
                stats.fail(text, error.may_pass());
                self.tell(Notice::Failed(self.info_hash, error.may_pass()));
            }
        }
        self.gate.shut();
    }

    /// Tells the session, unless it is told to stop: then the session knows all there is to know.
    fn tell(&self, notice: Notice) {
        if !self.cancel.is_set() {
            self.shared.ask(Request::Notice(notice));
        }
    }

    /// Looks at what is on disk, and hashes what nobody vouches for. `None`: told to stop meanwhile.
    fn prepare(&self, stats: &Arc<Stats>) -> Result<Option<Active>, StartupError> {
        let shared = &self.shared;
        // What is asked for from now on reaches the torrent's queue.
        let asked = stats.asked();
        let saved = shared.store.load(&self.info_hash)?;
        let mut details = saved.details.clone();
        let storage = shared.storage(&saved)?;
        let metainfo = Arc::clone(storage.metainfo());
        let mut look = Look::take(&shared.store, saved, &storage)?;
        let path = || payload_path(&details.output, details.root.as_deref(), &metainfo);
        let anew = self.is_anew();
        if look.is_gone() && !anew {
            return Err(StartupError::Gone { path: path() });
        }
        // Of what the user made a torrent of nothing is fetched.
        let give_up = anew && !details.made;
        let Some(good) = self.check(&look, &storage, stats, give_up)? else { return Ok(None) };
        let selection = Selection::of(&metainfo, &details.options.priorities);
        look.accept(&good, &metainfo.geometry);
        let lost = selection.lacking(&metainfo.geometry, &look.had);
        if details.made && !lost.is_empty() {
            let (count, missing) = (metainfo.geometry.piece_count(), look.suspect.is_empty());
            return Err(StartupError::Changed { path: path(), lost: lost.count(), count, missing });
        }
        if !lost.is_empty() {
            shared.check_overlap(&storage, &details, &lost)?;
        }
        if lost.is_empty()
            && let Some(completed_s) = look.complete()
        {
            details.completed_s = Some(completed_s);
            if let Some(entry) = shared.table().entries.get_mut(&self.info_hash) {
                entry.complete_since_s = completed_s;
            }
        }
        let preallocation = details.options.preallocation.unwrap_or(shared.config.preallocation);
        let (journal, had) = look.settle(&shared.store, &storage, preallocation, SystemTime::now())?;
        let lacking = bytes_of(&selection.lacking(&metainfo.geometry, &had), &metainfo.geometry);
        stats.set_wanted(selection.wanted_len(&metainfo.geometry), lacking);
        stats.set_had(had.count(), bytes_of(&had, &metainfo.geometry), metainfo.total_len());
        stats.set_state(if lacking == 0 { TorrentState::Seeding } else { TorrentState::Downloading });
        stats.carried_out(asked);
        let mut active = self.active(metainfo, storage, journal, &had, stats, details);
        active.core_config.selection = selection;
        Ok(Some(active))
    }

    /// The user wants it as it is.
    fn is_anew(&self) -> bool {
        let mut table = self.shared.table();
        table.entries.get_mut(&self.info_hash).is_some_and(|entry| std::mem::take(&mut entry.anew))
    }

    fn active(
        &self,
        metainfo: Arc<Metainfo>,
        storage: Arc<Storage>,
        journal: Arc<Journal>,
        had: &Bitfield,
        stats: &Arc<Stats>,
        details: Details,
    ) -> Active {
        let shared = &self.shared;
        let config = &shared.config;
        let link = TorrentLink {
            info_hash: self.info_hash,
            own_peer_id: shared.own_peer_id,
            geometry: metainfo.geometry,
            have: Arc::new(Have::new(metainfo.geometry, had)),
            storage: Arc::clone(&storage),
            pool: Arc::clone(&shared.room.pool),
            inputs: self.inputs.clone(),
            timeouts: Timeouts {
                connect: Duration::from_secs(config.connect_timeout_s.into()),
                silence: Duration::from_secs(config.peer_timeout_s.into()),
                stall: STALL,
            },
            limits: TorrentLimits { own: Limits::default(), all: shared.room.rates.limits() },
        };
        let core_config = CoreConfig {
            upload_slots: config.upload_slots,
            super_seeding: config.super_seeding,
            max_connections: config.max_connections_per_torrent,
            max_per_host: config.max_connections_per_address,
            max_half_open: config.max_half_open.min(MAX_DIALLING),
            sequential: config.sequential,
            ..CoreConfig::new(shared.own_peer_id)
        };
        // Its first connection may begin before its thread does.
        let alone = stats.seeders.load(Ordering::Relaxed) <= 1;
        link.have.hide(alone && core_config.may_hide(had));
        let requests = shared.requests.clone();
        Active {
            name: log_name(&metainfo.name),
            metainfo,
            link: Arc::new(link),
            core_config,
            options: Arc::new(details.options.clone()),
            preallocation: config.preallocation,
            checkpoint_every: Duration::from_secs(config.checkpoint_interval_s.into()),
            stats: Arc::clone(stats),
            record: Arc::new(Record { journal, storage, details }),
            room: Arc::clone(&shared.room),
            linger: if shared.table().places.taken() > CROWD { SHORT_LINGER } else { LINGER },
            notify: Box::new(move |notice| {
                requests.try_send(Request::Notice(notice)).map_err(|error| {
                    if error.is_full() {
                        TrySendError::Full(notice)
                    } else {
                        TrySendError::Disconnected(notice)
                    }
                })
            }),
        }
    }

    /// An idle seeder that was woken is announced already; saying so again would be a second `started`.
    fn announce(&self, active: &Active) {
        let target = AnnounceTarget {
            info_hash: self.info_hash,
            tiers: active.metainfo.trackers.clone(),
            transfer: Arc::clone(&active.stats.transfer),
        };
        self.shared.with_announcer(|announcer| {
            if !announcer.knows(self.info_hash) {
                announcer.add(target, false);
            }
        });
    }
}

impl Shared {
    /// A torrent's, while it is at work: nothing is read. Else read anew for the few who ask: ten thousand idle torrents
    /// keep no file lists in memory.
    pub(super) fn metainfo_now(&self, info_hash: &InfoHash) -> Result<Arc<Metainfo>, StartupError> {
        let gate = self.table().entries.get(info_hash).and_then(Entry::gate);
        match gate.and_then(|gate| gate.link()) {
            Some(link) => Ok(Arc::clone(link.storage.metainfo())),
            None => Ok(Arc::new(self.metainfo(info_hash)?)),
        }
    }

    /// The torrent file kept for a torrent, parsed anew.
    fn metainfo(&self, info_hash: &InfoHash) -> Result<Metainfo, StartupError> {
        let bytes = self.store.load_torrent(info_hash, self.config.max_torrent_len)?;
        let metainfo = Metainfo::parse(&bytes, &self.limits())?;
        // By the hash of one piece that is not right, honest peers would be banned for it.
        if metainfo.info_hash != *info_hash {
            return Err(StartupError::AnotherTorrent(metainfo.info_hash));
        }
        Ok(metainfo)
    }

    pub(super) fn storage(&self, saved: &Saved) -> Result<Arc<Storage>, StartupError> {
        let metainfo = Arc::new(self.metainfo(&saved.info_hash)?);
        let details = &saved.details;
        Ok(Storage::new(metainfo, &details.output, details.root.as_deref(), Arc::clone(&self.cache))?)
    }
}
