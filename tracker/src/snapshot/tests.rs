//! Swarms saved and loaded, and files that are damaged.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use torrent_common::ids::InfoHash;

use super::read::read;
use super::*;
use crate::swarm::pace::{Pace, PaceLimits};
use crate::swarm::{Action, Limits, PeerImage, Role, SwarmImage, Visit};

/// Peers are remembered for 330 seconds.
fn store() -> Swarms {
    let limits = PaceLimits { interval_s: 120, max_interval_s: 120, min_interval_s: 0, max_rate: 0 };
    Swarms::new(Pace::new(limits), Limits::default(), &mut fastrand::Rng::with_seed(5))
}

fn filled() -> Swarms {
    let swarms = store();
    let mut random = fastrand::Rng::with_seed(6);
    for n in 0..200_u8 {
        let address: SocketAddr = match n % 3 {
            0 => (Ipv6Addr::from([n; 16]), 6881).into(),
            _ => ([10, 0, 0, n], 6881).into(),
        };
        let visit = Visit {
            info_hash: InfoHash::new([n % 40; 20]),
            address,
            role: Role::ALL[usize::from(n % 2 + n % 5 / 4)],
            action: if n % 4 == 0 { Action::Complete } else { Action::Stay },
            wanted: 0,
            family: None,
        };
        swarms.announce(&visit, u32::from(n), &mut random, &mut Vec::new()).unwrap();
    }
    swarms
}

type Image = (InfoHash, u32, u32, Vec<(SocketAddr, u8, u32)>);

/// Everything, sorted.
fn image(swarms: &Swarms, now_s: u32) -> Vec<Image> {
    let mut all = Vec::new();
    for part in 0..PARTS {
        swarms.each_of_part(part, now_s, |swarm, peers| {
            let mut peers: Vec<_> = peers.map(|peer| (peer.address, peer.role as u8, peer.left_s)).collect();
            peers.sort_unstable();
            all.push((swarm.info_hash, swarm.downloaded, swarm.quiet_s, peers));
        });
    }
    all.sort_unstable();
    all
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[test]
fn swarms_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/peers");
    let swarms = filled();
    save(&swarms, &path, 200, 1_000_000).unwrap();
    let restored = store();
    assert_eq!(load(&restored, &path, 3, 1_000_000, &mut Found::default()).unwrap(), Loaded::Whole);
    assert_eq!(image(&restored, 3), image(&swarms, 200));
    assert_eq!(leftovers(path.parent().unwrap()), ["peers"]);
}

#[test]
fn time_asleep_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    save(&filled(), &path, 200, 1_000_000).unwrap();
    let all = filled().totals().peers;
    for (asleep, expected) in [(0, all), (131, all - 1), (230, all - 100), (330, 0), (100_000_000_000, 0)] {
        let restored = store();
        load(&restored, &path, 0, 1_000_000 + asleep, &mut Found::default()).unwrap();
        assert_eq!(restored.totals().peers, expected, "asleep {asleep} s");
    }
    let restored = store();
    load(&restored, &path, 0, 5, &mut Found::default()).unwrap();
    assert_eq!(restored.totals().peers, all, "a clock set back");
}

#[test]
fn no_file_is_no_error_and_a_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        load(&store(), &folder.path().join("none"), 0, 0, &mut Found::default()).unwrap(),
        Loaded::None
    );
    let error = load(&store(), folder.path(), 0, 0, &mut Found::default()).unwrap_err().to_string();
    assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    let error = save(&store(), &folder.path().join("file/x"), 0, 0);
    error.unwrap();
}

#[test]
fn a_damaged_file_is_set_aside_and_what_was_whole_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    save(&filled(), &path, 200, 0).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let restored = store();
    assert_eq!(
        load(&restored, &path, 0, 0, &mut Found::default()).unwrap(),
        Loaded::Damaged(Some(folder.path().join("peers.bad")))
    );
    assert!(restored.totals().peers > 100);
    assert_eq!(fs::read(folder.path().join("peers.bad")).unwrap(), bytes);
    assert_eq!(load(&restored, &path, 0, 0, &mut Found::default()).unwrap(), Loaded::None);
}

