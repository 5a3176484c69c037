//! From the bytes of a torrent file to a validated [`Metainfo`].

use std::sync::Arc;

use super::paths::{PathError, SafePath, TorrentPath, clip};
use super::{File, Metainfo, files, hybrid, trackers};
use crate::bencode::{self, BencodeError, Limits, Value};
use crate::geometry::{DEFAULT_BLOCK_LEN, Geometry, GeometryError};
use crate::ids::InfoHash;

/// The longest name to show, in bytes.
const MAX_NAME_LEN: usize = 1024;
/// The longest free text kept, in bytes.
const MAX_TEXT_LEN: usize = 16 * 1024;

/// What a torrent file may cost. The defaults admit 1 TiB in 500,000 files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetainfoLimits {
    /// The longest torrent file, in bytes.
    pub max_len: usize,
    /// The most files.
    pub max_files: usize,
    /// Block length of the geometry made, in bytes.
    pub block_len: u32,
}

impl MetainfoLimits {
    /// The longest torrent file, in bytes, unless the configuration says otherwise.
    pub const DEFAULT_MAX_LEN: usize = 64 << 20;
    /// The most files.
    pub const DEFAULT_MAX_FILES: usize = 500_000;

    /// Limits as configured: the longest torrent file and the block length, both in bytes.
    pub const fn new(max_len: usize, block_len: u32) -> Self {
        Self { max_len, max_files: Self::DEFAULT_MAX_FILES, block_len }
    }
}

impl Default for MetainfoLimits {
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX_LEN, DEFAULT_BLOCK_LEN)
    }
}

