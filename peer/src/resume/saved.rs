//! A torrent's checkpoint: what of it survives a restart.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use sha1::{Digest, Sha1};
use torrent_common::bencode;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::Geometry;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;

use super::{BootId, ResumeError, nanos};
use crate::options::TorrentOptions;
use crate::storage::files::Storage;
use crate::storage::layout::Layout;
use crate::storage::{Stamp, StorageError};
use crate::torrent::selection::Wanted;

/// The format written; others are not read.
const VERSION: u32 = 1;
/// A length that says that a file was not there.
const NOT_THERE: u64 = u64::MAX;
/// Bytes of a stamp.
const STAMP_LEN: usize = 16;
/// Bytes of the SHA-1 at the end.
const CHECK_LEN: usize = 20;

/// What the session knows of a torrent, and is to know after a restart without reading its torrent file.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    /// To show: a stranger's text.
    pub name: String,
    /// Bytes of payload.
    pub total_len: u64,
    /// Number of pieces.
    pub piece_count: u32,
    /// BEP 27.
    pub private: bool,
    /// The folder it is in.
    pub output: PathBuf,
    /// The name there, when it is another than the torrent's own.
    pub root: Option<OsString>,
    /// Bytes of payload downloaded, in all sessions.
    pub downloaded: u64,
    /// Bytes of payload uploaded, in all sessions.
    pub uploaded: u64,
    /// Stopped by the user.
    pub paused: bool,
    /// Stopped because it was seeded as long as it was to be.
    pub finished: bool,
    /// Made of files that the user has where they are: they are read, never written.
    pub made: bool,
    /// Nanoseconds since 1970: torrents are listed in this order.
    pub added_ns: u64,
    /// Seconds since 1970.
    pub completed_s: Option<u64>,
    /// Bytes of the pieces that are wanted, and of those that are lacking of them; `None` when all are wanted.
    pub wanted: Option<(u64, u64)>,
    /// What the user set for it.
    pub options: TorrentOptions,
}

/// A checkpoint. What is had is known only with the payload at hand: see [`Look`](super::Look).
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Free to be changed.
    pub details: Details,
    pub(super) generation: u64,
    /// When the machine was started; `None` until the first checkpoint.
    pub(super) boot: Option<BootId>,
    /// Nanoseconds since 1970.
    pub(super) saved_ns: i64,
    /// Bits as on the wire; empty: unknown.
    pub(super) had: Vec<u8>,
    /// No journal was there when STATE_DIR was listed: none need be looked for until this one is used.
    pub(super) no_journals: bool,
    /// One for every file of the layout and one for the part file; `None` for padding and for what was not there. Empty:
    /// unknown. A file that was not there is parted: see [`Layout`](crate::storage::layout::Layout).
    pub(crate) stamps: Vec<Option<Stamp>>,
}

impl Saved {
    /// A torrent of which nothing is known: whatever is on disk will be checked. `now` sets it apart from a torrent of the
    /// same hash that was removed.
    pub fn new(info_hash: InfoHash, details: Details, now: SystemTime) -> Self {
        let saved_ns = nanos(now);
        let generation = saved_ns.unsigned_abs();
        Self {
            info_hash,
            details,
            generation,
            boot: None,
            saved_ns,
            had: Vec::new(),
            no_journals: false,
            stamps: Vec::new(),
        }
    }

    /// Enters that all is there, as after making a torrent of it: every byte was hashed a moment ago, and the files have
    /// these stamps. False, and nothing is entered, if a file is missing or not as long as the torrent says.
    pub fn set_complete(&mut self, layout: &Layout, stamps: Vec<Option<Stamp>>) -> bool {
        let files = layout.files().iter().zip(&stamps);
        if !files
            .into_iter()
            .all(|(file, stamp)| file.padding || stamp.is_some_and(|stamp| stamp.len == file.len))
        {
            return false;
        }
        self.had = Bitfield::full(&layout.metainfo().geometry).as_bytes().into();
        self.stamps = stamps;
        true
    }

    /// Says to a storage which files are parted: those that were not there at the checkpoint; of a torrent of which nothing
    /// is known, those that are not wanted and not there `now` with their full length.
    pub(super) fn part(&self, storage: &Storage, now: &[Option<Stamp>]) {
        let files = storage.layout().files();
        if self.stamps.len() == storage.layout().part() + 1 {
            storage.set_parted(|index| matches!(self.stamps.get(index), Some(None)));
            return;
        }
        let whole = |index: usize| match (files.get(index), now.get(index)) {
            (Some(file), Some(Some(stamp))) => file.len == stamp.len,
            _ => false,
        };
        let wanted = Wanted::of(storage.metainfo(), &self.details.options.priorities);
        storage.set_parted(|index| !wanted.contains(index) && !whole(index));
    }

