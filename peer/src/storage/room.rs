//! Whether a disk that was full has room again.

use std::path::PathBuf;

/// A look at the disk. On a disk thread, since it may take as long as any other use of that disk.
pub struct RoomJob {
    /// A file or folder on it.
    pub path: PathBuf,
    /// [`Storage::device`](super::files::Storage::device) of the torrent that asks.
    pub device: u64,
    /// Bytes that must be free.
    pub needed: u64,
    /// Told whether they are. Also when nobody knows: then whoever writes finds out.
    pub reply: Box<dyn FnOnce(bool) + Send>,
}

impl RoomJob {
    pub(super) fn run(self) {
        let Self { path, needed, reply, .. } = self;
        let free = rustix::fs::statvfs(&path).map(|room| room.f_bavail.saturating_mul(room.f_frsize));
        reply(free.map_or(true, |free| free >= needed));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn has_room(path: PathBuf, needed: u64) -> bool {
        let (told, tells) = channel();
        RoomJob { path, device: 0, needed, reply: Box::new(move |there| told.send(there).unwrap()) }.run();
        tells.recv().unwrap()
    }

    #[test]
    fn there_is_room_or_not_and_who_does_not_know_tries() {
        let folder = tempfile::tempdir().unwrap();
        assert!(has_room(folder.path().into(), 0));
        assert!(!has_room(folder.path().into(), u64::MAX));
        assert!(has_room(folder.path().join("missing"), u64::MAX));
    }
}