#[test]
fn five_damaged_files_are_kept_and_the_first_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let names = ["", ".2", ".3", ".4", ".5"].map(|end| format!("peers.bad{end}"));
    for round in 1..=7 {
        fs::write(&path, format!("damaged {round}")).unwrap();
        let kept = names[round.min(5) - 1].clone();
        let loaded = load(&store(), &path, 0, 0, &mut Found::default()).unwrap();
        assert_eq!(loaded, Loaded::Damaged(Some(folder.path().join(kept))));
        assert_eq!(leftovers(folder.path()), names[..round.min(5)]);
    }
    let text = names.map(|name| fs::read_to_string(folder.path().join(name)).unwrap());
    assert_eq!(text, [1, 2, 3, 4, 7].map(|round| format!("damaged {round}")));
}

#[test]
fn unfinished_snapshots_are_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let at = |name: &str| folder.path().join(name);
    save(&filled(), &path, 200, 0).unwrap();
    let begun = fs::read(&path).unwrap();
    for name in [".peers-aB3xYz", ".peers-000000"] {
        fs::write(at(name), &begun[..100]).unwrap();
    }
    fs::write(at(".peers-empty0"), "").unwrap();
    let others =
        ["peers-aB3xYz", ".peers-", ".peers-aB3xY", ".peers-aB3xYzz", ".peers-aB3x.z", ".peers-aB3xYz.old"];
    for name in others {
        fs::write(at(name), &begun[..100]).unwrap();
    }
    fs::write(at(".peers-letter"), "of somebody").unwrap();
    fs::create_dir(at(".peers-folder")).unwrap();
    std::os::unix::fs::symlink(&path, at(".peers-linked")).unwrap();
    mknodat(CWD, at(".peers-thpipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    // Another tracker is about to finish it.
    let mut writing = begin(&path).unwrap();
    std::io::Write::write_all(&mut writing, &begun).unwrap();
    let writing_name = writing.path().file_name().unwrap().to_str().unwrap().to_owned();
    remove_leftovers(&path);
    let stay = [".peers-letter", ".peers-folder", ".peers-linked", ".peers-thpipe", "peers", &writing_name];
    let mut expected: Vec<_> = others.into_iter().chain(stay).collect();
    expected.sort_unstable();
    assert_eq!(leftovers(folder.path()), expected);
    drop(writing);
    remove_leftovers(Path::new("/nowhere/peers"));
}

/// A swarm of so many peers, in which `downloaded` have completed.
fn large(count: u32, downloaded: u32) -> Swarms {
    let swarms = store();
    let mut image = SwarmImage { info_hash: InfoHash::new([7; 20]), downloaded, quiet_s: 0 };
    let peers = (0..count).map(|n| PeerImage {
        address: match n % 10 {
            0 => (Ipv6Addr::from(u128::from(n)), 6881).into(),
            _ => (Ipv4Addr::from(n), 6881).into(),
        },
        role: Role::ALL[n as usize % 3],
        left_s: 1 + n % 300,
    });
    assert!(swarms.restore(&image, peers, 0));
    image.info_hash = InfoHash::new([8; 20]);
    let address = ([127, 0, 0, 1], 6881).into();
    swarms.restore(&image, std::iter::once(PeerImage { address, role: Role::Seeder, left_s: 5 }), 0);
    swarms
}

/// Where in a file each block's payload is.
fn blocks(file: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut at, mut blocks) = (16, Vec::new());
    loop {
        let len = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        if len == 0 {
            return blocks;
        }
        blocks.push(at + 24..at + 24 + len);
        at += 24 + len;
    }
}

/// The same with the pieces of a swarm put together, but for its downloads, which are added up.
fn together(pieces: Vec<Image>) -> Vec<Image> {
    let mut swarms: Vec<Image> = Vec::new();
    for (info_hash, downloaded, quiet_s, peers) in pieces {
        match swarms.last_mut().filter(|last| last.0 == info_hash) {
            Some(last) => {
                last.1 += downloaded;
                last.3.extend(peers);
            }
            None => swarms.push((info_hash, downloaded, quiet_s, peers)),
        }
    }
    swarms.iter_mut().for_each(|swarm| swarm.3.sort_unstable());
    swarms
}

