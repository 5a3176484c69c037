//! The `files` list of a torrent: lengths, attributes (BEP 47), paths, and that no two of them want the same place.

use super::File;
use super::parse::{MetainfoError, MetainfoLimits};
use super::paths::{SafePath, TorrentPath};
use crate::bencode::{List, Value};

/// The most that the paths of a torrent may take together, in bytes. 500,000 files with paths of 250 bytes fit.
const MAX_PATHS_LEN: usize = 128 << 20;

/// One entry of `files`, as far as we read it.
#[derive(Default)]
struct Entry<'a> {
    length: Option<Value<'a>>,
    path: Option<Value<'a>>,
    path_utf8: Option<Value<'a>>,
    attributes: &'a [u8],
}

/// Reads the list. Zero-length links (BEP 47) are left out: there is nothing to download, and following what a stranger
/// has written there would lead anywhere.
pub(super) fn list(
    list: List<'_>,
    root: &SafePath,
    limits: &MetainfoLimits,
) -> Result<Vec<File>, MetainfoError> {
    let mut files = Vec::new();
    let mut offset = 0_u64;
    let mut paths_len = 0_usize;
    for (index, value) in list.enumerate() {
        if index == limits.max_files {
            return Err(MetainfoError::TooManyFiles(limits.max_files));
        }
        let entry = Entry::read(value).ok_or(MetainfoError::WrongType("files"))?;
        let is_link = is_link(entry.attributes);
        let len = match entry.length {
            None if is_link => 0,
            None => return Err(MetainfoError::Missing("length")),
            Some(value) => length(value)?,
        };
        let mut file = entry.file(root, len)?;
        if is_link {
            if len > 0 {
                return Err(MetainfoError::LinkWithContent(file.path));
            }
            continue;
        }
        file.offset = offset;
        offset = offset.checked_add(len).ok_or(MetainfoError::TotalOverflow)?;
        paths_len += file.path.as_str().len() + file.given.as_ref().map_or(0, |given| given.as_str().len());
        if paths_len > MAX_PATHS_LEN {
            return Err(MetainfoError::PathsTooLong);
        }
        files.push(file);
    }
    if files.iter().all(|file| file.padding) {
        return Err(MetainfoError::NoFiles);
    }
    files.shrink_to_fit();
    check_places(files.iter().filter(|file| !file.padding).map(|file| &file.path))?;
    Ok(files)
}

/// Whether a file with these attributes (BEP 47) is a symbolic link.
pub(super) fn is_link(attributes: &[u8]) -> bool {
    attributes.contains(&b'l')
}

/// A length in bytes.
pub(super) fn length(value: Value<'_>) -> Result<u64, MetainfoError> {
    let length = value.as_i64().ok_or(MetainfoError::WrongType("length"))?;
    u64::try_from(length).map_err(|_| MetainfoError::Negative("length"))
}

impl<'a> Entry<'a> {
    fn read(value: Value<'a>) -> Option<Self> {
        let mut entry = Self::default();
        for (key, value) in value.as_dictionary()? {
            match key {
                b"length" => entry.length = Some(value),
                b"path" => entry.path = Some(value),
                b"path.utf-8" => entry.path_utf8 = Some(value),
                b"attr" => entry.attributes = value.as_bytes().unwrap_or_default(),
                _ => {}
            }
        }
        Some(entry)
    }

    /// The file, its offset not yet known.
    fn file(&self, root: &SafePath, len: u64) -> Result<File, MetainfoError> {
        if self.attributes.contains(&b'p') {
            return Ok(File { path: root.join_padding(len), given: None, len, offset: 0, padding: true });
        }
        let list = match (self.path_utf8.and_then(|path| path.as_list()), self.path) {
            (Some(list), _) => list,
            (None, Some(path)) => path.as_list().ok_or(MetainfoError::WrongType("path"))?,
            (None, None) => return Err(MetainfoError::Missing("path")),
        };
        if list.clone().any(|component| component.as_bytes().is_none()) {
            return Err(MetainfoError::WrongType("path"));
        }
        let made = root.join(list.filter_map(|component| component.as_bytes()))?;
        Ok(File { path: made.path, given: made.given, len, offset: 0, padding: false })
    }
}

/// That no two files have the same path, and that no file is where another needs a folder.
pub(super) fn check_places<'a>(paths: impl Iterator<Item = &'a TorrentPath>) -> Result<(), MetainfoError> {
    let mut sorted: Vec<&TorrentPath> = paths.collect();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        let &[file, next] = pair else { continue };
        // What begins like `file` comes directly after it, but `a-b` comes before `a/b`.
        match next.as_str().strip_prefix(file.as_str()) {
            None => {}
            Some("") => return Err(MetainfoError::DuplicateFile(file.clone())),
            Some(_) => {
                let folder = format!("{file}/");
                let at = sorted.partition_point(|path| path.as_str() < folder.as_str());
                if let Some(&below) = sorted.get(at).filter(|path| path.as_str().starts_with(&folder)) {
                    return Err(MetainfoError::FileIsFolder { file: file.clone(), below: below.clone() });
                }
            }
        }
    }
    Ok(())
}
