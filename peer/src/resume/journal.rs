//! The live side: noting what is written, and checkpoints from it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::fs::OFlags;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;
use torrent_common::ids::InfoHash;

use super::reconcile::may_be_of;
use super::record::{HEADER_LEN, Header, RECORD_LEN, Record};
use super::{Details, ResumeError, ResumeStore, Saved, nanos};
use crate::storage::backend::Backend;
use crate::storage::files::Storage;
use crate::storage::{Stamp, StorageError};

/// What is had of one active torrent, durably: made by [`Look::settle`](super::Look::settle), shared with the disk
/// threads. All but [`Journal::len_bytes`] may wait for the disk, so only they call it.
#[derive(Debug)]
pub struct Journal {
    store: Arc<ResumeStore>,
    info_hash: InfoHash,
    /// Bytes of records since the last checkpoint.
    len: AtomicU64,
    state: Mutex<State>,
    /// The last checkpoint. Locked for as long as the next is made: they come one after the other.
    saved: Mutex<Saved>,
}

/// The records since the last checkpoint, as far as the next one needs them.
#[derive(Debug)]
struct State {
    generation: u64,
    /// The checkpoint of this generation is on disk. If not, its making failed, and the records of the generation before
    /// are needed still.
    settled: bool,
    /// `None` until the first record.
    file: Option<Writer>,
    /// Pieces begun and not written, and when.
    unfinished: BTreeMap<u32, i64>,
    written: Vec<PieceIndex>,
    /// The latest stamps since the checkpoint; and those that went into it of files that are being written to: who wrote
    /// before may say so after.
    stamps: HashMap<usize, Stamp>,
    /// Flushing failed: no checkpoint may vouch for anything more.
    doubtful: bool,
}

/// A journal file.
#[derive(Debug)]
struct Writer {
    file: File,
    header: [u8; HEADER_LEN],
    /// Bytes of it that are whole records.
    len: u64,
    /// It ends with a part of a record: what came behind would not be read.
    torn: bool,
}

