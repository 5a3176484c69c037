//! Against the `sha1` crate: every length around the borders of blocks, every cut, both ways of hashing.

use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;

fn alone(message: &[u8]) -> [u8; 20] {
    Sha1::digest(message).into()
}

/// Bytes that do not repeat with the length of a block.
fn message(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251).to_le_bytes()[0] ^ seed).collect()
}

/// The ways there are on this machine.
fn ways() -> [Pair; 2] {
    [Pair::new(), Pair::apart()]
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_processor_with_sha_instructions_uses_them() {
    assert_eq!(together::Together::new().is_some(), is_x86_feature_detected!("sha"));
    assert_eq!(format!("{:?}", Pair::new()).contains("Together"), is_x86_feature_detected!("sha"));
    assert!(format!("{:?}", Pair::apart()).contains("Apart"));
}

#[test]
fn every_length_around_a_block_is_padded_rightly() {
    for pair in ways() {
        for len_a in 0..=260 {
            let (a, b) = (message(len_a, 1), message(260 - len_a, 2));
            let mut pair = pair.clone();
            pair.update(&a, &b);
            assert_eq!(pair.finish(Lane::B), alone(&b), "{}", b.len());
            assert_eq!(pair.finish(Lane::A), alone(&a), "{len_a}");
        }
    }
}

#[test]
fn a_finished_lane_begins_anew_and_the_other_goes_on() {
    for mut pair in ways() {
        let (long, short) = (message(1000, 3), message(77, 4));
        pair.update(&long[..100], &short);
        assert_eq!(pair.finish(Lane::B), alone(&short));
        pair.update(&long[100..], &short[..70]);
        pair.update(&[], &short[70..]);
        assert_eq!(pair.finish(Lane::A), alone(&long));
        assert_eq!(pair.finish(Lane::A), alone(&[]));
        assert_eq!(pair.finish(Lane::B), alone(&short));
    }
}

#[test]
fn parts_of_both_messages_may_be_cut_anywhere() {
    let (a, b) = (message(40_000, 5), message(16_421, 6));
    for (cut_a, cut_b) in [(16_384, 16_384), (1, 64), (63, 16_384), (1000, 3), (65, 65)] {
        assert_eq!(sha1_pair(a.chunks(cut_a), b.chunks(cut_b)), (alone(&a), alone(&b)), "{cut_a} {cut_b}");
    }
    assert_eq!(sha1_pair([], [&b[..]]), (alone(&[]), alone(&b)));
    assert_eq!(sha1_pair([&a[..7], &[], &a[7..]], [&[][..]]), (alone(&a), alone(&[])));
}

proptest! {
    #[test]
    fn hashing_side_by_side_is_hashing(
        parts in proptest::collection::vec((0_usize..300, 0_usize..300), 0..12),
    ) {
        for mut pair in ways() {
            let (mut whole_a, mut whole_b) = (Vec::new(), Vec::new());
            for (seed, &(len_a, len_b)) in (0..).zip(&parts) {
                let (a, b) = (message(len_a, seed), message(len_b, !seed));
                pair.update(&a, &b);
                whole_a.extend(a);
                whole_b.extend(b);
            }
            prop_assert_eq!(pair.finish(Lane::A), alone(&whole_a));
            prop_assert_eq!(pair.finish(Lane::B), alone(&whole_b));
        }
    }
}

/// Messages in memory, given out in parts of odd lengths.
struct Listed<'a> {
    messages: &'a [Vec<u8>],
    /// Of the message that is read: its number, and where in it.
    at: (usize, usize),
    part_len: usize,
    digests: Vec<[u8; 20]>,
}

impl Messages for Listed<'_> {
    type Error = &'static str;

    fn read(&mut self, buffer: &mut [u8]) -> Result<Part, Self::Error> {
        let Some(message) = self.messages.get(self.at.0) else { return Ok(Part::Done) };
        if message.first() == Some(&0xff) {
            return Err("unreadable");
        }
        let part = &message[self.at.1..];
        if part.is_empty() {
            self.at = (self.at.0 + 1, 0);
            return Ok(Part::End);
        }
        let part = &part[..part.len().min(self.part_len).min(buffer.len())];
        buffer[..part.len()].copy_from_slice(part);
        self.at.1 += part.len();
        Ok(Part::Bytes(part.len()))
    }

    fn digest(&mut self, digest: [u8; 20]) {
        self.digests.push(digest);
    }
}

fn listed(messages: &[Vec<u8>], part_len: usize) -> Listed<'_> {
    Listed { messages, at: (0, 0), part_len, digests: Vec::new() }
}

#[test]
fn two_runs_of_messages_are_hashed_to_their_ends() {
    let messages: Vec<Vec<u8>> = [0, 200_000, 1, 64, 70_000, 0].map(|len| message(len, 0)).into();
    let (few, many) = messages.split_at(2);
    let mut buffers = Buffers::default();
    for (few, many, part_len) in [(few, many, usize::MAX), (many, few, 1000), (&[], &messages[..], 64)] {
        let (mut a, mut b) = (listed(few, usize::MAX), listed(many, part_len));
        hash_side_by_side(&mut a, &mut b, &mut buffers).unwrap();
        assert_eq!(a.digests, few.iter().map(|message| alone(message)).collect::<Vec<_>>());
        assert_eq!(b.digests, many.iter().map(|message| alone(message)).collect::<Vec<_>>());
    }
}

#[test]
fn messages_read_in_order_are_hashed_to_their_ends() {
    let lens = [0, 200_000, 1, 64, 9 << 20, 70_000, 16 << 20, 8 << 20, 5];
    let messages: Vec<Vec<u8>> = lens.map(|len| message(len, 0)).into();
    for count in 0..=messages.len() {
        let mut run = listed(&messages[..count], 100_000);
        hash_in_order(&mut run).unwrap();
        let expected: Vec<_> = messages[..count].iter().map(|message| alone(message)).collect();
        assert_eq!(run.digests, expected);
    }
    assert_eq!(hash_in_order(&mut listed(&[message(9, 0), vec![0xff]], 4)), Err("unreadable"));
}

#[test]
fn runs_keep_both_lanes_and_all_threads_busy() {
    // 2 GiB in pieces of 1 MiB; ten pieces; two and one, so long that each thread takes one.
    let runs = [(2048, 1 << 20, 2), (10, 1 << 20, 2), (2, 64 << 20, 2), (1, 1, 2)];
    assert_eq!(runs.map(|(messages, len, threads)| messages_per_run(messages, len, threads)), [32, 2, 1, 1]);
    // Long pieces are taken by twos; no numbers break it.
    assert_eq!(messages_per_run(1000, 64 << 20, 2), 2);
    assert_eq!(messages_per_run(1_000_000, 16 << 10, 2), 2048);
    assert_eq!([messages_per_run(0, 0, 0), messages_per_run(usize::MAX, u64::MAX, 1)], [1, 2]);
}

#[test]
fn an_error_of_either_run_ends_both() {
    let (good, bad) = ([message(100, 0)], [message(100, 0), vec![0xff]]);
    let mut buffers = Buffers::default();
    let outcome = hash_side_by_side(&mut listed(&good, 10), &mut listed(&bad, 100), &mut buffers);
    assert_eq!(outcome, Err("unreadable"));
}
