//! Connections between the nodes of a swarm: dialling, messages, payload.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::BlockRef;
use torrent_peer::torrent::event::{Command, Direction, Event, PeerEvent, PeerInfo, PeerKey};

use super::nature::Lie;
use super::world::{What, World, address};

/// A connection between two nodes. Both know it by the same key.
pub struct Link {
    pub ends: [usize; 2],
    pub open: bool,
    pub fast: bool,
    pub unchoked: [bool; 2],
    pub asked: [BTreeSet<BlockRef>; 2],
    /// When what is under way to each end will have arrived: nothing overtakes it.
    pub arrives: [Duration; 2],
    /// Number of the last message that each end heard.
    pub heard: [u64; 2],
}

impl World {
    /// When something that is sent to `node` now arrives there.
    fn arrival(&mut self, node: usize, key: PeerKey) -> Duration {
        let late = match self.jitter.as_micros() as u64 {
            0 => Duration::ZERO,
            most => Duration::from_micros(self.random.u64(..most)),
        };
        let end = self.end(node, key);
        let arrives = &mut self.links[key.0 as usize].arrives[end];
        *arrives = (*arrives).max(self.now + self.latency + late);
        *arrives
    }

    pub(super) fn tell(&mut self, node: usize, key: PeerKey, event: PeerEvent) {
        let when = self.arrival(node, key);
        self.at(when, node, What::Event(Event::Peer(key, event)));
    }

    /// Whether a connection passes on what its peer says.
    pub(super) fn hears(&mut self, node: usize, key: PeerKey, event: &PeerEvent) -> bool {
        let end = self.end(node, key);
        let link = &mut self.links[key.0 as usize];
        match event {
            _ if !link.open => return false,
            PeerEvent::Rejected(block) => return link.asked[end].remove(block),
            PeerEvent::Choked if !link.fast => link.asked[end].clear(),
            _ => {}
        }
        true
    }

    pub(super) fn command(&mut self, index: usize, key: PeerKey, command: Command) {
        let (other, end) = (self.other(index, key), self.end(index, key));
        let node = &mut self.nodes[index];
        if let Command::Request(blocks) = &command {
            // Also when the connection is over, and the core has not heard of it.
            blocks.iter().for_each(|block| _ = node.store.entry(block.piece()).or_default());
        }
        let link = &mut self.links[key.0 as usize];
        if !link.open {
            return;
        }
        match command {
            Command::Choke => {
                link.unchoked[end] = false;
                let dropped = node.queues.remove(&key).unwrap_or_default();
                let fast = link.fast;
                self.tell(other, key, PeerEvent::Choked);
                for block in dropped.into_iter().filter(|_| fast) {
                    self.tell(other, key, PeerEvent::Rejected(block));
                }
            }
            Command::Unchoke if node.nature.free_rides => {}
            Command::Unchoke => {
                link.unchoked[end] = true;
                self.tell(other, key, PeerEvent::Unchoked);
            }
            Command::Interested => self.tell(other, key, PeerEvent::Interested),
            Command::NotInterested => self.tell(other, key, PeerEvent::NotInterested),
            Command::Request(blocks) => {
                assert!(!blocks.is_empty() && blocks.len() <= 256);
                for &block in &blocks {
                    link.asked[end].insert(block);
                    assert!(!node.had.contains(block.piece()), "{block:?} asked for and had");
                }
                let when = self.arrival(other, key);
                self.at(when, other, What::Request(key, blocks));
            }
            Command::Show(pieces) => {
                pieces.into_iter().for_each(|piece| self.tell(other, key, PeerEvent::Have(piece)));
            }
            Command::ShowAll => {
                let all = node.had.iter(&self.geometry).collect::<Vec<_>>();
                all.into_iter().for_each(|piece| self.tell(other, key, PeerEvent::Have(piece)));
            }
            // Not sent: the worst case of a cancel that comes too late.
            Command::Cancel(_) if key.0.is_multiple_of(2) => {}
            Command::Cancel(blocks) => {
                let when = self.arrival(other, key);
                self.at(when, other, What::Cancel(key, blocks));
            }
            Command::Close(_) => unreachable!("handled by the caller"),
        }
    }

    pub(super) fn cancelled(&mut self, uploader: usize, key: PeerKey, blocks: &[BlockRef]) {
        if let Some(queue) = self.nodes[uploader].queues.get_mut(&key) {
            queue.retain(|block| !blocks.contains(block));
        }
    }

    pub(super) fn requested(&mut self, uploader: usize, key: PeerKey, block: BlockRef) {
        let end = self.end(uploader, key);
        let Link { open, fast, unchoked, .. } = self.links[key.0 as usize];
        if !open {
            return;
        }
        if !unchoked[end] {
            if fast {
                self.reject(uploader, key, block);
            }
            return;
        }
        match self.lie_about(uploader, block.piece()) {
            Some(Lie::Silence) => return,
            Some(Lie::Rejection) if fast => return self.reject(uploader, key, block),
            Some(Lie::Rejection) => return,
            Some(Lie::Garbage) => {}
            None => {
                let had = self.nodes[uploader].had.contains(block.piece());
                assert!(had, "{uploader} was asked for what it has not");
            }
        }
        self.nodes[uploader].queues.entry(key).or_default().push_back(block);
        self.upload(uploader);
    }

    fn reject(&mut self, uploader: usize, key: PeerKey, block: BlockRef) {
        let other = self.other(uploader, key);
        self.tell(other, key, PeerEvent::Rejected(block));
    }