    /// Whether bytes of a file that is `wanted` are in the part file, or may be, as far as the checkpoint knows.
    pub fn parts_any(&self, metainfo: &Metainfo, wanted: &Wanted) -> bool {
        let files = &metainfo.files;
        let is_parted = |index: usize| match self.stamps.get(index) {
            Some(stamp) if self.stamps.len() == files.len() + 1 => stamp.is_none(),
            _ => true,
        };
        files
            .iter()
            .enumerate()
            .any(|(index, file)| !file.padding && wanted.contains(index) && is_parted(index))
    }

    /// Says to a storage which files are the torrent's own, for one whose data is to be deleted.
    ///
    /// # Errors
    /// [`StorageError`] when a file cannot be looked at.
    pub fn prepare_removal(&self, storage: &Storage) -> Result<(), StorageError> {
        self.part(storage, &storage.stamps()?);
        Ok(())
    }

    /// The files' stamps at the checkpoint, as [`Storage::stamps`] gives them.
    pub fn stamps(&self) -> &[Option<Stamp>] {
        &self.stamps
    }

    /// How many pieces were had at the checkpoint; the journal may add some.
    pub fn pieces_had(&self) -> u32 {
        self.had.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether every piece was had at the checkpoint.
    pub fn is_complete(&self) -> bool {
        self.details.piece_count > 0 && self.pieces_had() == self.details.piece_count
    }

    /// The pieces had at the checkpoint; `None` if they are not known, or not this torrent's.
    pub fn had(&self, geometry: &Geometry) -> Option<Bitfield> {
        Bitfield::from_bytes(&self.had, geometry).ok()
    }

    /// The bytes of the file: bencode, and its SHA-1.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_bencode::Error> {
        let details = &self.details;
        // Older programs know nothing of a part file: it stands beside the others.
        let (part, files) = self.stamps.split_last().map_or((None, &[][..]), |(part, files)| (*part, files));
        let stamps = files.iter().flat_map(|&stamp| stamp_to_bytes(stamp));
        let file = OnDisk {
            version: VERSION,
            info_hash: ByteBuf::from(self.info_hash.as_bytes()),
            generation: ByteBuf::from(self.generation.to_be_bytes()),
            boot: ByteBuf::from(BootId::to_number(self.boot).to_be_bytes()),
            saved_ns: self.saved_ns,
            had: ByteBuf::from(&*self.had),
            stamps: ByteBuf::from(stamps.collect::<Vec<u8>>()),
            part: part.map(|part| stamp_to_bytes(Some(part)).collect::<Vec<u8>>().into()),
            name: details.name.clone(),
            total_len: details.total_len,
            piece_count: details.piece_count,
            private: details.private.into(),
            output: ByteBuf::from(details.output.as_os_str().as_bytes()),
            root: details.root.as_deref().map(|root| ByteBuf::from(root.as_bytes())),
            downloaded: details.downloaded,
            uploaded: details.uploaded,
            paused: u8::from(details.paused) | u8::from(details.finished) << 1 | u8::from(details.made) << 2,
            added_ns: details.added_ns,
            completed_s: details.completed_s,
            wanted_len: details.wanted.map(|(len, _)| len),
            lacking_len: details.wanted.map(|(_, lacking)| lacking),
            options: options_to_json(&details.options),
        };
        let mut bytes = serde_bencode::to_bytes(&file)?;
        let check: [u8; CHECK_LEN] = Sha1::digest(&bytes).into();
        bytes.extend(check);
        Ok(bytes)
    }

