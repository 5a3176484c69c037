//! STATE_DIR.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use torrent_common::ids::InfoHash;

use super::record::{self, Part, Record};
use super::saved::Entered;
use super::{BootId, Details, ResumeError, Saved};
use crate::options::TorrentOptions;
use crate::storage::backend::Backend;

/// The longest checkpoint read: a million files with their stamps are 16 MB.
const MAX_CHECKPOINT_LEN: u64 = 256 << 20;
/// The longest journal read: far more than is written between two checkpoints.
const MAX_JOURNAL_LEN: u64 = 256 << 20;

/// The longest file of options read: priorities of a million files are 10 MB.
const MAX_OPTIONS_LEN: u64 = 64 << 20;

/// Damaged files of one name that are kept.
const MAX_BAD: usize = 100;

/// STATE_DIR, locked for this process.
#[derive(Debug)]
pub struct ResumeStore {
    /// How it is reached.
    pub(crate) backend: Backend,
    folder: PathBuf,
    /// This start of the machine.
    pub(super) boot: Option<BootId>,
    /// Torrents of which a flush failed, and that could not be noted in their journals.
    pub(super) doubtful: Mutex<HashSet<InfoHash>>,
    /// Holds the lock as long as it is open; a killed process lets go of it.
    _lock: File,
}

impl ResumeStore {
    /// Makes the folder if needed, and locks it.
    ///
    /// # Errors
    /// [`ResumeError::InUse`] when another process has it.
    pub fn open(state_dir: &Path) -> Result<Arc<Self>, ResumeError> {
        Self::open_in(state_dir, BootId::now())
    }

    /// The same as if in this start of the machine.
    pub(super) fn open_in(state_dir: &Path, boot: Option<BootId>) -> Result<Arc<Self>, ResumeError> {
        Self::open_on(Backend::default(), state_dir, boot)
    }