    /// Begins to send the next block, if the uplink is free: the links take turns.
    fn upload(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        if node.busy || !node.present {
            return;
        }
        let waiting = |from: PeerKey| {
            node.queues.range(from..).find(|(_, queue)| !queue.is_empty()).map(|(&key, _)| key)
        };
        let Some(key) = waiting(PeerKey(node.last_served.0 + 1)).or_else(|| waiting(PeerKey(0))) else {
            return;
        };
        let block = node.queues.get_mut(&key).and_then(VecDeque::pop_front).unwrap();
        node.busy = true;
        node.last_served = key;
        let mut time = Duration::from_micros(u64::from(block.len()) * 1_000_000 / node.nature.upload);
        if let Some((from, to)) = node.nature.stalls
            && (from..to).contains(&now)
        {
            time += to - now;
            self.seen.stalls += 1;
        }
        self.after(time, index, What::Sent(key, block));
    }

    pub(super) fn sent(&mut self, index: usize, key: PeerKey, block: BlockRef) {
        let corrupts = self.nodes[index].nature.corrupts;
        let node = &mut self.nodes[index];
        node.busy = false;
        if self.links[key.0 as usize].open {
            node.uploaded += u64::from(block.len());
            let garbage = self.lie_about(index, block.piece()) == Some(Lie::Garbage);
            let corrupt = garbage || corrupts > 0 && self.random.u32(..corrupts) == 0;
            let other = self.other(index, key);
            let arrives = self.arrival(other, key);
            let taker = &mut self.nodes[other];
            let time = Duration::from_nanos(u64::from(block.len()) * 1_000_000_000 / taker.nature.download);
            taker.down_until = taker.down_until.max(self.now) + time;
            let arrives = arrives.max(taker.down_until + self.latency);
            let end = self.end(other, key);
            self.links[key.0 as usize].arrives[end] = arrives;
            self.at(arrives, other, What::Block(key, block, corrupt));
            self.event(index, Event::Peer(key, PeerEvent::Uploaded(block.len().into())));
        }
        let node = &self.nodes[index];
        if node.present && node.nature.leaves_after.is_some_and(|bytes| node.uploaded >= bytes) {
            self.leave(index);
        }
        self.upload(index);
    }

    pub(super) fn block(&mut self, index: usize, key: PeerKey, block: BlockRef, corrupt: bool) {
        let (end, other) = (self.end(index, key), self.other(index, key));
        let link = &mut self.links[key.0 as usize];
        if !link.open || !link.asked[end].remove(&block) {
            return;
        }
        let node = &mut self.nodes[index];
        assert!(!node.banned.contains(&other), "{index} listens to {other}, whom it banned");
        self.seen.corrupt_blocks += u64::from(corrupt);
        if node.core.wants(block) {
            node.store.entry(block.piece()).or_default().insert(block, (corrupt, other));
        } else {
            self.seen.late_blocks += 1;
        }
        self.event(index, Event::Peer(key, PeerEvent::Blocks(vec![block])));
    }

    pub(super) fn dial(&mut self, from: usize, to: SocketAddr) {
        assert!(self.nodes[from].told.contains(&to), "{from} dials {to}, which it has from no tracker");
        let Some(target) =
            (0..self.nodes.len()).find(|&node| address(node) == to && self.nodes[node].present)
        else {
            self.event(from, Event::DialFailed(to));
            return;
        };
        let key = PeerKey(self.links.len() as u64);
        let fast = self.nodes[from].nature.fast && self.nodes[target].nature.fast;
        let now = self.start + self.now;
        let (unchoked, asked) = ([false; 2], [BTreeSet::new(), BTreeSet::new()]);
        let arrives = [Duration::ZERO; 2];
        let ends = [from, target];
        self.links.push(Link { ends, open: true, fast, unchoked, asked, arrives, heard: [0; 2] });
        self.nodes[from].links.insert(key);
        self.nodes[target].links.insert(key);
        for (me, other, direction) in
            [(from, target, Direction::Outgoing), (target, from, Direction::Incoming)]
        {
            let mut address = address(other);
            if direction == Direction::Incoming {
                address.set_port(40_000);
            }
            let hidden = fast && self.nodes[me].core.hides(now);
            let bits = if hidden { Bitfield::empty(&self.geometry) } else { self.nodes[me].had.clone() };
            let info = PeerInfo { address, peer_id: self.nodes[other].id, direction, fast, hidden };
            self.tell(other, key, PeerEvent::Bitfield(bits));
            self.event(me, Event::Connected(key, info));
        }
    }

    /// Hangs up. Both ends hear of it.
    pub(super) fn close(&mut self, key: PeerKey) {
        let link = &mut self.links[key.0 as usize];
        if !std::mem::replace(&mut link.open, false) {
            return;
        }
        for node in link.ends {
            self.nodes[node].queues.remove(&key);
            self.nodes[node].links.remove(&key);
            self.after(self.latency, node, What::Event(Event::Gone(key)));
        }
    }

    pub(super) fn links_of(&self, node: usize) -> Vec<PeerKey> {
        self.nodes[node].links.iter().copied().collect()
    }

    pub(super) fn end(&self, node: usize, key: PeerKey) -> usize {
        usize::from(self.links[key.0 as usize].ends[0] != node)
    }

    pub(super) fn other(&self, node: usize, key: PeerKey) -> usize {
        self.links[key.0 as usize].ends[1 - self.end(node, key)]
    }
}
