//! PEER_FILE: the swarms survive a restart.
//!
//! Layout, numbers little-endian: 8 bytes of magic (the last is the version, 3), the time of writing in seconds since
//! 1970 (u64), then blocks of [`BLOCK_LEN`] at the most and a little more: length in bytes (u32), SHA-1 of the payload (20),
//! payload. A block of length 0 ends the file. A payload is swarms one after another, or pieces of them: info-hash (20),
//! downloads (u32; only in the first piece of a swarm), seconds since something changed (u32), number of peers (u32), and
//! for each peer flags (bit 0: seeder, bit 1: IPv6, bit 2: partial seed), seconds until it is forgotten (u32), address (4 or
//! 16) and port (2, big-endian, as in BEP 23).
//!
//! So neither who writes nor who reads has more than a block in memory, however large a swarm is, and of a file that is
//! damaged one block is lost. In version 2, which is still read, a swarm was in one block, however long.
//!
//! The time of writing and those seconds let expiry go on over a restart: a peer does not live longer for it.

mod leftovers;
mod read;
mod write;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::aside;
use crate::health::disk_trouble;
use crate::swarm::{PARTS, Retired, Swarms};
pub(crate) use leftovers::remove_leftovers;
use torrent_common::regular;
use write::Writer;

const MAGIC: &[u8; 8] = b"TFPEERS\x03";
const MAGIC_2: &[u8; 8] = b"TFPEERS\x02";

/// What the name of an unfinished snapshot begins with.
const PREFIX: &str = ".peers-";

/// Bytes with which a block is written, at the latest before the next peer.
const BLOCK_LEN: usize = 1 << 16;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SnapshotError {
    /// What it means, if it may pass without anybody touching the configuration.
    pub(crate) fn disk_trouble(&self) -> Option<&'static str> {
        let Self::File { source, .. } = self;
        disk_trouble(source)
    }

    /// The same in words for strangers, whatever it is.
    pub(crate) fn trouble(&self) -> &'static str {
        self.disk_trouble().unwrap_or("they cannot be saved")
    }
}

/// What a snapshot gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// There was none.
    None,
    /// All of it was read.
    Whole,
    /// It was damaged, or of a version that is not known here: what was whole was read, and the file is now kept under
    /// this name; `None` if it could not be renamed, so that the next snapshot takes its place.
    Damaged(Option<PathBuf>),
}

/// What a snapshot gave back besides swarms.
#[derive(Debug, Default)]
pub struct Found {
    /// Swarms whose last peer was forgotten meanwhile, if downloads were counted in them.
    pub retired: Vec<Retired>,
    /// Whether there is a peer that announced to the tracker's own loopback.
    pub has_loopback: bool,
}

/// Writes all swarms to `path`: to a file beside it first, which then takes its place. Swarms stay in use meanwhile.
/// `now_s` is the swarms' clock, `wall_s` the time in seconds since 1970.
///
/// # Errors
/// [`SnapshotError`]; then the snapshot before stays.
pub fn save(swarms: &Swarms, path: &Path, now_s: u32, wall_s: u64) -> Result<(), SnapshotError> {
    let write = || -> io::Result<()> {
        let mut file = begin(path)?;
        let mut writer = Writer::new(BufWriter::new(file.as_file_mut()), wall_s)?;
        for part in 0..PARTS {
            let mut result = Ok(());
            swarms.each_of_part(part, now_s, |swarm, peers| {
                if result.is_ok() {
                    result = writer.push(swarm, peers);
                }
            });
            result?;
            writer.end_block()?;
        }
        writer.end()?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| SnapshotError::File { action: "write", path: path.to_path_buf(), source })
}

/// Whether a snapshot could be read from there, and saved there. The folder is made.
///
/// # Errors
/// [`SnapshotError`], if that will not pass by itself.
pub(crate) fn check(path: &Path) -> Result<(), SnapshotError> {
    let failed = |action, source| SnapshotError::File { action, path: path.to_path_buf(), source };
    let read = match regular::open(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("read", error)),
        _ => Ok(()),
    };
    let checked = read.and_then(|()| begin(path).map(drop).map_err(|error| failed("write", error)));
    checked.or_else(|error| error.disk_trouble().map(drop).ok_or(error))
}

/// A new file beside `path`, which is removed if it does not take its place. Nobody takes it for a leftover meanwhile.
fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(folder)?;
    if let Err(error) = File::try_lock(file.as_file()) {
        log::debug!("{} is not locked: {error}", file.path().display());
    }
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads a snapshot back into `swarms`, and adds what else it tells to `found`. Damage is reported, not fatal: the file is
/// set aside as `*.bad`, or `*.bad.2` and so on.
///
/// # Errors
/// [`SnapshotError`] when the file is there but cannot be read.
pub fn load(
    swarms: &Swarms,
    path: &Path,
    now_s: u32,
    wall_s: u64,
    found: &mut Found,
) -> Result<Loaded, SnapshotError> {
    let failed = |action| {
        let path = path.to_path_buf();
        move |source| SnapshotError::File { action, path, source }
    };
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::None),
        Err(error) => return Err(failed("read")(error)),
    };
    match read::read(swarms, &mut BufReader::new(file), now_s, wall_s, found) {
        Ok(true) => Ok(Loaded::Whole),
        Ok(false) => {
            let bad = aside::place(path, &[""]);
            // Whether anything can be written there is seen when the next one is saved.
            let is_aside = fs::rename(path, &bad);
            Ok(Loaded::Damaged(is_aside.is_ok().then_some(bad)))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

#[cfg(test)]
mod tests;
