//! Torrent files for tests: made of real files, or by hand with something wrong in them.

use std::path::{Path, PathBuf};

use sha1::Digest;
use torrent_common::geometry::DEFAULT_BLOCK_LEN;
use torrent_common::hash::ReadOrder;
use torrent_common::metainfo::create::{CreateOptions, Progress, create};
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

use crate::bencode::{Bencode, dict, list};

/// Makes a torrent of `input` beside nothing else in `folder`, and reads it back.
///
/// # Panics
/// If that fails.
pub fn make(input: &Path, folder: &Path, piece_len: u64, tracker_url: &str) -> (PathBuf, Metainfo) {
    make_either(input, folder, piece_len, tracker_url, false)
}

/// The same for a private torrent (BEP 27): clients get its peers from the tracker alone.
///
/// # Panics
/// If that fails.
pub fn make_private(input: &Path, folder: &Path, piece_len: u64, tracker_url: &str) -> (PathBuf, Metainfo) {
    make_either(input, folder, piece_len, tracker_url, true)
}

fn make_either(
    input: &Path,
    folder: &Path,
    piece_len: u64,
    tracker_url: &str,
    private: bool,
) -> (PathBuf, Metainfo) {
    let options = CreateOptions {
        input: input.to_owned(),
        name: None,
        piece_len: Some(piece_len),
        private,
        trackers: vec![vec![tracker_url.to_owned()]],
        comment: None,
        creation_date_s: None,
        order: ReadOrder::Parallel,
        limits: MetainfoLimits::default(),
    };
    let created = create(&options, &Progress::default()).unwrap();
    let path = folder.join(format!("{}.torrent", created.metainfo.info_hash));
    std::fs::write(&path, &created.bytes).unwrap();
    (path, created.metainfo)
}

/// Reads a torrent file that is right.
///
/// # Panics
/// If it is not.
pub fn parse(bytes: &[u8]) -> Metainfo {
    let limits = MetainfoLimits { max_len: 64 << 20, max_files: 100_000, block_len: DEFAULT_BLOCK_LEN };
    Metainfo::parse(bytes, &limits).unwrap()
}

/// The payload of a torrent as one run of bytes. `folder` holds the torrent's file or folder.
///
/// # Panics
/// If a file is missing or of the wrong length.
pub fn payload(metainfo: &Metainfo, folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in &metainfo.files {
        let end = bytes.len() + usize::try_from(file.len).unwrap();
        if !file.padding {
            let path = file.path.components().fold(folder.to_owned(), |path, component| path.join(component));
            bytes.extend(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        } else {
            bytes.resize(end, 0);
        }
        assert_eq!(bytes.len(), end, "{}", file.path);
    }
    bytes
}

/// A right single-file torrent of 40,000 zeros in pieces of 32 KiB, as a starting point for wrong ones.
pub fn single_file(announce: &str) -> Bencode {
    let info = dict([
        ("length", 40_000.into()),
        ("name", "file.bin".into()),
        ("piece length", 32_768.into()),
        ("pieces", zero_pieces(&[32_768, 7_232]).into()),
    ]);
    dict([("announce", announce.into()), ("info", info)])
}

/// A right torrent of these files, given by their path components and lengths, all zeros, in pieces of 32 KiB.
pub fn multi_file(announce: &str, files: &[(&[&str], i64)]) -> Bencode {
    let total: i64 = files.iter().map(|(_, len)| len).sum();
    let entry = |(path, len): &(&[&str], i64)| {
        dict([("length", (*len).into()), ("path", list(path.iter().copied()))])
    };
    let whole = usize::try_from(total / 32_768).unwrap();
    let rest = usize::try_from(total % 32_768).unwrap();
    let mut lens = vec![32_768; whole];
    lens.extend((rest > 0).then_some(rest));
    let info = dict([
        ("files", Bencode::List(files.iter().map(entry).collect())),
        ("name", "folder".into()),
        ("piece length", 32_768.into()),
        ("pieces", zero_pieces(&lens).into()),
    ]);
    dict([("announce", announce.into()), ("info", info)])
}

fn zero_pieces(lens: &[usize]) -> Vec<u8> {
    lens.iter().flat_map(|&len| <[u8; 20]>::from(sha1::Sha1::digest(vec![0; len]))).collect()
}
