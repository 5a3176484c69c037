//! Hashing: the SHA-1 of one piece and of two in memory, and torrents made of a file and of many in the page cache.
//! `cargo bench -p torrent-common --bench hash`
#![allow(clippy::unwrap_used, reason = "a benchmark's inputs are its own")]

use std::path::PathBuf;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use sha1::{Digest, Sha1};
use torrent_common::hash::{ReadOrder, sha1_pair};
use torrent_common::metainfo::MetainfoLimits;
use torrent_common::metainfo::create::{CreateOptions, Progress, create};

/// Bytes of a block, of a common piece, and of the longest piece that is chosen.
const LENGTHS: [usize; 3] = [16 << 10, 1 << 20, 16 << 20];
/// Bytes of the file that a torrent is made of: a run of pieces for every thread.
const FILE_LEN: usize = 64 << 20;

fn main() {
    divan::main();
}

/// Bytes that are not all the same.
fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(1).fill(&mut bytes);
    bytes
}

#[divan::bench(args = LENGTHS)]
fn one_piece(bencher: Bencher<'_, '_>, len: usize) {
    let piece = bytes(len);
    bencher.counter(BytesCount::new(len)).bench(|| Sha1::digest(black_box(&piece)));
}

/// Two pieces side by side, in blocks, as they are when they were downloaded.
#[divan::bench(args = LENGTHS)]
fn two_pieces(bencher: Bencher<'_, '_>, len: usize) {
    let piece = bytes(len);
    let blocks = || black_box(&piece).chunks(16 << 10);
    bencher.counter(BytesCount::new(2 * len)).bench(|| sha1_pair(blocks(), blocks()));
}

/// Reading and hashing on all cores, and all that is checked around it.
#[divan::bench(sample_count = 10)]
fn torrent_of_a_file(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("payload");
    std::fs::write(&input, bytes(FILE_LEN)).unwrap();
    let options = options(input, 1 << 20);
    bencher
        .counter(BytesCount::new(FILE_LEN))
        .bench_local(|| create(&options, &Progress::default()).unwrap().metainfo.info_hash);
}

/// Finding, opening and looking at small files, in a hundred folders.
#[divan::bench(args = [10_000, 100_000], sample_count = 10)]
fn torrent_of_small_files(bencher: Bencher<'_, '_>, files: usize) {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..files {
        let inner = folder.path().join(format!("folder {}", number % 100));
        if number < 100 {
            std::fs::create_dir(&inner).unwrap();
        }
        std::fs::write(inner.join(format!("{number:06}.txt")), bytes(100)).unwrap();
    }
    let options = options(folder.path().to_owned(), 1 << 18);
    bencher
        .counter(ItemsCount::new(files))
        .bench_local(|| create(&options, &Progress::default()).unwrap().metainfo.info_hash);
}

fn options(input: PathBuf, piece_len: u64) -> CreateOptions {
    CreateOptions {
        input,
        name: None,
        piece_len: Some(piece_len),
        private: false,
        trackers: Vec::new(),
        comment: None,
        creation_date_s: None,
        order: ReadOrder::Parallel,
        limits: MetainfoLimits::default(),
    }
}
