//! Kills and power cuts at every step, on real files.

mod cuts;
mod folder;
mod model;
mod options;
mod part;
mod steps;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{Geometry, PieceIndex};
use torrent_common::hash::ReadOrder;
use torrent_common::metainfo::Metainfo;

use super::{BootId, Details, Journal, Look, ResumeError, ResumeStore, Saved};
use crate::options::{Preallocation, Priority};
use crate::storage::backend::Backend;
use crate::storage::cache::FileCache;
use crate::storage::check::{CheckProgress, check};
use crate::storage::files::Storage;
use crate::storage::testing::{TestFile, blocks, payload, torrent};
use crate::storage::{Stamp, StorageError};
use crate::torrent::selection::Wanted;

/// A torrent's folder and STATE_DIR, which outlive the processes that work with them.
struct Disk {
    folder: tempfile::TempDir,
    metainfo: Arc<Metainfo>,
    bytes: Vec<u8>,
    /// What is wanted when the torrent is new.
    priorities: Vec<Priority>,
    /// How it is reached.
    backend: Backend,
    /// STATE_DIR, while one process goes on with it.
    store: Option<Arc<ResumeStore>>,
}

/// One run of the daemon, from start to kill (drop).
struct Process {
    store: Arc<ResumeStore>,
    storage: Arc<Storage>,
    journal: Arc<Journal>,
    /// What was had at start, without hashing.
    had: Vec<u32>,
    /// What had to be hashed at start.
    suspect: Vec<u32>,
    /// What was had when both were settled.
    settled: Vec<u32>,
    /// What is wanted.
    priorities: RefCell<Vec<Priority>>,
}

impl Disk {
    fn new(files: &[TestFile], piece_len: u64) -> Self {
        // In memory where there is such a folder: flushing a thousand times a real disk takes minutes.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self {
            folder,
            metainfo: torrent("t", files, piece_len, None),
            bytes: payload(files),
            priorities: vec![],
            backend: Backend::default(),
            store: None,
        }
    }

    /// Another disk, empty, of the same torrent.
    fn another(&self) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (metainfo, bytes) = (Arc::clone(&self.metainfo), self.bytes.clone());
        let (priorities, backend) = (self.priorities.clone(), Backend::default());
        Self { folder, metainfo, bytes, priorities, backend, store: None }
    }

    fn geometry(&self) -> Geometry {
        self.metainfo.geometry
    }

    fn piece(&self, index: u32) -> PieceIndex {
        self.geometry().piece(index).unwrap()
    }

    fn list(&self, pieces: &Bitfield) -> Vec<u32> {
        pieces.iter(&self.geometry()).map(PieceIndex::get).collect()
    }

    fn path(&self, file: usize) -> PathBuf {
        self.folder.path().join(self.metainfo.files[file].path.to_string())
    }

    fn state(&self, kind: &str) -> PathBuf {
        self.folder.path().join("state").join(format!("{}.{kind}", self.metainfo.info_hash))
    }

    fn storage(&self) -> Arc<Storage> {
        Storage::new(
            Arc::clone(&self.metainfo),
            self.folder.path(),
            None,
            FileCache::on(self.backend.clone(), 9),
        )
        .unwrap()
    }

    /// Starts the daemon: looks, hashes what is suspect, settles.
    fn start(&self, boot: u64) -> Process {
        self.start_with(boot, Preallocation::Sparse)
    }

    fn start_with(&self, boot: u64, preallocation: Preallocation) -> Process {
        self.try_start(boot, preallocation).unwrap()
    }

    fn try_start(&self, boot: u64, preallocation: Preallocation) -> Result<Process, ResumeError> {
        let (state, boot) = (self.folder.path().join("state"), Some(BootId::new(boot)));
        let store = match &self.store {
            Some(store) => Arc::clone(store),
            None => ResumeStore::open_on(self.backend.clone(), &state, boot)?,
        };
        let mut all = store.load_all()?;
        let saved = match all.pop() {
            Some(saved) => saved.unwrap(),
            None => Saved::new(self.metainfo.info_hash, details(&self.priorities), SystemTime::now()),
        };
        let priorities = RefCell::new(saved.details.options.priorities.clone());
        let storage = self.storage();
        let mut look = Look::take(&store, saved, &storage)?;
        let (had, suspect) = (self.list(&look.had), self.list(&look.suspect));
        assert!(had.iter().all(|piece| !suspect.contains(piece)));
        let progress = CheckProgress::default();
        let (checked, _) = check(&storage, &look.suspect, ReadOrder::Parallel, &progress)?.unwrap();
        let good = checked.good;
        look.accept(&good, &self.metainfo.geometry);
        let (journal, settled) = look.settle(&store, &storage, preallocation, SystemTime::now())?;
        Ok(Process { store, storage, journal, had, suspect, settled: self.list(&settled), priorities })
    }

    /// Somebody else writes to a file, and its mtime becomes `later` than it was.
    fn meddle(&self, file: usize, at: usize, later: Duration) {
        let path = self.path(file);
        let mtime = fs::metadata(&path).unwrap().modified().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[at] ^= 0xff;
        fs::write(&path, bytes).unwrap();
        set_mtime(&path, mtime + later);
    }
}