    /// Reads the bytes of the file at `path`, whose name says which torrent it is of.
    pub(crate) fn decode(bytes: &[u8], info_hash: InfoHash, path: &Path) -> Result<Self, ResumeError> {
        let damaged = |what: &str| ResumeError::Damaged { path: path.into(), what: what.into() };
        let (body, check) = bytes.split_last_chunk::<CHECK_LEN>().ok_or_else(|| damaged("cut short"))?;
        if <[u8; CHECK_LEN]>::from(Sha1::digest(body)) != *check {
            return Err(damaged("its checksum is wrong"));
        }
        let limits = bencode::Limits { max_len: body.len(), max_depth: 4, max_values: 256 };
        bencode::scan(body, &limits).map_err(|error| damaged(&error.to_string()))?;
        let file: OnDisk = match serde_bencode::from_bytes(body) {
            Ok(file) => file,
            // Another version's may have other fields.
            Err(error) => match serde_bencode::from_bytes::<Format>(body) {
                Ok(Format { version }) if version != VERSION => {
                    return Err(ResumeError::Newer { path: path.into(), version });
                }
                _ => return Err(damaged(&error.to_string())),
            },
        };
        if file.version != VERSION {
            return Err(ResumeError::Newer { path: path.into(), version: file.version });
        }
        if *file.info_hash != *info_hash.as_bytes() {
            return Err(damaged("it is of another torrent"));
        }
        let number = |bytes: &[u8]| {
            bytes.try_into().map(u64::from_be_bytes).map_err(|_| damaged("a number is too long"))
        };
        let (stamps, []) = file.stamps.as_chunks::<STAMP_LEN>() else {
            return Err(damaged("a stamp is cut short"));
        };
        let part = file.part.as_deref().and_then(|part| part.first_chunk()).and_then(stamp_from_bytes);
        let part = (!stamps.is_empty()).then_some(part);
        let details = Details {
            name: file.name,
            total_len: file.total_len,
            piece_count: file.piece_count,
            private: file.private != 0,
            output: OsString::from_vec(file.output.into_vec()).into(),
            root: file.root.map(|root| OsStr::from_bytes(&root).into()),
            downloaded: file.downloaded,
            uploaded: file.uploaded,
            // Older programs know 0 and 1 alone.
            paused: file.paused & 1 != 0,
            finished: file.paused & 2 != 0,
            made: file.paused & 4 != 0,
            added_ns: file.added_ns,
            completed_s: file.completed_s,
            wanted: file.wanted_len.zip(file.lacking_len),
            options: options_from_json(file.options.as_ref(), path),
        };
        Ok(Self {
            info_hash,
            details,
            generation: number(&file.generation)?,
            boot: BootId::from_number(number(&file.boot)?),
            saved_ns: file.saved_ns,
            had: file.had.into_vec(),
            no_journals: false,
            stamps: stamps.iter().map(stamp_from_bytes).chain(part).collect(),
        })
    }
}

/// What every version's file has.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

/// The file. Integers are at most 63 bits in bencode as others read it, so the full 64 are bytes here.
#[derive(Serialize, Deserialize)]
struct OnDisk {
    version: u32,
    info_hash: ByteBuf,
    generation: ByteBuf,
    boot: ByteBuf,
    saved_ns: i64,
    had: ByteBuf,
    stamps: ByteBuf,
    /// The part file's stamp, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<ByteBuf>,
    name: String,
    total_len: u64,
    piece_count: u32,
    private: u8,
    output: ByteBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<ByteBuf>,
    downloaded: u64,
    uploaded: u64,
    paused: u8,
    added_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_s: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted_len: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lacking_len: Option<u64>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<ByteBuf>,
}

fn stamp_to_bytes(stamp: Option<Stamp>) -> impl Iterator<Item = u8> {
    let Stamp { len, mtime_ns } = stamp.unwrap_or(Stamp { len: NOT_THERE, mtime_ns: 0 });
    len.to_be_bytes().into_iter().chain(mtime_ns.to_be_bytes())
}

fn stamp_from_bytes(bytes: &[u8; STAMP_LEN]) -> Option<Stamp> {
    let (len, mtime_ns) = bytes.split_first_chunk::<8>()?;
    let (len, mtime_ns) = (u64::from_be_bytes(*len), i64::from_be_bytes(*mtime_ns.first_chunk()?));
    (len != NOT_THERE).then_some(Stamp { len, mtime_ns })
}

impl Details {
    /// The bytes of the file that holds what is set for a torrent beside its checkpoint: JSON.
    pub(super) fn encode_options(options: &TorrentOptions) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(options)
    }

    /// Enters what such a file says, if it is understood: it is newer than the checkpoint, or as old.
    pub(crate) fn enter_options(&mut self, bytes: &[u8]) -> Result<Entered, serde_json::Error> {
        let options: TorrentOptions = serde_json::from_slice(bytes)?;
        if options.priorities != self.options.priorities {
            // The counts are of another selection: whether this one is complete is not known before somebody looks.
            let (wanted_len, lacking) = self.wanted.unwrap_or((self.total_len, 0));
            self.wanted = Some((wanted_len, lacking.max(1)));
        }
        let entered = if options == self.options { Entered::Same } else { Entered::Other };
        self.options = options;
        Ok(entered)
    }
}

