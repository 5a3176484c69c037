//! What a snapshot and a full scrape see of the swarms, and how a snapshot becomes swarms again. All of it in pieces: what
//! is shown is copied under the lock of a shard, some microseconds at a time, and shown without.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use torrent_common::announce::{ScrapeEntry, ScrapedTorrent};
use torrent_common::ids::InfoHash;

use super::address::Packed;
use super::door::Door;
use super::hash::hash;
use super::members::Members;
use super::shard::INDEX_PARTS;
use super::small::Small;
use super::tick::{Tick, is_past};
use super::{PeerImage, Role, SwarmImage, Swarms};

/// Small swarms copied under one lock.
const SHOWN_SWARMS: usize = 16;
/// Peers of a large one, about: those of a part more at the most.
const SHOWN_PEERS: usize = 512;

impl Swarms {
    /// Shows every swarm of part number `part` (below [`super::PARTS`]) with its living peers. A large one is shown in several
    /// pieces of some hundred to about two thousand peers, with its downloads in the first. No lock is held meanwhile:
    /// `show` may take its time.
    pub fn each_of_part(
        &self,
        part: usize,
        now_s: u32,
        mut show: impl FnMut(&SwarmImage, &mut dyn Iterator<Item = PeerImage>),
    ) {
        let now = self.ticks.at(now_s);
        let Some(door) = self.doors.get(part / INDEX_PARTS) else { return };
        let info_hashes = door.enter_last().part(part % INDEX_PARTS);
        let (mut small_ones, mut peers, mut large_ones) = (Vec::new(), Vec::new(), Vec::new());
        for some in info_hashes.chunks(SHOWN_SWARMS) {
            {
                let mut shard = door.enter_last();
                for info_hash in some {
                    let Some(at) = shard.find(hash(info_hash.as_bytes(), self.key), info_hash) else {
                        continue;
                    };
                    if shard.large_mut(at).is_some() {
                        large_ones.push(*info_hash);
                        continue;
                    }
                    let small = shard.small(at);
                    let before = peers.len();
                    self.copy_small(&small, now, &mut peers);
                    small_ones.push((self.image(&small, info_hash, now), peers.len() - before));
                }
            }
            let mut rest = peers.as_slice();
            for (image, count) in small_ones.drain(..).filter(|&(_, count)| count > 0) {
                show(&image, &mut rest.split_off(..count).unwrap_or_default().iter().copied());
            }
            peers.clear();
            for info_hash in large_ones.drain(..) {
                self.show_large(door, &info_hash, now, &mut peers, &mut show);
            }
        }
    }

    /// Shows the counts of every swarm of part number `part` (below [`super::PARTS`]).
    pub fn each_scraped(&self, part: usize, now_s: u32, mut show: impl FnMut(ScrapedTorrent)) {
        let Some(door) = self.doors.get(part / INDEX_PARTS) else { return };
        let info_hashes = door.enter_last().part(part % INDEX_PARTS);
        for info_hash in info_hashes {
            let (counts, downloaders) = self.scrape_with_downloaders(&info_hash, now_s);
            if counts.complete + counts.incomplete > 0 {
                show(ScrapedTorrent { info_hash, counts, downloaders });
            }
        }
    }

