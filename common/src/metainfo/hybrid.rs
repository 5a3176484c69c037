//! Hybrid torrents (BEP 52): version 1 and version 2 in one file. We read version 1; what version 2 says of the files must
//! be the same, or peers of the two versions would make different things of one torrent. The hash trees are not read: no
//! byte is believed for their sake.

use super::File;
use super::files::{is_link, length};
use super::parse::MetainfoError;
use super::paths::SafePath;
use crate::bencode::Value;

/// Goes through a `file tree` beside the files of version 1.
struct Walk<'a, F> {
    root: &'a SafePath,
    single_file: bool,
    piece_len: u64,
    /// The files of version 1 that were not met yet, padding left out.
    rest: F,
    /// Names from the top of the tree down to where the walk is. As deep as the scanner lets a torrent be.
    names: Vec<&'a [u8]>,
}

/// Checks that `tree` has the same files, of the same lengths and in the same order, each from the beginning of a piece.
///
/// # Errors
/// [`MetainfoError::VersionsDisagree`] with the first file of which the two say different things.
pub(super) fn check(
    tree: Value<'_>,
    root: &SafePath,
    single_file: bool,
    files: &[File],
    piece_len: u64,
) -> Result<(), MetainfoError> {
    let rest = files.iter().filter(|file| !file.padding);
    let mut walk = Walk { root, single_file, piece_len, rest, names: Vec::new() };
    walk.folder(tree)?;
    match walk.rest.next() {
        None => Ok(()),
        Some(file) => Err(MetainfoError::VersionsDisagree(file.path.clone())),
    }
}

impl<'a, F: Iterator<Item = &'a File>> Walk<'a, F> {
    fn folder(&mut self, tree: Value<'a>) -> Result<(), MetainfoError> {
        const WRONG: MetainfoError = MetainfoError::WrongType("file tree");
        for (name, node) in tree.as_dictionary().ok_or(WRONG)? {
            self.names.push(name);
            // What a file is stands under an empty name: the first, if there are others.
            match node.as_dictionary().ok_or(WRONG)?.next() {
                Some((b"", file)) => self.file(file)?,
                _ => self.folder(node)?,
            }
            self.names.pop();
        }
        Ok(())
    }

    fn file(&mut self, file: Value<'a>) -> Result<(), MetainfoError> {
        let attributes = file.get(b"attr").and_then(|attributes| attributes.as_bytes());
        if attributes.is_some_and(is_link) {
            return Ok(());
        }
        let len = length(file.get(b"length").ok_or(MetainfoError::Missing("length"))?)?;
        let path = match *self.names {
            [name] if self.single_file => SafePath::new(name)?,
            _ => self.root.join(self.names.iter().copied())?,
        };
        let same = |file: &File| {
            let aligned = len == 0 || self.piece_len > 0 && file.offset.is_multiple_of(self.piece_len);
            file.path == path.path && file.len == len && aligned
        };
        if self.rest.next().is_some_and(same) {
            Ok(())
        } else {
            Err(MetainfoError::VersionsDisagree(path.path))
        }
    }
}
