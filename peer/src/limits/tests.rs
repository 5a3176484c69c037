//! Connections on a virtual clock: what they are granted is what the limits say, and everybody gets a share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::{Allowance, Grant, Limiter};
use crate::torrent::event::PeerKey;
use crate::wake::Waker;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A connection that always has something to move: when it looks next, and what it moved.
struct Peer {
    allowance: Allowance,
    moved: u64,
    /// It moves so many bytes at the least once it may move any: it cannot stop within a block.
    block: u64,
}

struct World {
    start: Instant,
    now: Duration,
    peers: Vec<Peer>,
    /// Who looks when. At most one entry for each.
    agenda: BinaryHeap<Reverse<(Duration, usize)>>,
    /// What was moved when.
    log: Vec<(Duration, u64)>,
    wakes: u64,
    random: fastrand::Rng,
    /// How late threads wake at the most.
    lateness: Duration,
    waker: Waker,
}

impl World {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            now: Duration::ZERO,
            peers: Vec::new(),
            agenda: BinaryHeap::new(),
            log: Vec::new(),
            wakes: 0,
            random: fastrand::Rng::with_seed(7),
            lateness: Duration::from_millis(2),
            waker: Waker::new().unwrap(),
        }
    }

    fn add(&mut self, count: usize, limiters: &[Arc<Limiter>; 2]) {
        for _ in 0..count {
            let number = self.peers.len();
            let allowance = Allowance::new(limiters.clone(), PeerKey(number as u64), self.waker.clone());
            self.peers.push(Peer { allowance, moved: 0, block: 0 });
            self.agenda.push(Reverse((self.now, number)));
        }
    }

    /// Everybody looks again at once, as when a rate has changed.
    fn ring(&mut self) {
        self.agenda = (0..self.peers.len()).map(|number| Reverse((self.now, number))).collect();
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(&Reverse((at, number))) = self.agenda.peek()
            && at <= end
        {
            self.agenda.pop();
            self.now = self.now.max(at);
            self.wakes += 1;
            let now = self.start + self.now;
            let peer = &mut self.peers[number];
            let next = match peer.allowance.ask(now) {
                Grant::Free => panic!("no limit?"),
                Grant::Bytes(bytes) => {
                    // A turn's worth at the most, as a connection does.
                    let bytes = bytes.min(MIB).max(peer.block);
                    peer.allowance.spent(bytes);
                    peer.moved += bytes;
                    self.log.push((self.now, bytes));
                    self.now
                }
                Grant::Until(due) => {
                    let late = self.random.u64(0..=u64::try_from(self.lateness.as_nanos()).unwrap());
                    due.duration_since(self.start) + Duration::from_nanos(late)
                }
            };
            self.agenda.push(Reverse((next, number)));
        }
        self.now = end;
    }

    /// Bytes moved from `from` on for `time`.
    fn moved(&self, from: Duration, time: Duration) -> u64 {
        self.log.iter().filter(|(at, _)| (from..from + time).contains(at)).map(|(_, bytes)| bytes).sum()
    }
}

