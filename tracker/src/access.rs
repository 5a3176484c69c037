//! Which torrents are tracked: all, those of a list, or all but those of a list (ACCESS and ACCESS_FILE).
//!
//! The list is a text file: an info-hash of 40 hexadecimal digits a line; empty lines and lines that begin with `#` are
//! skipped. It is read again on SIGHUP. One that cannot be read leaves the list before in force: half a list would turn
//! members away, or let in whom it was made against.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use torrent_common::config::{AccessMode, TrackerConfig};
use torrent_common::ids::InfoHash;

use torrent_common::regular;

/// The longest list read, in bytes: 1.6 million info-hashes, which take 32 MB in memory, twice while they are read again.
const MAX_FILE_LEN: u64 = 64 << 20;
/// Bytes of a line.
const LINE_LEN: u64 = 41;
/// What some editors write before the text (UTF-8).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It could not be read.
    #[error("cannot read {}: {source} (ACCESS_FILE in config.ini; ACCESS = open needs none)", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A line is no info-hash.
    #[error("{}:{line}: expected an info-hash of 40 hexadecimal digits, or a comment that begins with #", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
    },
    /// It is longer than any list.
    #[error("{} is over {} MiB", .0.display(), MAX_FILE_LEN >> 20)]
    TooLong(PathBuf),
}

/// Who decides which torrents are tracked.
pub struct Access {
    mode: AccessMode,
    path: PathBuf,
    /// Sorted.
    list: RwLock<Vec<InfoHash>>,
}

impl Access {
    /// All torrents are tracked.
    pub fn open() -> Self {
        Self { mode: AccessMode::Open, path: PathBuf::new(), list: RwLock::default() }
    }

    /// As configured, with the list if there has to be one.
    ///
    /// # Errors
    /// [`AccessError`] names the file and the line.
    pub fn load(config: &TrackerConfig) -> Result<Self, AccessError> {
        let this = Self { mode: config.access, path: config.access_file.clone(), list: RwLock::default() };
        this.reload()?;
        Ok(this)
    }

    /// Reads the list again. Returns how many torrents are on it; `None` if no list is in use.
    ///
    /// # Errors
    /// [`AccessError`]; then the list before stays in force.
    pub fn reload(&self) -> Result<Option<usize>, AccessError> {
        if self.mode == AccessMode::Open {
            return Ok(None);
        }
        let list = read(&self.path)?;
        let count = list.len();
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = list;
        Ok(Some(count))
    }

    /// Whether a torrent is tracked.
    pub fn permits(&self, info_hash: &InfoHash) -> bool {
        let listed = || {
            let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
            list.binary_search(info_hash).is_ok()
        };
        match self.mode {
            AccessMode::Open => true,
            AccessMode::Allow => listed(),
            AccessMode::Deny => !listed(),
        }
    }
}

/// The info-hashes of a file, sorted.
fn read(path: &Path) -> Result<Vec<InfoHash>, AccessError> {
    let failed = |source| AccessError::File { path: path.to_owned(), source };
    let file = regular::open(path).map_err(failed)?;
    let file_len = file.metadata().map_err(failed)?.len();
    // The room for all of it at once: grown, it would take half as much again.
    let count = usize::try_from(file_len.min(MAX_FILE_LEN).div_ceil(LINE_LEN)).unwrap_or_default();
    let mut lines = BufReader::new(file.take(MAX_FILE_LEN + 1));
    let (mut list, mut bytes, mut len) = (Vec::with_capacity(count), Vec::new(), 0);
    for number in 1.. {
        bytes.clear();
        match lines.read_until(b'\n', &mut bytes).map_err(failed)? {
            0 => break,
            read => len += read as u64,
        }
        if len > MAX_FILE_LEN {
            return Err(AccessError::TooLong(path.to_owned()));
        }
        let text = bytes.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(&bytes);
        let line = text.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let info_hash = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        list.push(info_hash.ok_or_else(|| AccessError::Line { path: path.to_owned(), line: number })?);
    }
    list.sort_unstable();
    list.dedup();
    list.shrink_to_fit();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn hash(n: u8) -> InfoHash {
        InfoHash::new([n; 20])
    }

    #[test]
    fn a_list_lets_in_or_keeps_out() {
        let folder = tempfile::tempdir().unwrap();
        let access_file = folder.path().join("list");
        let text = format!(
            "\u{feff}# ours\n\n{}\r\n  {} \n{}",
            hash(0xaa),
            hash(3).to_string().to_uppercase(),
            hash(3)
        );
        fs::write(&access_file, text).unwrap();
        let with =
            |access| TrackerConfig { access, access_file: access_file.clone(), ..TrackerConfig::default() };
        for (mode, listed, other) in [
            (AccessMode::Open, true, true),
            (AccessMode::Allow, true, false),
            (AccessMode::Deny, false, true),
        ] {
            let access = Access::load(&with(mode)).unwrap();
            assert_eq!(
                [hash(0xaa), hash(3), hash(4)].map(|hash| access.permits(&hash)),
                [listed, listed, other]
            );
        }
    }

    #[test]
    fn it_is_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let access_file = folder.path().join("list");
        let config = TrackerConfig {
            access: AccessMode::Allow,
            access_file: access_file.clone(),
            ..TrackerConfig::default()
        };
        assert!(matches!(Access::load(&config), Err(AccessError::File { path, .. }) if path == access_file));
        fs::write(&access_file, hash(1).to_string()).unwrap();
        let access = Access::load(&config).unwrap();
        fs::write(&access_file, format!("{}\n# 3 of 4\n{}x\n", hash(2), hash(2))).unwrap();
        let error = access.reload().unwrap_err().to_string();
        assert!(error.contains("list:3: "), "{error}");
        assert!(access.permits(&hash(1)) && !access.permits(&hash(2)));
        fs::write(&access_file, format!("\u{feff}{}\n{}\n", hash(2), hash(2))).unwrap();
        assert_eq!(access.reload().unwrap(), Some(1));
        assert!(!access.permits(&hash(1)) && access.permits(&hash(2)));
        for bad in [b"\xff\n".to_vec(), format!("{}\n\u{feff}{}", hash(1), hash(2)).into()] {
            fs::write(&access_file, bad).unwrap();
            access.reload().unwrap_err();
        }
        File::create(&access_file).unwrap().set_len(MAX_FILE_LEN + 1).unwrap();
        assert!(matches!(access.reload(), Err(AccessError::TooLong(_))));
    }
}