fn details(priorities: &[Priority]) -> Details {
    let mut details = super::saved::tests::details();
    details.options.priorities = priorities.to_vec();
    details
}

fn set_mtime(path: &std::path::Path, mtime: SystemTime) {
    fs::File::options().write(true).open(path).unwrap().set_modified(mtime).unwrap();
}

impl Process {
    fn begin(&self, disk: &Disk, piece: u32) {
        self.journal.begin(&[disk.piece(piece)], SystemTime::now()).unwrap();
    }

    fn write(&self, disk: &Disk, piece: u32) {
        self.begin(disk, piece);
        let blocks = blocks(&disk.metainfo, piece, &disk.bytes);
        let stamps = self.storage.write_piece(disk.piece(piece), &blocks).unwrap();
        self.journal.written(&[(disk.piece(piece), stamps.as_slice())]).unwrap();
    }

    /// Payload alone, as when killed between `begin` and `written`.
    fn write_payload(&self, disk: &Disk, piece: u32) {
        let blocks = blocks(&disk.metainfo, piece, &disk.bytes);
        self.storage.write_piece(disk.piece(piece), &blocks).unwrap();
    }

    fn checkpoint(&self) {
        self.journal.checkpoint(&self.storage, self.details(), SystemTime::now()).unwrap();
    }

    fn details(&self) -> Details {
        details(&self.priorities.borrow())
    }

    /// Something else is wanted: the files that were not are made, and get what waits for them.
    fn select(&self, disk: &Disk, priorities: &[Priority], had: &Bitfield) {
        let placed = self.place(disk, priorities, had);
        let files: Vec<usize> = placed.iter().map(|&(index, _)| index).collect();
        self.journal.checkpoint_with(&self.storage, self.details(), SystemTime::now(), &placed).unwrap();
        self.storage.placed(&files);
        self.journal.forget_part(&self.storage);
    }

    /// The first half of it.
    fn place(&self, disk: &Disk, priorities: &[Priority], had: &Bitfield) -> Vec<(usize, Stamp)> {
        *self.priorities.borrow_mut() = priorities.to_vec();
        let wanted = Wanted::of(&disk.metainfo, priorities);
        let files = self.storage.layout().all_parted().filter(|&index| wanted.contains(index));
        self.storage.place(&files.collect::<Vec<_>>(), had, Preallocation::Sparse).unwrap()
    }

    /// A checkpoint that cannot be put on disk.
    fn failed_checkpoint(&self, disk: &Disk) {
        fs::create_dir(disk.state("resume.tmp")).unwrap();
        assert!(self.journal.checkpoint(&self.storage, self.details(), SystemTime::now()).is_err());
        fs::remove_dir(disk.state("resume.tmp")).unwrap();
    }

    /// Step 1 of a checkpoint, and then no more.
    fn half_a_checkpoint(&self) {
        self.journal.rotate(&mut self.journal.saved(), &self.storage).unwrap();
    }
}