#[test]
fn a_large_swarm_is_written_and_read_in_short_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let swarms = large(60_000, 1234);
    save(&swarms, &path, 0, 0).unwrap();
    let file = fs::read(&path).unwrap();
    let lens: Vec<_> = blocks(&file).into_iter().map(|block| block.len()).collect();
    assert!(lens.len() > 10 && lens.iter().all(|&len| len < BLOCK_LEN + 64), "{lens:?}");
    let (restored, mut found) = (store(), Found::default());
    assert_eq!(load(&restored, &path, 0, 0, &mut found).unwrap(), Loaded::Whole);
    assert!(found.has_loopback && found.retired.is_empty());
    assert_eq!(together(image(&restored, 0)), together(image(&swarms, 0)));
    assert_eq!(restored.scrape(&InfoHash::new([7; 20]), 0).downloaded, 1234);
    assert_eq!(restored.totals().peers, 60_001);
}

#[test]
fn a_swarm_longer_than_a_block_is_cut() {
    let swarm = SwarmImage { info_hash: InfoHash::new([7; 20]), downloaded: 5, quiet_s: 0 };
    let peer = |n: u32| PeerImage { address: (Ipv4Addr::from(n), 1).into(), role: Role::Leecher, left_s: 9 };
    let fit = u32::try_from((BLOCK_LEN - 32).div_ceil(11)).unwrap();
    for count in [0, 1, fit - 1, fit, fit + 1, 2 * fit, 20_000] {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, 0).unwrap();
        writer.push(&swarm, &mut (0..count).map(peer)).unwrap();
        writer.end().unwrap();
        assert!(blocks(&file).iter().all(|block| block.len() < BLOCK_LEN + 64));
        assert_eq!(blocks(&file).len(), count.div_ceil(fit) as usize);
        let (restored, mut found) = (store(), Found::default());
        assert!(read(&restored, &mut file.as_slice(), 0, 0, &mut found).unwrap(), "{count}");
        assert_eq!(restored.totals().peers, count as usize);
        assert_eq!(restored.scrape(&swarm.info_hash, 0).downloaded, if count == 0 { 0 } else { 5 });
        assert!(found.retired.is_empty());
    }
}

#[test]
fn of_a_damaged_file_one_block_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    save(&large(60_000, 0), &path, 0, 0).unwrap();
    let file = fs::read(&path).unwrap();
    for block in blocks(&file) {
        let mut damaged = file.clone();
        damaged[block.start + block.len() / 2] ^= 0x10;
        let restored = store();
        assert!(!read(&restored, &mut damaged.as_slice(), 0, 0, &mut Found::default()).unwrap());
        let lost = 60_001 - restored.totals().peers;
        assert!((1..=block.len() / 11).contains(&lost), "{lost} of {}", block.len());
    }
}

#[test]
fn version_2_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peers");
    let swarms = large(60_000, 5);
    save(&swarms, &path, 0, 0).unwrap();
    let new = fs::read(&path).unwrap();
    // All in one block.
    let payload: Vec<u8> = blocks(&new).into_iter().flat_map(|block| new[block].to_vec()).collect();
    let mut old =
        [MAGIC_2.as_slice(), &[0; 8], &u32::try_from(payload.len()).unwrap().to_le_bytes()].concat();
    old.extend_from_slice(InfoHash::of(&payload).as_bytes());
    old.extend_from_slice(&payload);
    old.extend_from_slice(&[0; 4]);
    let restored = store();
    assert!(read(&restored, &mut old.as_slice(), 0, 0, &mut Found::default()).unwrap());
    assert_eq!(together(image(&restored, 0)), together(image(&swarms, 0)));
    // Of a file of today, such a length is damage: it is not allocated.
    old[..8].copy_from_slice(MAGIC);
    assert!(!read(&store(), &mut old.as_slice(), 0, 0, &mut Found::default()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_on_disk_makes_it_panic(cut in 0_usize..4000, flips in prop::collection::vec((0_usize..4000, any::<u8>()), 0..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        save(&filled(), &path, 200, 0).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(cut);
        for (at, value) in flips {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        let whole = read(&store(), &mut bytes.as_slice(), 0, 0, &mut Found::default()).unwrap();
        prop_assert!(!whole || cut > bytes.len());
    }

    #[test]
    fn any_payload_with_a_right_checksum_is_survived(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&0_u64.to_le_bytes());
        file.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        file.extend_from_slice(InfoHash::of(&payload).as_bytes());
        file.extend_from_slice(&payload);
        read(&store(), &mut file.as_slice(), 0, 0, &mut Found::default()).unwrap();
    }
}
