//! A disk that fails as a test says: a real file system to the daemon, served by a process of ours (FUSE) that hands
//! everything on to a folder beside it. Calls fail with any error or hang, in all files or in one; names may be no longer
//! than so much, and upper and lower case the same. Needs what `mounts` needs, and `/dev/fuse`.

mod nodes;
mod serve;
mod wire;

use std::path::{Path, PathBuf};

pub use serve::serve;

use crate::programs::program;

/// What a test says to the process that serves a disk: a file of words, read before each call.
#[derive(Debug)]
pub struct FailingDisk {
    faults: PathBuf,
    backing: PathBuf,
}

impl FailingDisk {
    /// The disk that [`script`] makes in a daemon's folder.
    pub fn of(folder: &Path) -> Self {
        Self { faults: folder.join("disk.faults"), backing: folder.join("disk.backing") }
    }

    /// Fails from now on as told, a line each: `write EIO`, `read EIO b.bin` (in files whose paths end so), `sync HANG`;
    /// calls are `read`, `write`, `open`, `make`, `set` (lengths and times), `sync`, `look`, or `any`. `names 40` bounds names
    /// to so many bytes, `caseless` takes upper and lower case for the same; `caseless spelled` gives each spelling an inode
    /// number of its own, like exFAT by FUSE. Nothing: the disk is well.
    ///
    /// # Panics
    /// If it cannot be said.
    pub fn fail(&self, how: &str) {
        let beside = self.faults.with_extension("new");
        std::fs::write(&beside, how).unwrap();
        std::fs::rename(&beside, &self.faults).unwrap();
    }

    /// Where the files are in truth.
    pub fn backing(&self) -> &Path {
        &self.backing
    }
}

/// Whether such a disk can be had here; if not, why.
///
/// # Errors
/// What is lacking.
pub fn possible() -> Result<(), String> {
    crate::mounts::possible()?;
    let opened = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    opened.map(drop).map_err(|error| format!("/dev/fuse: {error}"))
}

/// For `Daemon::start_after`: mounts the disk at `disk` in the daemon's folder. It ends with the daemon.
pub fn script() -> String {
    format!(
        "mkdir -p disk disk.backing; touch disk.faults\n\
         exec 3<>/dev/fuse\n\
         mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0,allow_other failing disk\n\
         setpriv --pdeathsig KILL '{}' disk.backing disk.faults <&3 >disk.said 2>&1 &\n\
         exec 3<&-\n",
        program("torrent-test-disk").display()
    )
}