/// Why a torrent file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// Not bencode, or too much of it.
    #[error("not a torrent file: {0}")]
    Bencode(#[from] BencodeError),
    /// Bencode, but not a dictionary.
    #[error("not a torrent file: not a dictionary")]
    NotDictionary,
    /// A key that must be there is not.
    #[error("the torrent has no {0:?}")]
    Missing(&'static str),
    /// A key's value is of the wrong type.
    #[error("the torrent's {0:?} is not of the right type")]
    WrongType(&'static str),
    /// A length below zero.
    #[error("the torrent's {0:?} is negative")]
    Negative(&'static str),
    /// Only a version 2 torrent (BEP 52).
    #[error("this is a version 2 torrent, which is not supported: ask for a version 1 or hybrid one")]
    VersionTwo,
    /// A file and a folder at the same time.
    #[error("the torrent has both \"length\" and \"files\"")]
    LengthAndFiles,
    /// Nothing but padding, links, or nothing at all.
    #[error("the torrent has no files")]
    NoFiles,
    /// More files than [`MetainfoLimits::max_files`].
    #[error("the torrent has more than {0} files")]
    TooManyFiles(usize),
    /// The paths take too much memory together.
    #[error("the paths of the torrent's files are too long")]
    PathsTooLong,
    /// The lengths together overflow.
    #[error("the lengths of the torrent's files together are impossibly large")]
    TotalOverflow,
    /// A symbolic link (BEP 47) with bytes of its own.
    #[error("{0:?} is a symbolic link with content, which is not supported")]
    LinkWithContent(TorrentPath),
    /// A name that is refused.
    #[error("refused: {0}")]
    Path(#[from] PathError),
    /// Two files with the same path, perhaps after both were made safe.
    #[error("the torrent has the file {0:?} twice")]
    DuplicateFile(TorrentPath),
    /// A file where another file needs a folder.
    #[error("{file:?} is a file, and also the folder of {below:?}")]
    FileIsFolder {
        /// The file.
        file: TorrentPath,
        /// What would be below it.
        below: TorrentPath,
    },
    /// A hybrid torrent (BEP 52) whose two versions are not of the same files.
    #[error("the torrent's version 1 and version 2 say different things of {0:?}: ask for one that is right")]
    VersionsDisagree(TorrentPath),
    /// Sizes that no torrent can have.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Not a multiple of 20 bytes.
    #[error("the torrent's \"pieces\" is {0} bytes long, which is not a multiple of 20")]
    PiecesLength(usize),
    /// More or fewer hashes than pieces.
    #[error("the torrent has {expected} pieces, but hashes for {found}")]
    PieceCount {
        /// Pieces by the lengths.
        expected: u32,
        /// Hashes.
        found: usize,
    },
}

impl Metainfo {
    /// Parses and validates a torrent file. Unknown keys are skipped; keys outside `info` that make no sense are, too.
    ///
    /// # Errors
    /// [`MetainfoError`] says what is wrong, in words for the user.
    pub fn parse(bytes: &[u8], limits: &MetainfoLimits) -> Result<Self, MetainfoError> {
        let document = bencode::scan(bytes, &Limits::for_len(limits.max_len))?;
        let outer = Outer::read(document.root)?;
        let info = Info::read(outer.info)?;

        let name = info.name.ok_or(MetainfoError::Missing("name"))?;
        let name = name.as_bytes().ok_or(MetainfoError::WrongType("name"))?;
        let root = SafePath::new(name)?;
        let (single_file, files) = info.files(&root, limits)?;

        let total = files.last().map_or(0, |file| file.offset.saturating_add(file.len));
        let geometry = Geometry::new(total, info.piece_len()?, limits.block_len)?;
        let piece_hashes = info.piece_hashes(&geometry)?;
        if let Some(tree) = info.file_tree {
            hybrid::check(tree, &root, single_file, &files, geometry.nominal_piece_len().into())?;
        }

        Ok(Self {
            info_hash: InfoHash::of(outer.info.raw()),
            name: lossy(name, MAX_NAME_LEN),
            root: root.path,
            single_file,
            files,
            geometry,
            piece_hashes,
            private: info.private,
            trackers: trackers::tiers(outer.announce, outer.announce_list),
            url_list: trackers::web_seeds(outer.url_list),
            nodes: trackers::nodes(outer.nodes),
            comment: text(outer.comment),
            created_by: text(outer.created_by),
            creation_date_s: outer.creation_date.and_then(|value| value.as_i64()),
            sorted: document.sorted,
        })
    }
}

/// The outermost dictionary, as far as we read it.
struct Outer<'a> {
    info: Value<'a>,
    announce: Option<Value<'a>>,
    announce_list: Option<Value<'a>>,
    url_list: Option<Value<'a>>,
    nodes: Option<Value<'a>>,
    comment: Option<Value<'a>>,
    created_by: Option<Value<'a>>,
    creation_date: Option<Value<'a>>,
}

impl<'a> Outer<'a> {
    fn read(root: Value<'a>) -> Result<Self, MetainfoError> {
        let mut info = None;
        let [mut announce, mut announce_list, mut url_list, mut nodes] = [None; 4];
        let [mut comment, mut created_by, mut creation_date] = [None; 3];
        for (key, value) in root.as_dictionary().ok_or(MetainfoError::NotDictionary)? {
            let field = match key {
                b"info" => &mut info,
                b"announce" => &mut announce,
                b"announce-list" => &mut announce_list,
                b"url-list" => &mut url_list,
                b"nodes" => &mut nodes,
                b"comment" => &mut comment,
                b"created by" => &mut created_by,
                b"creation date" => &mut creation_date,
                _ => continue,
            };
            *field = Some(value);
        }
        let info = info.ok_or(MetainfoError::Missing("info"))?;
        Ok(Self { info, announce, announce_list, url_list, nodes, comment, created_by, creation_date })
    }
}

/// The info dictionary, as far as we read it.
struct Info<'a> {
    name: Option<Value<'a>>,
    piece_len: Option<Value<'a>>,
    pieces: Option<Value<'a>>,
    length: Option<Value<'a>>,
    files: Option<Value<'a>>,
    private: bool,
    file_tree: Option<Value<'a>>,
    is_version_2: bool,
}

impl<'a> Info<'a> {
    fn read(info: Value<'a>) -> Result<Self, MetainfoError> {
        let [mut name, mut name_utf8, mut piece_len, mut pieces, mut length, mut files] = [None; 6];
        let [mut private, mut meta_version, mut file_tree] = [None; 3];
        for (key, value) in info.as_dictionary().ok_or(MetainfoError::WrongType("info"))? {
            let field = match key {
                b"name" => &mut name,
                b"name.utf-8" => &mut name_utf8,
                b"piece length" => &mut piece_len,
                b"pieces" => &mut pieces,
                b"length" => &mut length,
                b"files" => &mut files,
                b"private" => &mut private,
                b"meta version" => &mut meta_version,
                b"file tree" => &mut file_tree,
                _ => continue,
            };
            *field = Some(value);
        }
        Ok(Self {
            name: name_utf8.filter(|value| value.as_bytes().is_some()).or(name),
            piece_len,
            pieces,
            length,
            files,
            // BEP 27 says 1; whoever wrote another number meant the same.
            private: private.and_then(|value| value.as_i64()).is_some_and(|number| number != 0),
            file_tree,
            is_version_2: file_tree.is_some() || meta_version.is_some(),
        })
    }

    /// Whether it is a single file, and the files.
    fn files(&self, root: &SafePath, limits: &MetainfoLimits) -> Result<(bool, Vec<File>), MetainfoError> {
        match (self.length, self.files) {
            (Some(_), Some(_)) => Err(MetainfoError::LengthAndFiles),
            (Some(length), None) => {
                let len = files::length(length)?;
                let SafePath { path, given, .. } = root.clone();
                Ok((true, vec![File { path, given, len, offset: 0, padding: false }]))
            }
            (None, Some(list)) => {
                let list = list.as_list().ok_or(MetainfoError::WrongType("files"))?;
                Ok((false, files::list(list, root, limits)?))
            }
            (None, None) if self.is_version_2 => Err(MetainfoError::VersionTwo),
            (None, None) => Err(MetainfoError::Missing("length")),
        }
    }

    fn piece_len(&self) -> Result<u64, MetainfoError> {
        let len = self.piece_len.ok_or(MetainfoError::Missing("piece length"))?;
        let len = len.as_i64().ok_or(MetainfoError::WrongType("piece length"))?;
        u64::try_from(len).map_err(|_| MetainfoError::Negative("piece length"))
    }

    fn piece_hashes(&self, geometry: &Geometry) -> Result<Arc<[u8]>, MetainfoError> {
        let pieces = match self.pieces {
            Some(pieces) => pieces.as_bytes().ok_or(MetainfoError::WrongType("pieces"))?,
            None if self.is_version_2 => return Err(MetainfoError::VersionTwo),
            None => return Err(MetainfoError::Missing("pieces")),
        };
        let (hashes, []) = pieces.as_chunks::<20>() else {
            return Err(MetainfoError::PiecesLength(pieces.len()));
        };
        let (expected, found) = (geometry.piece_count(), hashes.len());
        if u32::try_from(found) == Ok(expected) {
            Ok(pieces.into())
        } else {
            Err(MetainfoError::PieceCount { expected, found })
        }
    }
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    Some(lossy(value?.as_bytes()?, MAX_TEXT_LEN))
}

/// At most `max_len` bytes of text.
fn lossy(bytes: &[u8], max_len: usize) -> String {
    // A little more than is kept, so that a character cut here ends beyond what is kept.
    let text = String::from_utf8_lossy(bytes.get(..max_len.saturating_add(4)).unwrap_or(bytes));
    clip(&text, max_len).to_owned()
}