impl Writer {
    fn append(&mut self, backend: &Backend, records: &[Record]) -> io::Result<()> {
        if self.torn {
            backend.set_len(&self.file, self.len)?;
        }
        let bytes: Vec<u8> = records.iter().flat_map(|record| record.encode(&self.header)).collect();
        self.torn = true;
        backend.append(&self.file, &bytes)?;
        self.torn = false;
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl Journal {
    /// Continues from a checkpoint that is on disk and has no records.
    pub(super) fn new(store: Arc<ResumeStore>, saved: Saved) -> Arc<Self> {
        let state = State {
            generation: saved.generation,
            settled: true,
            file: None,
            unfinished: BTreeMap::new(),
            written: Vec::new(),
            stamps: HashMap::new(),
            doubtful: false,
        };
        let info_hash = saved.info_hash;
        Arc::new(Self {
            store,
            info_hash,
            len: AtomicU64::new(0),
            state: Mutex::new(state),
            saved: Mutex::new(saved),
        })
    }

    /// Notes that pieces are about to be written.
    ///
    /// # Errors
    /// [`StorageError`]: they must not be written then.
    pub fn begin(&self, pieces: &[PieceIndex], now: SystemTime) -> Result<(), StorageError> {
        let mut state = self.state();
        let at_ns = nanos(now);
        let records: Vec<_> =
            pieces.iter().map(|piece| Record::Begin { piece: piece.get(), at_ns }).collect();
        self.append(&mut state, &records)?;
        state.unfinished.extend(pieces.iter().map(|piece| (piece.get(), at_ns)));
        Ok(())
    }

    /// Notes that pieces are written, in this order, and the stamps that each write left on its files.
    ///
    /// # Errors
    /// [`StorageError`]: they are not had then.
    pub fn written(&self, pieces: &[(PieceIndex, &[(usize, Stamp)])]) -> Result<(), StorageError> {
        if pieces.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let mut records = Vec::new();
        for &(piece, stamps) in pieces {
            for &(file, stamp) in stamps {
                let Ok(number) = u32::try_from(file) else { continue };
                let later = state.stamps.get(&file).filter(|known| known.mtime_ns > stamp.mtime_ns);
                let noted = later.into_iter().chain([&stamp]).map(|stamp| stamp.mtime_ns);
                records.extend(noted.map(|mtime_ns| Record::Stamp { file: number, mtime_ns }));
            }
            records.push(Record::Written { piece: piece.get() });
        }
        self.append(&mut state, &records)?;
        for (piece, _) in pieces {
            state.unfinished.remove(&piece.get());
            state.written.push(*piece);
        }
        for &(file, stamp) in pieces.iter().flat_map(|(_, stamps)| *stamps) {
            // Two threads that write to one file may come here in another order than they wrote: the later stamp is the
            // one that the file has.
            let known = state.stamps.entry(file).or_insert(stamp);
            if stamp.mtime_ns > known.mtime_ns {
                *known = stamp;
            }
        }
        Ok(())
    }

    /// Bytes of records since the last checkpoint; 0: nothing was written since. Never waits. Worth a checkpoint at 64 KiB,
    /// or some seconds after it ceased to be 0.
    pub fn len_bytes(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Flushes the payload and puts a checkpoint on disk, with these details.
    ///
    /// # Errors
    /// [`ResumeError`]: the old checkpoint and the journals hold still. After an error of flushing the payload, every further
    /// checkpoint fails: a restart sorts it out.
    pub fn checkpoint(
        &self,
        storage: &Storage,
        details: Details,
        now: SystemTime,
    ) -> Result<(), ResumeError> {
        self.checkpoint_with(storage, details, now, &[])
    }

    /// The same, and enters files that were parted and have their own bytes with this checkpoint: [`Storage::place`] made
    /// them. Nothing may be written meanwhile, and after an error nothing any more.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`]. The files are parted still.
    pub fn checkpoint_with(
        &self,
        storage: &Storage,
        details: Details,
        now: SystemTime,
        placed: &[(usize, Stamp)],
    ) -> Result<(), ResumeError> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = saved.clone();
        if !placed.is_empty() {
            self.note_unfinished_in_part(storage)?;
        }
        self.rotate(&mut next, storage)?;
        next.details = details;
        next.saved_ns = nanos(now);
        if let Err(error) = storage.sync() {
            let mut state = self.state();
            state.doubtful = true;
            if let Err(error) = self.append(&mut state, &[Record::Doubt]) {
                log::error!("{error}");
                self.store.doubtful.lock().unwrap_or_else(PoisonError::into_inner).insert(self.info_hash);
            }
            return Err(error.into());
        }
        *saved = next;
        if placed.is_empty() {
            self.store.save(&saved)?;
        } else {
            // Not in `saved` before it is on disk: until then they are parted.
            let mut with_placed = saved.clone();
            for &(file, stamp) in placed {
                if let Some(slot) = with_placed.stamps.get_mut(file) {
                    *slot = Some(stamp);
                }
            }
            self.store.save(&with_placed)?;
            *saved = with_placed;
        }
        self.state().settled = true;
        Ok(())
    }

    /// Notes the part file's stamp, if a write that was not finished may have left its time. Once files have their own bytes,
    /// the record that such a piece was begun tells of them, and of the part file no more.
    fn note_unfinished_in_part(&self, storage: &Storage) -> Result<(), StorageError> {
        let mut state = self.state();
        if state.unfinished.is_empty() {
            return Ok(());
        }
        let (part, Some(stamp)) = (storage.layout().part(), storage.part_stamp()?) else { return Ok(()) };
        let explained = state.unfinished.values().any(|&begun_ns| may_be_of(begun_ns, stamp.mtime_ns));
        if let (true, Ok(file)) = (explained, u32::try_from(part)) {
            self.append(&mut state, &[Record::Stamp { file, mtime_ns: stamp.mtime_ns }])?;
            state.stamps.insert(part, stamp);
        }
        Ok(())
    }

    /// Deletes the part file when no file is parted any more. May wait for the disk.
    pub fn forget_part(&self, storage: &Storage) {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = storage.layout().all_parted().next().is_some();
        let written = storage.wrote_part();
        if let Some(part) = saved.stamps.last_mut().filter(|part| !needed && (written || part.is_some())) {
            match storage.remove_part() {
                Ok(()) => *part = None,
                Err(error) => log::warn!("{error}"),
            }
        }
    }

    /// The checkpoint as last made, true to what is flushed even if it could not be put on disk: for
    /// [`ResumeStore::save`] when this journal is done with. Waits for one that is being made.
    pub fn saved(&self) -> Saved {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Step 1 of a checkpoint: enters in it what was written, and lets new records go to the other file.
    pub(super) fn rotate(&self, saved: &mut Saved, storage: &Storage) -> Result<(), ResumeError> {
        let geometry = storage.metainfo().geometry;
        let mut state = self.state();
        if state.doubtful {
            return Err(ResumeError::Doubtful);
        }
        let carried: Vec<Record> =
            state.unfinished.iter().map(|(&piece, &at_ns)| Record::Begin { piece, at_ns }).collect();
        // With no records there is nothing to part from; and while the last checkpoint is not on disk, the other file is
        // needed still.
        if state.settled && self.len_bytes() > 0 {
            let generation = state.generation.wrapping_add(1);
            let file = match carried.as_slice() {
                [] => None,
                carried => {
                    let (path, result) = self.create(generation, carried);
                    Some(result.map_err(ResumeError::io(path))?)
                }
            };
            self.len.store(0, Ordering::Relaxed);
            state.file = file;
            state.generation = generation;
            state.settled = false;
        }
        let mut had = saved.had(&geometry).unwrap_or_else(|| Bitfield::empty(&geometry));
        for piece in std::mem::take(&mut state.written) {
            had.insert(piece);
        }
        for (&file, &stamp) in &state.stamps {
            if let Some(slot) = saved.stamps.get_mut(file) {
                *slot = Some(stamp);
            }
        }
        let begun = state.unfinished.keys().filter_map(|&piece| geometry.piece(piece));
        let files = begun.flat_map(|piece| storage.layout().piece_segments(piece));
        let written_to: HashSet<usize> = files.filter_map(|segment| segment.file).collect();
        state.stamps.retain(|file, _| written_to.contains(file));
        saved.had = had.as_bytes().into();
        saved.generation = state.generation;
        saved.boot = self.store.boot;
        Ok(())
    }

    /// Adds records with one write.
    fn append(&self, state: &mut State, records: &[Record]) -> Result<(), StorageError> {
        let generation = state.generation;
        let (path, result) = match &mut state.file {
            Some(writer) => (
                self.store.journal_path(&self.info_hash, generation),
                writer.append(&self.store.backend, records),
            ),
            file @ None => {
                let (path, result) = self.create(generation, records);
                (path, result.map(|writer| *file = Some(writer)))
            }
        };
        result.map_err(|source| StorageError::Journal { path, source })?;
        self.len.fetch_add((records.len() * RECORD_LEN) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Begins the journal of a generation. What was in the file is of a generation that nobody needs any more.
    fn create(&self, generation: u64, records: &[Record]) -> (PathBuf, io::Result<Writer>) {
        let path = self.store.journal_path(&self.info_hash, generation);
        let header = Header { info_hash: self.info_hash, boot: self.store.boot, generation }.encode();
        let create = || {
            let backend = &self.store.backend;
            let file = backend.create(&path, OFlags::APPEND)?;
            backend.set_len(&file, 0)?;
            backend.append(&file, &header)?;
            let mut writer = Writer { file, header, len: header.len() as u64, torn: false };
            writer.append(backend, records)?;
            Ok(writer)
        };
        let result = create();
        (path, result)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