fn limited(rate: u64) -> Arc<Limiter> {
    let limiter = Arc::new(Limiter::default());
    limiter.set(rate, Instant::now());
    limiter
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[track_caller]
fn near(bytes: u64, expected: u64, percent: u64) {
    assert!(bytes.abs_diff(expected) * 100 <= expected * percent, "{bytes} bytes, not {expected}");
}

#[test]
fn every_five_seconds_are_within_three_percent_at_any_rate_and_number() {
    for rate in [KIB, 10 * KIB, 100 * KIB, MIB, 100 * MIB, 10 * GIB] {
        for count in [1, 2, 50, 200] {
            let mut world = World::new();
            world.add(count, &[limited(rate), Arc::default()]);
            world.run(secs(12));
            for begin in 0..7 {
                near(world.moved(secs(begin), secs(5)), rate * 5, 3);
            }
            // Smooth: no quarter of a second has twice its share.
            for quarter in 4..40 {
                let moved = world.moved(Duration::from_millis(quarter * 250), Duration::from_millis(250));
                assert!(moved <= rate / 2 + KIB, "{moved} bytes at {rate}, {count} connections");
            }
        }
    }
}

#[test]
fn everybody_gets_a_share_soon() {
    let mut world = World::new();
    world.add(200, &[limited(100 * KIB), Arc::default()]);
    world.run(secs(5));
    assert!(world.peers.iter().all(|peer| peer.moved > 0), "somebody starves");
    // Those who came first had longer parts.
    let before: Vec<u64> = world.peers.iter().map(|peer| peer.moved).collect();
    world.run(secs(60));
    for (peer, before) in world.peers.iter().zip(before) {
        near(peer.moved - before, 100 * KIB * 60 / 200, 5);
    }
}

#[test]
fn who_sends_more_than_it_may_gets_no_more_than_others_in_the_end() {
    for (rate, count, rude) in [(100 * KIB, 10, 1), (100 * KIB, 10, 5), (20 * KIB, 10, 1), (20 * KIB, 2, 1)] {
        let mut world = World::new();
        world.add(count, &[limited(rate), Arc::default()]);
        world.peers[..rude].iter_mut().for_each(|peer| peer.block = 16 * KIB);
        world.run(secs(100));
        let all: u64 = world.peers.iter().map(|peer| peer.moved).sum();
        near(all, rate * 100, 3);
        for (number, peer) in world.peers.iter().enumerate() {
            let share = peer.moved * 100 * count as u64 / all;
            assert!((85..115).contains(&share), "{number} of {count} at {rate}: {share} % of its share");
        }
    }
}

#[test]
fn who_owes_does_not_wait_for_others_that_have_gone() {
    for rate in [5 * KIB, 20 * KIB, 100 * KIB] {
        let mut world = World::new();
        world.add(10, &[limited(rate), Arc::default()]);
        world.peers[0].block = 16 * KIB;
        // Until it owes.
        while world.peers[0].moved < 16 * KIB {
            world.run(Duration::from_millis(10));
        }
        world.peers.truncate(1);
        world.agenda.retain(|Reverse((_, number))| *number == 0);
        let from = world.now;
        world.run(secs(60));
        near(world.moved(from, secs(60)), rate * 60, 10);
    }
}

#[test]
fn a_limit_costs_few_wake_ups() {
    for (count, most_a_second) in [(1, 40), (50, 150), (200, 450)] {
        let mut world = World::new();
        world.add(count, &[limited(2 * MIB), Arc::default()]);
        world.run(secs(10));
        assert!(world.wakes <= most_a_second * 10, "{} wake-ups of {count} connections", world.wakes);
    }
}

#[test]
fn the_lower_of_two_limits_holds_and_the_rest_is_for_others() {
    let all = limited(MIB);
    let slow = limited(100 * KIB);
    let mut world = World::new();
    world.add(5, &[slow, Arc::clone(&all)]);
    world.add(5, &[Arc::default(), all]);
    world.run(secs(10));
    let slow: u64 = world.peers[..5].iter().map(|peer| peer.moved).sum();
    let fast: u64 = world.peers[5..].iter().map(|peer| peer.moved).sum();
    near(slow, 1000 * KIB, 3);
    near(slow + fast, 10 * MIB, 3);
}

#[test]
fn a_changed_rate_holds_at_once_and_those_who_wait_are_rung() {
    let limiter = limited(10 * GIB);
    let mut world = World::new();
    world.add(20, &[Arc::clone(&limiter), Arc::default()]);
    world.run(secs(2));
    limiter.set(10 * KIB, world.start + world.now);
    let idle = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rung = world.waker.wait(idle.as_fd(), PollFlags::IN, Some(Instant::now())).unwrap().rung;
    assert!(rung, "those who waited sleep on");
    world.ring();
    world.run(secs(10));
    near(world.moved(secs(2), secs(5)), 50 * KIB, 3);
    limiter.set(5 * MIB, world.start + world.now);
    world.ring();
    world.run(secs(5));
    near(world.moved(secs(12), secs(5)), 25 * MIB, 3);
}

#[test]
fn without_a_limit_nothing_is_counted_and_nobody_waits() {
    let limiter = limited(KIB);
    let mut world = World::new();
    world.add(1, &[Arc::clone(&limiter), Arc::default()]);
    let now = world.start;
    let Grant::Until(_) = world.peers[0].allowance.ask(now) else { panic!("nothing has accrued yet") };
    assert_eq!(limiter.waiting(), 1);
    limiter.set(0, now);
    let allowance = &mut world.peers[0].allowance;
    assert_eq!(allowance.ask(now), Grant::Free);
    allowance.spent(100 * MIB);
    assert_eq!(limiter.waiting(), 0);
    limiter.set(MIB, now);
    let Grant::Until(due) = allowance.ask(now) else { panic!("nothing has accrued yet") };
    assert!(due <= now + Duration::from_millis(100), "it pays for what was free");
}

#[test]
fn what_is_not_used_is_given_back() {
    let limiter = limited(100 * KIB);
    let mut world = World::new();
    world.add(3, &[Arc::clone(&limiter), Arc::default()]);
    let now = world.start;
    for peer in &mut world.peers {
        assert!(matches!(peer.allowance.ask(now), Grant::Until(_)));
    }
    assert_eq!(limiter.waiting(), 3);
    // One hangs up, one has nothing to send any more: the third need wait for nobody once it asks anew.
    drop(world.peers.remove(0));
    world.peers[0].allowance.rest();
    world.peers[1].allowance.rest();
    assert_eq!(limiter.waiting(), 0);
    let Grant::Until(due) = world.peers[1].allowance.ask(now) else { panic!("nothing has accrued yet") };
    assert!(due <= now + Duration::from_millis(61), "{:?}", due - now);
}

#[test]
fn more_than_granted_is_made_up_for_by_whoever_moved_it() {
    let limiter = limited(100 * KIB);
    let mut world = World::new();
    world.add(2, &[Arc::clone(&limiter), Arc::default()]);
    let now = world.start;
    let Grant::Until(due) = world.peers[0].allowance.ask(now) else { panic!("nothing has accrued yet") };
    let Grant::Bytes(bytes) = world.peers[0].allowance.ask(due) else { panic!("it has waited") };
    world.peers[0].allowance.spent(bytes + 50 * KIB);
    let Grant::Until(next) = world.peers[1].allowance.ask(due) else { panic!("nothing is left") };
    assert!(next - due <= Duration::from_millis(70), "the other pays: {:?}", next - due);
    let Grant::Until(next) = world.peers[0].allowance.ask(due) else { panic!("nothing is left") };
    assert!(next - due >= Duration::from_millis(500), "nobody pays: {:?}", next - due);
}
