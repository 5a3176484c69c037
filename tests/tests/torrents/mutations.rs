//! Right torrents, changed by chance: whatever comes of it is refused with a reason, or all that must hold of a torrent
//! holds (`tests/src/fuzz/metainfo.rs`), and memory stays where it was.
//!
//! `TORTURE_MUTATIONS=5000000` makes so many, `TORTURE_SEED=7` others; a failure says which one it was.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use torrent_common::metainfo::{Metainfo, MetainfoLimits};
use torrent_tests::bencode::{Bencode, dict, list};
use torrent_tests::fuzz::metainfo;
use torrent_tests::programs::workspace;
use torrent_tests::torrents::{multi_file, single_file};

/// What the process may grow by meanwhile. The longest of these torrents takes a few KiB.
const MAX_GROWTH_KIB: u64 = 32 << 10;
/// Numbers that are too small, too large, or just not so yet.
const NUMBERS: [&str; 14] = [
    "0",
    "1",
    "-1",
    "-0",
    "00",
    "19",
    "21",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
];
/// What has a meaning somewhere in a torrent.
const WORDS: [&str; 16] = [
    "d",
    "l",
    "e",
    "i1e",
    "de",
    "le",
    "0:",
    "1:.",
    "2:..",
    "4:a/.b",
    "4:attr1:l",
    "4:attr1:p",
    "9:file treed1:ad0:d6:lengthi1eeee",
    "5:filesle",
    "12:piece lengthi1e",
    "7:privatei1e",
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Right ones of every kind: those of real programs (the fuzz target's seeds), and a few with what these do not write.
fn right() -> Vec<Vec<u8>> {
    let seeds = workspace().join("tests/fuzz/seeds/metainfo").read_dir().unwrap();
    let mut all: Vec<_> = seeds.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    all.sort();
    let mut rich = multi_file("http://t/a", &[(&["a", "b"], 40_000), (&["c"], 0), (&["ü", "d"], 5)]);
    rich.set("announce-list", list([list(["http://t/a", "udp://t:1"]), list(["http://u/a"])]))
        .set("url-list", list(["http://w/"]))
        .set("nodes", list([list([Bencode::from("h"), 6881.into()])]))
        .set("comment", "a comment")
        .set("creation date", 1_700_000_000);
    all.push(rich.encode());
    all.push(single_file("udp://t:80/announce").encode());
    let padded = [
        dict([("length", 100.into()), ("path", list(["a"]))]),
        dict([("attr", "p".into()), ("length", 16_284.into()), ("path", list([".pad", "16284"]))]),
        dict([("attr", "l".into()), ("path", list(["b"])), ("symlink path", list(["a"]))]),
        dict([
            ("attr", "x".into()),
            ("length", 3.into()),
            ("path", list(["c"])),
            ("path.utf-8", list(["ć"])),
        ]),
    ];
    let info = dict([
        ("files", Bencode::List(padded.into())),
        ("name", "padded".into()),
        ("piece length", 16_384.into()),
        ("pieces", vec![b'x'; 40].into()),
        ("private", 1.into()),
    ]);
    all.push(dict([("info", info)]).encode());
    all
}

/// One to six changes, mostly few.
fn mutate(all: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut torrent = all[random.usize(..all.len())].clone();
    for _ in 0..random.usize(1..=6).min(random.usize(1..=6)) {
        if torrent.is_empty() {
            break;
        }
        let at = random.usize(..torrent.len());
        let to = (at + random.usize(..64)).min(torrent.len());
        match random.u32(..9) {
            0 => torrent[at] = random.u8(..),
            1 => torrent[at] ^= 1 << random.u32(..8),
            2 => torrent.insert(at, random.u8(..)),
            3 => drop(torrent.drain(at..to)),
            4 => torrent.truncate(at),
            5 => {
                let again = torrent[at..to].to_vec();
                torrent.splice(at..at, again);
            }
            6 => {
                let other = &all[random.usize(..all.len())];
                let from = random.usize(..other.len());
                let part = &other[from..(from + random.usize(..200)).min(other.len())];
                torrent.splice(at..to, part.iter().copied());
            }
            7 => replace_number(&mut torrent, at, random),
            _ => {
                let word = WORDS[random.usize(..WORDS.len())];
                torrent.splice(at..at, word.bytes());
            }
        }
    }
    torrent
}

/// Another number in place of the next one.
fn replace_number(torrent: &mut Vec<u8>, at: usize, random: &mut fastrand::Rng) {
    let Some(start) = torrent[at..].iter().position(u8::is_ascii_digit) else { return };
    let digits = torrent[at + start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.usize(..NUMBERS.len())];
    torrent.splice(at + start..at + start + digits, number.bytes());
}

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_thousand_mutated_torrents() {
    let (count, seed) = (number("TORTURE_MUTATIONS", 100_000), number("TORTURE_SEED", 1));
    let all = right();
    assert!(all.len() >= 8);
    let limits = MetainfoLimits::default();
    let mut accepted = 0;
    for torrent in &all {
        // v2 alone is refused, and of interest all the same.
        accepted += u64::from(Metainfo::parse(torrent, &limits).is_ok());
        metainfo(torrent);
    }
    assert!(accepted >= 7, "{accepted}");
    let (before_kib, mut accepted) = (peak_kib(), 0);
    for n in 0..count {
        let torrent = mutate(&all, &mut fastrand::Rng::with_seed(seed.wrapping_mul(1 << 32).wrapping_add(n)));
        accepted += u64::from(Metainfo::parse(&torrent, &limits).is_ok());
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| metainfo(&torrent))) {
            eprintln!("number {n} with TORTURE_SEED={seed}: {}", torrent.escape_ascii());
            resume_unwind(panic);
        }
    }
    let grown_kib = peak_kib() - before_kib;
    println!("{count} mutated torrents: {accepted} are torrents still; {grown_kib} KiB more than before");
    assert!(grown_kib <= MAX_GROWTH_KIB, "{grown_kib} KiB more");
    // Else the changes are too wild, or too tame, to find anything.
    assert!((count / 100..count / 2).contains(&accepted), "{accepted} of {count}");
}