    /// The same on such a disk.
    pub(crate) fn open_on(
        backend: Backend,
        state_dir: &Path,
        boot: Option<BootId>,
    ) -> Result<Arc<Self>, ResumeError> {
        backend.make_folders(state_dir).map_err(ResumeError::io(state_dir))?;
        let path = state_dir.join("lock");
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let lock = options.map_err(ResumeError::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Arc::new(Self {
                backend,
                folder: state_dir.into(),
                boot,
                doubtful: Mutex::default(),
                _lock: lock,
            })),
            Err(fs::TryLockError::WouldBlock) => Err(ResumeError::InUse { path: state_dir.into() }),
            Err(fs::TryLockError::Error(source)) => Err(ResumeError::Io { path, source }),
        }
    }

    /// Every checkpoint. One that cannot be read is told with its path; a damaged one is renamed to `*.bad`, so that it is
    /// told once. What a killed process was writing is cleared away.
    ///
    /// # Errors
    /// [`ResumeError`] when the folder itself cannot be read.
    #[expect(clippy::type_complexity, reason = "one line more would not say more")]
    pub fn load_all(&self) -> Result<Vec<Result<Saved, (PathBuf, ResumeError)>>, ResumeError> {
        let mut all = Vec::new();
        let (mut journalled, mut set) = (HashSet::new(), HashSet::new());
        for entry in fs::read_dir(&self.folder).map_err(ResumeError::io(&self.folder))? {
            let path = entry.map_err(ResumeError::io(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some((hash, kind)) = name.split_once('.') else { continue };
            let Ok(info_hash) = hash.parse::<InfoHash>() else { continue };
            match kind {
                "resume" => {}
                "journal0" | "journal1" => {
                    journalled.insert(info_hash);
                    continue;
                }
                "options" => {
                    set.insert(info_hash);
                    continue;
                }
                "resume.tmp" | "torrent.tmp" | "options.tmp" => {
                    drop(self.backend.remove_file(&path));
                    continue;
                }
                _ => continue,
            }
            let read = read_at_most(&path, MAX_CHECKPOINT_LEN)
                .and_then(|bytes| Saved::decode(&bytes, info_hash, &path));
            if read.as_ref().is_err_and(ResumeError::is_damage) {
                self.set_aside(&path);
            }
            all.push(read.map_err(|error| (path, error)));
        }
        for saved in all.iter_mut().flatten() {
            saved.no_journals = !journalled.contains(&saved.info_hash);
            if set.contains(&saved.info_hash) && self.enter_options(saved) == Entered::Same {
                drop(self.backend.remove_file(&self.path(&saved.info_hash, "options")));
            }
        }
        Ok(all)
    }

    /// One torrent's checkpoint.
    ///
    /// # Errors
    /// [`ResumeError`] when it is not there or not whole.
    pub fn load(&self, info_hash: &InfoHash) -> Result<Saved, ResumeError> {
        let path = self.path(info_hash, "resume");
        let bytes = read_at_most(&path, MAX_CHECKPOINT_LEN)?;
        let mut saved = Saved::decode(&bytes, *info_hash, &path)?;
        self.enter_options(&mut saved);
        Ok(saved)
    }

    /// Replaces a torrent's checkpoint, for a torrent that has no live [`Journal`](super::Journal): new, or idle with other
    /// details.
    ///
    /// # Errors
    /// [`ResumeError`]; the old checkpoint is still there.
    pub fn save(&self, saved: &Saved) -> Result<(), ResumeError> {
        let path = self.path(&saved.info_hash, "resume");
        let damaged = |error: serde_bencode::Error| ResumeError::Damaged {
            path: path.clone(),
            what: error.to_string(),
        };
        self.replace(&path, &saved.encode().map_err(damaged)?)
    }

    /// Keeps what is set for a torrent, whether it has a live [`Journal`](super::Journal) or not: from then on this holds,
    /// whatever a checkpoint says.
    ///
    /// # Errors
    /// [`ResumeError`]; what was set before holds still.
    pub fn save_options(&self, info_hash: &InfoHash, options: &TorrentOptions) -> Result<(), ResumeError> {
        let path = self.path(info_hash, "options");
        let bytes = Details::encode_options(options)
            .map_err(|error| ResumeError::Damaged { path: path.clone(), what: error.to_string() })?;
        self.replace(&path, &bytes)
    }

    /// What [`ResumeStore::save_options`] kept holds no more, for a torrent that is new. What is not there is fine.
    ///
    /// # Errors
    /// [`ResumeError`] when it is there still.
    pub fn forget_options(&self, info_hash: &InfoHash) -> Result<(), ResumeError> {
        self.remove_kind(info_hash, "options")
    }

    /// Puts what is set for a torrent in place of what its checkpoint says. What is damaged is set aside.
    fn enter_options(&self, saved: &mut Saved) -> Entered {
        let path = self.path(&saved.info_hash, "options");
        let error = match read_at_most(&path, MAX_OPTIONS_LEN) {
            Ok(bytes) => match saved.details.enter_options(&bytes) {
                Ok(entered) => return entered,
                Err(error) => format!("{}: not understood: {error}", path.display()),
            },
            Err(ResumeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Entered::Same;
            }
            Err(error @ ResumeError::TooLong { .. }) => error.to_string(),
            Err(error) => {
                log::warn!("{error}; what was set before holds");
                return Entered::Other;
            }
        };
        log::warn!("{error}; it is set aside, and what was set before holds");
        self.set_aside(&path);
        Entered::Other
    }

    /// Gives a file that nobody can make sense of another name, which no file has: nothing is deleted.
    fn set_aside(&self, path: &Path) {
        let beside = |number: usize| {
            let mut name = path.as_os_str().to_owned();
            name.push(".bad");
            if number > 1 {
                name.push(format!(".{number}"));
            }
            PathBuf::from(name)
        };
        let free = (1..=MAX_BAD).map(beside).find(|name| name.symlink_metadata().is_err());
        let moved = match &free {
            Some(free) => self.backend.rename(path, free).map_err(Into::into),
            None => Err(io::Error::other("too many damaged files of this name are kept: delete some")),
        };
        if let Err(error) = moved {
            log::warn!("{}: {error}", path.display());
        }
    }

    /// Sets aside the checkpoint of a torrent that is new, although there is one: nobody could read it.
    pub fn set_aside_unread(&self, info_hash: &InfoHash) {
        let path = self.path(info_hash, "resume");
        if path.symlink_metadata().is_ok() {
            self.set_aside(&path);
        }
    }

    /// Keeps a copy of a torrent file.
    ///
    /// # Errors
    /// [`ResumeError`]; nothing was kept.
    pub fn save_torrent(&self, info_hash: &InfoHash, bytes: &[u8]) -> Result<(), ResumeError> {
        self.replace(&self.torrent_path(info_hash), bytes)
    }

    /// The copy of a torrent file, at most `max_len` bytes.
    ///
    /// # Errors
    /// [`ResumeError`], also when it is longer, and [`ResumeError::NoTorrent`] when there is none.
    pub fn load_torrent(&self, info_hash: &InfoHash, max_len: usize) -> Result<Vec<u8>, ResumeError> {
        read_at_most(&self.torrent_path(info_hash), max_len as u64).map_err(|error| match error {
            ResumeError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
                ResumeError::NoTorrent { path }
            }
            error => error,
        })
    }

    /// Where the copy of a torrent file is.
    pub fn torrent_path(&self, info_hash: &InfoHash) -> PathBuf {
        self.path(info_hash, "torrent")
    }

    /// Forgets a torrent. What is not there is fine.
    ///
    /// # Errors
    /// [`ResumeError`]; may have forgotten a part of it.
    pub fn remove(&self, info_hash: &InfoHash) -> Result<(), ResumeError> {
        // The checkpoint first: without it the others mean nothing.
        let mut kinds = ["resume", "journal0", "journal1", "options", "torrent"].into_iter();
        kinds.try_for_each(|kind| self.remove_kind(info_hash, kind))?;
        self.sync_folder().map_err(ResumeError::io(&self.folder))
    }

    fn remove_kind(&self, info_hash: &InfoHash, kind: &str) -> Result<(), ResumeError> {
        let path = self.path(info_hash, kind);
        match self.backend.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ResumeError::io(path)(error)),
            _ => Ok(()),
        }
    }

    /// The journals that continue this checkpoint, in order: its own, and the next if a checkpoint was under way.
    ///
    /// # Errors
    /// [`ResumeError`] when one is there and cannot be read.
    pub fn journals(&self, saved: &Saved) -> Result<Vec<Part>, ResumeError> {
        let mut parts = Vec::new();
        if saved.no_journals {
            return Ok(parts);
        }
        for generation in [saved.generation, saved.generation.wrapping_add(1)] {
            let bytes = match read_at_most(&self.journal_path(&saved.info_hash, generation), MAX_JOURNAL_LEN)
            {
                Err(ResumeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let part = record::decode(&bytes, &saved.info_hash);
            parts.extend(part.filter(|part| part.header.generation == generation));
        }
        if self.is_doubtful(&saved.info_hash)
            && let Some(part) = parts.last_mut()
        {
            part.records.push(Record::Doubt);
        }
        Ok(parts)
    }

    /// Whether a flush failed since the torrent's last checkpoint, as far as this process knows.
    fn is_doubtful(&self, info_hash: &InfoHash) -> bool {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner).contains(info_hash)
    }

    /// The journal file of a generation: two take turns.
    pub(super) fn journal_path(&self, info_hash: &InfoHash, generation: u64) -> PathBuf {
        self.path(info_hash, if generation.is_multiple_of(2) { "journal0" } else { "journal1" })
    }

    fn path(&self, info_hash: &InfoHash, kind: &str) -> PathBuf {
        self.folder.join(format!("{info_hash}.{kind}"))
    }

    /// Writes beside, flushes, renames: at any instant there is the old file or the new one.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), ResumeError> {
        let beside = {
            let mut name = path.as_os_str().to_owned();
            name.push(".tmp");
            PathBuf::from(name)
        };
        let write = || {
            let file = self.backend.create(&beside, OFlags::empty())?;
            self.backend.set_len(&file, 0)?;
            self.backend.append(&file, bytes)?;
            self.backend.sync_data(&file)?;
            self.backend.rename(&beside, path)?;
            self.sync_folder()
        };
        write().map_err(ResumeError::io(path))
    }

    /// Flushes which files there are.
    fn sync_folder(&self) -> io::Result<()> {
        Ok(self.backend.sync_folder(File::open(&self.folder)?.as_fd())?)
    }
}

/// Reads a file of ours. What stands in its place and is none, a pipe for one, is not waited for.
fn read_at_most(path: &Path, limit_len: u64) -> Result<Vec<u8>, ResumeError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || -> io::Result<(File, u64)> {
        let file: File = rustix::fs::open(path, flags, Mode::empty())?.into();
        let found = file.metadata()?;
        if found.is_file() { Ok((file, found.len())) } else { Err(io::Error::other("it is not a file")) }
    };
    let (file, len) = open().map_err(ResumeError::io(path))?;
    let mut bytes = Vec::new();
    if len <= limit_len {
        file.take(limit_len.saturating_add(1)).read_to_end(&mut bytes).map_err(ResumeError::io(path))?;
    }
    if len.max(bytes.len() as u64) > limit_len {
        return Err(ResumeError::TooLong { path: path.into(), limit_len });
    }
    Ok(bytes)
}