    /// Takes a swarm back from a snapshot, or a piece of one. Peers beyond the limits are left out. False if that left
    /// nobody: then there is no swarm, and its downloads are not counted here.
    pub fn restore(&self, image: &SwarmImage, peers: impl Iterator<Item = PeerImage>, now_s: u32) -> bool {
        let now = self.ticks.at(now_s);
        let hash = hash(image.info_hash.as_bytes(), self.key);
        let (number, mut shard) = self.shard_of(hash);
        let mut peers = peers.filter(|peer| peer.address.port() != 0).peekable();
        let until = |peer: &PeerImage| now.wrapping_add(self.ticks.span(peer.left_s));
        let has_room = || self.peers.load(Ordering::Relaxed) < self.limits.peers;
        let mut is_counted = shard.find(hash, &image.info_hash).is_none();
        if is_counted {
            if self.swarms.load(Ordering::Relaxed) >= self.limits.swarms {
                return false;
            }
            // Most swarms come in one piece and are small: packed once, not for each peer.
            let mut small = Small::new(image.info_hash, now);
            let room = self.limits.peers.saturating_sub(self.peers.load(Ordering::Relaxed));
            for _ in 0..room {
                let fits = |peer: &PeerImage| small.has_room_for(&Packed::new(peer.address), peer.role);
                let Some(peer) = peers.next_if(fits) else { break };
                small.insert(Packed::new(peer.address), peer.role, until(&peer), self.key);
            }
            if small.is_empty() {
                return false;
            }
            small.add_downloads(image.downloaded);
            small.set_quiet(self.ticks.span(image.quiet_s), now);
            self.swarms.fetch_add(1, Ordering::Relaxed);
            self.count(number, ScrapeEntry::default(), small.counts());
            shard.add(hash, &small);
        }
        while let Some(peer) = peers.next().filter(|_| has_room()) {
            let at = shard.find(hash, &image.info_hash);
            let address = Packed::new(peer.address);
            shard.with(hash, &image.info_hash, at, now, Some((&address, peer.role)), |swarm| {
                let before = swarm.counts();
                if !std::mem::replace(&mut is_counted, true) {
                    swarm.add_downloads(image.downloaded);
                    swarm.set_quiet(self.ticks.span(image.quiet_s), now);
                }
                swarm.insert(address, peer.role, until(&peer), self.key);
                self.count(number, before, swarm.counts());
            });
        }
        is_counted
    }

    /// `peers` is empty, and empty again then.
    fn show_large(
        &self,
        door: &Door,
        info_hash: &InfoHash,
        now: Tick,
        peers: &mut Vec<PeerImage>,
        show: &mut impl FnMut(&SwarmImage, &mut dyn Iterator<Item = PeerImage>),
    ) {
        let mut cursor = Some((0, 0));
        let mut is_shown = false;
        while cursor.is_some() {
            let image = {
                let mut shard = door.enter_last();
                let Some(at) = shard.find(hash(info_hash.as_bytes(), self.key), info_hash) else { return };
                if let Some(large) = shard.large_mut(at) {
                    while cursor.is_some() && peers.len() < SHOWN_PEERS {
                        large.show_part(&mut cursor, |peer, role, until| {
                            if !is_past(until, now) {
                                peers.push(self.peer_image(peer, role, until, now));
                            }
                        });
                    }
                    self.image(large, info_hash, now)
                } else {
                    // It has shrunk meanwhile. Some may be shown twice, which does no harm.
                    cursor = None;
                    let small = shard.small(at);
                    self.copy_small(&small, now, peers);
                    self.image(&small, info_hash, now)
                }
            };
            if !peers.is_empty() {
                let downloaded = if is_shown { 0 } else { image.downloaded };
                show(&SwarmImage { downloaded, ..image }, &mut peers.iter().copied());
                is_shown = true;
                peers.clear();
            }
        }
    }

    fn copy_small(&self, small: &Small, now: Tick, peers: &mut Vec<PeerImage>) {
        let living = small.iter().filter(|&(.., until)| !is_past(until, now));
        peers.extend(living.map(|(peer, role, until)| self.peer_image(peer.get(), role, until, now)));
    }

    fn peer_image(&self, address: SocketAddr, role: Role, until: Tick, now: Tick) -> PeerImage {
        PeerImage { address, role, left_s: self.ticks.seconds(until.wrapping_sub(now)) }
    }

    fn image(&self, swarm: &dyn Members, info_hash: &InfoHash, now: Tick) -> SwarmImage {
        SwarmImage {
            info_hash: *info_hash,
            downloaded: swarm.downloaded(),
            quiet_s: self.ticks.seconds(swarm.quiet(now)),
        }
    }
}
