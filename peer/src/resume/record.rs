//! The journal's format: a header of 52 bytes, then records of 24, all numbers big-endian.
//!
//! ```text
//! header: magic 8 | info-hash 20 | boot 8 | generation 8 | check 8
//! record: kind 4 | index 4 | value 8 | check 8
//! ```
//!
//! A check is the first 8 bytes of the SHA-1 of what stands before it; a record's includes the header, so that no record
//! passes in another journal. What does not check (a torn last record, a page lost in a power cut) is passed over.

use sha1::{Digest, Sha1};
use torrent_common::ids::InfoHash;

use super::BootId;

const MAGIC: &[u8; 8] = b"tfjrnl\x00\x01";
/// Bytes of the header.
pub const HEADER_LEN: usize = 52;
/// Bytes of a record.
pub const RECORD_LEN: usize = 24;

/// One note in a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A piece is about to be written.
    Begin {
        /// Which.
        piece: u32,
        /// Nanoseconds since 1970.
        at_ns: i64,
    },
    /// After a write, a file had this mtime.
    Stamp {
        /// Index in the layout.
        file: u32,
        /// Nanoseconds since 1970.
        mtime_ns: i64,
    },
    /// A piece is written, whole and verified.
    Written {
        /// Which.
        piece: u32,
    },
    /// Flushing failed: nothing written since the checkpoint is to be believed.
    Doubt,
}

/// What a journal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The torrent.
    pub info_hash: InfoHash,
    /// When the machine was started.
    pub boot: Option<BootId>,
    /// Of the checkpoint that this journal continues.
    pub generation: u64,
}

/// A journal as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it belongs to.
    pub header: Header,
    /// In the order in which they were written.
    pub records: Vec<Record>,
}

impl Header {
    /// The bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(MAGIC);
        bytes.extend(self.info_hash.as_bytes());
        bytes.extend(BootId::to_number(self.boot).to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(check(&[&bytes]));
        bytes.try_into().unwrap_or([0; HEADER_LEN])
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (info_hash, rest) = rest.split_first_chunk::<20>()?;
        let (boot, rest) = rest.split_first_chunk::<8>()?;
        let (generation, _) = rest.split_first_chunk::<8>()?;
        let boot = BootId::from_number(u64::from_be_bytes(*boot));
        let header =
            Self { info_hash: InfoHash::new(*info_hash), boot, generation: u64::from_be_bytes(*generation) };
        (magic == MAGIC && header.encode() == *bytes).then_some(header)
    }
}

impl Record {
    /// The bytes, in the journal with this header.
    pub fn encode(self, header: &[u8; HEADER_LEN]) -> [u8; RECORD_LEN] {
        let (kind, index, value) = match self {
            Self::Begin { piece, at_ns } => (1u32, piece, at_ns),
            Self::Stamp { file, mtime_ns } => (2, file, mtime_ns),
            Self::Written { piece } => (3, piece, 0),
            Self::Doubt => (4, 0, 0),
        };
        let mut bytes = Vec::with_capacity(RECORD_LEN);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(index.to_be_bytes());
        bytes.extend(value.to_be_bytes());
        bytes.extend(check(&[header, &bytes]));
        bytes.try_into().unwrap_or([0; RECORD_LEN])
    }

    fn decode(bytes: &[u8; RECORD_LEN], header: &[u8; HEADER_LEN]) -> Option<Self> {
        let (kind, rest) = bytes.split_first_chunk::<4>()?;
        let (index, rest) = rest.split_first_chunk::<4>()?;
        let (value, _) = rest.split_first_chunk::<8>()?;
        let (index, value) = (u32::from_be_bytes(*index), i64::from_be_bytes(*value));
        let record = match u32::from_be_bytes(*kind) {
            1 => Self::Begin { piece: index, at_ns: value },
            2 => Self::Stamp { file: index, mtime_ns: value },
            3 => Self::Written { piece: index },
            4 => Self::Doubt,
            _ => return None,
        };
        (record.encode(header) == *bytes).then_some(record)
    }
}

/// Reads a journal's bytes; `None` if they are none of this torrent.
pub fn decode(bytes: &[u8], info_hash: &InfoHash) -> Option<Part> {
    let (header_bytes, rest) = bytes.split_first_chunk::<HEADER_LEN>()?;
    let header = Header::decode(header_bytes).filter(|header| header.info_hash == *info_hash)?;
    let (records, _torn) = rest.as_chunks::<RECORD_LEN>();
    let records = records.iter().filter_map(|record| Record::decode(record, header_bytes)).collect();
    Some(Part { header, records })
}

fn check(parts: &[&[u8]]) -> [u8; 8] {
    let mut sha1 = Sha1::new();
    parts.iter().for_each(|part| sha1.update(part));
    let hash: [u8; 20] = sha1.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash::new([7; 20]);
    const RECORDS: [Record; 4] = [
        Record::Begin { piece: 3, at_ns: -5 },
        Record::Stamp { file: u32::MAX, mtime_ns: i64::MAX },
        Record::Written { piece: 3 },
        Record::Doubt,
    ];

    fn journal() -> (Header, Vec<u8>) {
        let header = Header { info_hash: HASH, boot: Some(BootId::new(9)), generation: 4 };
        let head = header.encode();
        let records = RECORDS.iter().flat_map(|record| record.encode(&head));
        (header, head.iter().copied().chain(records).collect())
    }

    #[test]
    fn what_was_written_is_read() {
        let (header, bytes) = journal();
        assert_eq!(bytes.len(), HEADER_LEN + RECORDS.len() * RECORD_LEN);
        assert_eq!(decode(&bytes, &HASH), Some(Part { header, records: RECORDS.to_vec() }));
        assert_eq!(decode(&bytes, &InfoHash::new([8; 20])), None);
    }

    #[test]
    fn a_torn_end_costs_the_torn_record_alone() {
        let (_, bytes) = journal();
        for len in 0..bytes.len() {
            let whole = len.checked_sub(HEADER_LEN).map(|rest| rest / RECORD_LEN);
            let read = decode(&bytes[..len], &HASH).map(|part| part.records);
            assert_eq!(read, whole.map(|whole| RECORDS[..whole].to_vec()), "{len}");
        }
    }

    #[test]
    fn no_flipped_bit_passes() {
        let (_, bytes) = journal();
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let records = decode(&bytes, &HASH).map_or_else(Vec::new, |part| part.records);
            let mut expected = RECORDS.to_vec();
            match at.checked_sub(HEADER_LEN) {
                Some(at) => drop(expected.remove(at / RECORD_LEN)),
                None => expected.clear(),
            }
            assert_eq!(records, expected, "{at}");
        }
    }
}
