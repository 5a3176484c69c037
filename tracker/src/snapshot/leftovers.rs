//! Snapshots that were not finished: a process that is killed in the middle of one leaves its file behind.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{MAGIC, PREFIX, folder_of};
use torrent_common::regular;

/// Characters, letters and digits, that the name of an unfinished one ends with.
const RANDOM_LEN: usize = 6;
/// What the magic of every version begins with.
const MAGIC_LEN: usize = MAGIC.len() - 1;

/// Removes unfinished snapshots beside `path`: only regular files of this user that nobody is writing, and that begin as a
/// snapshot does. What cannot be looked at or removed stays.
pub(crate) fn remove_leftovers(path: &Path) {
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(is_name) {
            continue;
        }
        match remove(&entry) {
            Ok(false) => {}
            Ok(true) => log::info!("removed {}, a snapshot that was not finished", entry.path().display()),
            Err(error) => log::debug!("{} stays: {error}", entry.path().display()),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_random =
        |rest: &str| rest.len() == RANDOM_LEN && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.strip_prefix(PREFIX).is_some_and(is_random)
}

fn remove(entry: &fs::DirEntry) -> io::Result<bool> {
    let path = entry.path();
    // Of a link, this is about the link.
    let found = entry.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let file = regular::open(&path)?;
    // Who writes one holds it: another tracker may keep its PEER_FILE in the same folder.
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let mut start = Vec::new();
    file.take(MAGIC_LEN as u64).read_to_end(&mut start)?;
    if !start.is_empty() && !MAGIC.starts_with(&start) {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}