/// What a file of options says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// What the checkpoint says: it is of no use any more.
    Same,
    /// Something else, or nobody knows what.
    Other,
}

/// Nothing for a torrent of which nothing is set.
fn options_to_json(options: &TorrentOptions) -> Option<ByteBuf> {
    let set = *options != TorrentOptions::default();
    // Plain numbers, names and lists cannot fail to become JSON.
    set.then(|| serde_json::to_vec(options).ok().map(ByteBuf::from)).flatten()
}

/// An option that only a newer program knows is no reason to lose the torrent.
fn options_from_json(json: Option<&ByteBuf>, path: &Path) -> TorrentOptions {
    let read = json.map(|json| serde_json::from_slice(json)).transpose();
    let read = read.inspect_err(|error| {
        log::warn!(
            "{}: what was set for the torrent is not understood, and not kept: {error}",
            path.display()
        );
    });
    read.ok().flatten().unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use crate::options::Priority;

    pub(crate) fn details() -> Details {
        Details {
            name: "näme".into(),
            total_len: 1 << 40,
            piece_count: 10,
            private: true,
            output: "/srv/down loads".into(),
            root: Some(OsStr::from_bytes(b"not \xff utf-8").into()),
            downloaded: u64::MAX >> 1,
            uploaded: 0,
            paused: false,
            finished: false,
            made: false,
            added_ns: 1_700_000_000_000_000_000,
            completed_s: None,
            wanted: None,
            options: TorrentOptions::default(),
        }
    }

    fn saved() -> Saved {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_001);
        let mut saved = Saved::new(InfoHash::new([3; 20]), details(), now);
        saved.had = vec![0xff, 0x40];
        saved.stamps =
            vec![Some(Stamp { len: 0, mtime_ns: -1 }), None, Some(Stamp { len: 9, mtime_ns: i64::MAX })];
        saved
    }

    #[test]
    fn what_is_saved_is_read() {
        for (root, completed_s) in [(None, Some(5)), (Some(OsString::from("r")), None)] {
            let mut saved = saved();
            saved.details.root = root;
            saved.details.completed_s = completed_s;
            saved.details.finished = completed_s.is_some();
            if completed_s.is_some() {
                saved.details.wanted = Some((1 << 20, 7));
                saved.stamps.push(Some(Stamp { len: 9, mtime_ns: 3 }));
                saved.details.options.seed_ratio = Some(0.5);
                saved.details.options.priorities = vec![Priority::Skip, Priority::High];
            }
            saved.generation = u64::MAX;
            let read = Saved::decode(&saved.encode().unwrap(), saved.info_hash, Path::new("x")).unwrap();
            assert_eq!(read, saved);
        }
        assert_eq!(saved().pieces_had(), 9);
        assert!(!saved().is_complete());
    }

    #[test]
    fn a_record_without_options_is_read() {
        let bytes = saved().encode().unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"options"), "nothing set, nothing written");
        let mut saved = saved();
        saved.details.options.sequential = Some(true);
        let bytes = saved.encode().unwrap();
        assert!(bytes.windows(7).any(|window| window == b"options"));
        // Of a newer program.
        let json = ByteBuf::from(*br#"{"sequential":true,"colour":3}"#);
        assert_eq!(options_from_json(Some(&json), Path::new("x")), TorrentOptions::default());
    }

    #[test]
    fn what_was_cut_or_changed_is_refused() {
        let saved = saved();
        let bytes = saved.encode().unwrap();
        let read = |bytes: &[u8]| Saved::decode(bytes, saved.info_hash, Path::new("x"));
        for len in 0..bytes.len() {
            assert!(matches!(read(&bytes[..len]), Err(ResumeError::Damaged { .. })), "{len}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(matches!(read(&bytes), Err(ResumeError::Damaged { .. })), "{at}");
        }
        assert!(matches!(
            Saved::decode(&bytes, InfoHash::new([4; 20]), Path::new("x")),
            Err(ResumeError::Damaged { .. })
        ));
    }

    #[test]
    fn another_format_is_left_alone() {
        let mut body = b"d7:versioni2e3:newi1ee".to_vec();
        let check: [u8; 20] = Sha1::digest(&body).into();
        body.extend(check);
        let read = Saved::decode(&body, InfoHash::new([3; 20]), Path::new("x"));
        assert!(matches!(read, Err(ResumeError::Newer { version: 2, .. })));
    }
}
