//! Whether somebody else writes to the files of a torrent that is seeded. Other clients would be sent what is wrong and, a
//! piece later, ban us for it.
//!
//! A file is as we left it as long as its mtime is. That is known for sure only while we do not write ourselves, and when
//! all was flushed (file systems on a network may say something else then): so the first write ends it for all files of the
//! torrent, until somebody has looked again. It costs an upload one fstat(2) a request. While we write, a file that has become
//! shorter is told from ours all the same: written on, it would have zeros where it was cut, and nobody could tell.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::Stamp;

/// No mtime is known: the file is not watched.
const UNKNOWN: i64 = i64::MIN;
/// Nobody has looked yet.
const NEVER: u64 = u64::MAX;

/// The mtimes of one torrent's files.
#[derive(Debug)]
pub(super) struct Watch {
    mtimes_ns: Box<[AtomicI64]>,
    /// Bytes that each has had at the least since we opened it to write.
    lens: Box<[AtomicU64]>,
    /// Writes of ours that were begun.
    writes: AtomicU64,
    /// How many there were when the mtimes were looked at.
    looked: AtomicU64,
}

impl Watch {
    /// Of so many files, none of them watched yet.
    pub(super) fn new(files: usize) -> Self {
        Self {
            mtimes_ns: std::iter::repeat_with(|| AtomicI64::new(UNKNOWN)).take(files).collect(),
            lens: std::iter::repeat_with(AtomicU64::default).take(files).collect(),
            writes: AtomicU64::new(0),
            looked: AtomicU64::new(NEVER),
        }
    }

    /// We are about to write.
    pub(super) fn write(&self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }

    /// A file that we write to has so many bytes.
    pub(super) fn has(&self, index: usize, len: u64) {
        if let Some(known) = self.lens.get(index) {
            known.fetch_max(len, Ordering::AcqRel);
        }
    }

    /// Bytes that this file has at the least from now on, unless somebody else cuts it.
    pub(super) fn least(&self, index: usize) -> u64 {
        self.lens.get(index).map_or(0, |known| known.load(Ordering::Acquire))
    }

    /// We have deleted it ourselves.
    pub(super) fn is_gone(&self, index: usize) {
        if let Some(known) = self.lens.get(index) {
            known.store(0, Ordering::Release);
        }
    }

    /// Writes begun so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Nothing was written since the files were looked at.
    pub(super) fn is_on(&self) -> bool {
        self.looked.load(Ordering::Acquire) == self.writes()
    }

    /// The files were looked at after so many writes.
    pub(super) fn trust(&self, writes: u64, stamps: &[Option<Stamp>]) {
        self.looked.store(NEVER, Ordering::Release);
        for (known, stamp) in self.mtimes_ns.iter().zip(stamps) {
            known.store(stamp.map_or(UNKNOWN, |stamp| stamp.mtime_ns), Ordering::Release);
        }
        self.looked.store(writes, Ordering::Release);
    }

    /// Somebody else has written to this file, which is so `now`.
    pub(super) fn is_changed(&self, index: usize, now: Stamp) -> bool {
        let Some(known) = self.mtimes_ns.get(index) else { return false };
        let known = known.load(Ordering::Acquire);
        // Last: a write of ours that has changed it was begun before.
        known != UNKNOWN && known != now.mtime_ns && self.is_on()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_noticed_and_we_are_not_taken_for_others() {
        let stamp = |mtime_ns| Stamp { len: 1, mtime_ns };
        let watch = Watch::new(2);
        assert!(!watch.is_changed(0, stamp(5)), "nobody has looked");
        watch.trust(watch.writes(), &[Some(stamp(5)), None]);
        assert!(!watch.is_changed(0, stamp(5)));
        assert!(watch.is_changed(0, stamp(6)));
        assert!(!watch.is_changed(1, stamp(6)), "it was not there");
        assert!(!watch.is_changed(2, stamp(6)), "there is none");
        let before = watch.writes();
        watch.write();
        assert!(!watch.is_changed(0, stamp(6)), "it was us");
        // Looked at before that write.
        watch.trust(before, &[Some(stamp(5)), None]);
        assert!(!watch.is_changed(0, stamp(6)));
        watch.trust(watch.writes(), &[Some(stamp(6)), None]);
        assert!(watch.is_changed(0, stamp(7)));
    }
}
