//! The open payload files of all torrents.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::backend::Backend;

/// Open payload files of all torrents: at most so many, the least recently used closed first. A file that somebody
/// still uses stays open until they are done with it.
#[derive(Debug)]
pub struct FileCache {
    backend: Backend,
    max_open: usize,
    next_id: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<Key, Entry>,
    /// Grows with every use.
    clock: u64,
}

/// A torrent's number in this cache, and the file's index in its layout.
type Key = (u64, usize);

#[derive(Debug)]
struct Entry {
    file: Arc<File>,
    writable: bool,
    used: u64,
}

impl FileCache {
    /// A cache of at most `max_open` files (at least 1).
    pub fn new(max_open: usize) -> Arc<Self> {
        Self::on(Backend::default(), max_open)
    }

    /// The same of files on such a disk.
    pub fn on(backend: Backend, max_open: usize) -> Arc<Self> {
        let (max_open, next_id) = (max_open.max(1), AtomicU64::new(0));
        Arc::new(Self { backend, max_open, next_id, open: Mutex::default() })
    }

    /// How the files are reached.
    pub(super) const fn backend(&self) -> &Backend {
        &self.backend
    }

    /// A number for a torrent that nobody else has.
    pub(super) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The file if it is open; one open for writing serves readers too.
    pub(super) fn get(&self, key: Key, writable: bool) -> Option<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let clock = open.clock;
        let entry = open.files.get_mut(&key).filter(|entry| entry.writable || !writable)?;
        entry.used = clock;
        Some(Arc::clone(&entry.file))
    }

    /// Keeps a file open. If two threads opened it at once, the later stays: both work.
    pub(super) fn insert(&self, key: Key, writable: bool, file: &Arc<File>) {
        // Closing can block: whatever falls out is dropped after the lock.
        let mut fallen = Vec::new();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let entry = Entry { file: Arc::clone(file), writable, used: open.clock };
        fallen.extend(open.files.insert(key, entry));
        while open.files.len() > self.max_open {
            let Some(oldest) = open.files.iter().min_by_key(|(_, entry)| entry.used).map(|(&key, _)| key)
            else {
                break;
            };
            fallen.extend(open.files.remove(&oldest));
        }
        drop(open);
        drop(fallen);
    }

    /// Closes one file.
    pub(super) fn close_one(&self, key: Key) {
        let fallen = self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&key);
        drop(fallen);
    }

    /// Closes all files of a torrent.
    pub(super) fn close(&self, id: u64) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<Key> = open.files.keys().filter(|key| key.0 == id).copied().collect();
        let fallen: Vec<_> = keys.iter().filter_map(|key| open.files.remove(key)).collect();
        drop(open);
        drop(fallen);
    }

    /// Number of files held open now.
    pub fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.len()
    }

    /// No file is held open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(File::open("/dev/null").unwrap())
    }

    #[test]
    fn the_least_recently_used_is_closed() {
        let cache = FileCache::new(2);
        let id = cache.new_id();
        cache.insert((id, 0), false, &file());
        cache.insert((id, 1), false, &file());
        assert!(cache.get((id, 0), false).is_some());
        cache.insert((id, 2), false, &file());
        assert!(cache.get((id, 0), false).is_some() && cache.get((id, 1), false).is_none());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn a_writable_file_serves_readers_but_not_the_other_way_round() {
        let cache = FileCache::new(2);
        let (a, b) = (cache.new_id(), cache.new_id());
        cache.insert((a, 0), true, &file());
        cache.insert((b, 0), false, &file());
        assert!(cache.get((a, 0), false).is_some() && cache.get((a, 0), true).is_some());
        assert!(cache.get((b, 0), true).is_none());
        cache.close(a);
        assert!(cache.get((a, 0), false).is_none() && cache.get((b, 0), false).is_some());
    }
}
