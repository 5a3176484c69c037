//! What tests of this room need: torrents of any shape, and payload for them.

use std::sync::Arc;

use sha1::{Digest, Sha1};
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use super::blocks::{BlockBuf, BlockPool};

/// The block length of test torrents, in bytes: small, so that small pieces have many.
pub const BLOCK_LEN: u32 = 16;

/// A file of a test torrent.
pub struct TestFile {
    /// With `/`, below the root.
    pub path: String,
    /// Bytes.
    pub len: u64,
    /// BEP 47.
    pub padding: bool,
}

impl TestFile {
    /// Files that are not padding.
    pub fn list(files: &[(&str, u64)]) -> Vec<Self> {
        files.iter().map(|&(path, len)| Self { path: path.into(), len, padding: false }).collect()
    }
}

/// The bytes of a test torrent's payload: never zero but in padding, and different everywhere.
pub fn payload(files: &[TestFile]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in files {
        for _ in 0..file.len {
            let at = bytes.len() as u32;
            bytes.push(if file.padding { 0 } else { (at.wrapping_mul(2_654_435_761) >> 13) as u8 | 1 });
        }
    }
    bytes
}

/// A folder torrent named `name`, or a file torrent if the only file has an empty path, with [`payload`] or `bytes`.
pub fn torrent(name: &str, files: &[TestFile], piece_len: u64, bytes: Option<&[u8]>) -> Arc<Metainfo> {
    let torrent = torrent_file(name, files, piece_len, bytes);
    let limits = MetainfoLimits { max_len: 1 << 20, max_files: 10_000, block_len: BLOCK_LEN };
    Arc::new(Metainfo::parse(&torrent, &limits).unwrap())
}

/// Its torrent file.
pub fn torrent_file(name: &str, files: &[TestFile], piece_len: u64, bytes: Option<&[u8]>) -> Vec<u8> {
    let own = payload(files);
    let bytes = bytes.unwrap_or(&own);
    let text = |text: &str| format!("{}:{text}", text.len());
    let mut info: Vec<u8> = b"d".to_vec();
    if let [TestFile { path, len, .. }] = files
        && path.is_empty()
    {
        info.extend(format!("6:lengthi{len}e").bytes());
    } else {
        info.extend(b"5:filesl");
        for file in files {
            let path: String = file.path.split('/').map(text).collect();
            let attr = if file.padding { "4:attr1:p" } else { "" };
            info.extend(format!("d{attr}6:lengthi{}e4:pathl{path}ee", file.len).bytes());
        }
        info.extend(b"e");
    }
    let hashes: Vec<u8> =
        bytes.chunks(piece_len as usize).flat_map(|piece| Sha1::digest(piece).to_vec()).collect();
    info.extend(format!("4:name{}12:piece lengthi{piece_len}e6:pieces{}:", text(name), hashes.len()).bytes());
    info.extend(hashes);
    info.extend(b"e");
    [b"d4:info".as_slice(), &info, b"e"].concat()
}

/// A piece's bytes in blocks.
pub fn blocks(metainfo: &Metainfo, piece: u32, bytes: &[u8]) -> Vec<BlockBuf> {
    let geometry = metainfo.geometry;
    let piece = geometry.piece(piece).unwrap();
    let pool = BlockPool::new(BLOCK_LEN, 0);
    let of_piece = &bytes[geometry.offset(piece) as usize..];
    let fill = |block: torrent_common::geometry::BlockRef| {
        let mut buf = pool.take(block.len());
        buf.copy_from_slice(&of_piece[block.begin() as usize..][..block.len() as usize]);
        buf
    };
    geometry.blocks(piece).map(fill).collect()
}
