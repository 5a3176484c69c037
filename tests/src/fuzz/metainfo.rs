//! Torrent files, as they are uploaded to the tracker and given to the daemon.

use std::collections::HashSet;

use sha1::{Digest, Sha1};
use torrent_common::bencode::{Limits, scan};
use torrent_common::metainfo::magnet::magnet_link;
use torrent_common::metainfo::paths::MAX_PATH_LEN;
use torrent_common::metainfo::trackers::MAX_ADDRESSES;
use torrent_common::metainfo::{Metainfo, MetainfoLimits};

/// The input is the file.
pub fn metainfo(input: &[u8]) {
    let limits = MetainfoLimits { max_len: 1 << 20, max_files: 100, block_len: 1 << 14 };
    let metainfo = match Metainfo::parse(input, &limits) {
        Ok(metainfo) => metainfo,
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 4096 && !told.contains('\n'), "{told}");
            return;
        }
    };
    is_named_by_its_own_bytes(input, &metainfo);
    adds_up(&metainfo, &limits);
    stays_below_its_folder(&metainfo);
    assert!(metainfo.name.len() <= 1024);
    assert!(metainfo.trackers.iter().flatten().count() <= MAX_ADDRESSES);
    let magnet = magnet_link(&metainfo);
    assert!(magnet.is_ascii() && magnet.contains(&metainfo.info_hash.to_string()), "{magnet}");
}

fn is_named_by_its_own_bytes(input: &[u8], metainfo: &Metainfo) {
    let document = scan(input, &Limits::for_len(input.len())).unwrap();
    let info = document.root.get(b"info").unwrap();
    assert_eq!(metainfo.info_hash.as_bytes()[..], Sha1::digest(info.raw())[..]);
}

fn adds_up(metainfo: &Metainfo, limits: &MetainfoLimits) {
    let geometry = &metainfo.geometry;
    assert_eq!(metainfo.piece_hashes.len(), geometry.piece_count() as usize * 20);
    assert!((1..=limits.max_files).contains(&metainfo.files.len()));
    assert!(metainfo.payload_files().next().is_some());
    let mut end = 0;
    for file in &metainfo.files {
        assert_eq!(file.offset, end);
        end += file.len;
    }
    assert_eq!(end, metainfo.total_len());
    let last = geometry.pieces().next_back().unwrap();
    assert_eq!(geometry.offset(last) + u64::from(geometry.piece_len(last)), end);
}

/// Promise 4: no path leads outside, and no two files are one.
fn stays_below_its_folder(metainfo: &Metainfo) {
    let mut seen = HashSet::new();
    for file in metainfo.payload_files() {
        let given = file.given.as_ref().map(ToString::to_string);
        for path in [Some(file.path.to_string()), given].into_iter().flatten() {
            assert!(path.len() <= MAX_PATH_LEN && !path.starts_with('/') && !path.contains('\0'), "{path:?}");
            for component in path.split('/') {
                assert!(!["", ".", ".."].contains(&component) && component.len() <= 255, "{path:?}");
            }
        }
        let path = file.path.to_string();
        assert!(!path.contains(['\\', ':', '*', '?', '"', '<', '>', '|']), "{path:?}: not on every system");
        assert!(seen.insert(path.clone()), "{path:?} twice");
    }
}
