//! The swarms behind one lock: an index of all, the small ones packed in slabs, the large ones each by itself. A swarm is
//! unpacked for whoever works with it, packed again, and moves to the large ones when a block has no room for it.

use torrent_common::ids::InfoHash;

use super::Role;
use super::address::Packed;
use super::hash::hash;
use super::index::{Index, MAX_NUMBER, PART_BITS};
use super::large::Large;
use super::members::Members;
use super::slabs::{Block, Slabs, UNIT};
use super::small::{MAX_LEN, Small};
use super::tick::Tick;

/// Parts of a shard's index, each with some of its swarms.
pub(super) const INDEX_PARTS: usize = 1 << PART_BITS;

/// What the index calls the class of large swarms: no block is so short.
const LARGE: u8 = 1;
const CLASSES: usize = MAX_LEN / UNIT + 1;

/// A large swarm becomes a small one when its block would have no more than so many bytes.
const SHRUNK_LEN: usize = MAX_LEN * 3 / 4;

/// The swarms behind one lock.
pub(super) struct Shard {
    /// See [`hash`].
    key: u64,
    index: Index,
    slabs: Slabs<CLASSES>,
    /// In no order: the last one takes the place of one that goes.
    #[expect(clippy::vec_box, reason = "the list grows without moving them")]
    large: Vec<Box<Large>>,
}

impl Shard {
    /// Without swarms. All shards have the same `key`.
    pub(super) fn new(key: u64) -> Self {
        Self { key, index: Index::new(), slabs: Slabs::new(), large: Vec::new() }
    }

    /// Where a swarm is, by its info-hash and the keyed hash of that.
    pub(super) fn find(&self, hash: u64, info_hash: &InfoHash) -> Option<Block> {
        self.index.find(hash, |block| self.info_hash_of(block) == *info_hash)
    }

    /// Works with the swarm found at `at`, or with a new one. With `newcomer` there is room for that one.
    pub(super) fn with<R>(
        &mut self,
        hash: u64,
        info_hash: &InfoHash,
        at: Option<Block>,
        now: Tick,
        newcomer: Option<(&Packed, Role)>,
        work: impl FnOnce(&mut dyn Members) -> R,
    ) -> R {
        let Some(block) = at else {
            let mut small = Small::new(*info_hash, now);
            let result = work(&mut small);
            self.add(hash, &small);
            return result;
        };
        if let Some(large) = self.large_mut(block) {
            return work(large);
        }
        let mut small = self.small(block);
        let has_room = |small: &Small| newcomer.is_none_or(|(peer, role)| small.has_room_for(peer, role));
        if !has_room(&small) && !newcomer.is_some_and(|(peer, _)| small.contains(peer, self.key)) {
            let mut large = self.enlarged(&small);
            let result = work(&mut *large);
            self.remove(hash, block);
            self.add_large(hash, large);
            return result;
        }
        let result = work(&mut small);
        self.store(hash, block, &small);
        result
    }

    /// A copy of a small swarm.
    pub(super) fn small(&self, block: Block) -> Small {
        let mut bytes = [0; MAX_LEN];
        let bytes = bytes.get_mut(..usize::from(block.class) * UNIT).unwrap_or_default();
        self.slabs.read(block, bytes);
        Small::unpack(bytes)
    }

    /// The large swarm there, if it is one.
    pub(super) fn large_mut(&mut self, block: Block) -> Option<&mut Large> {
        (block.class == LARGE).then(|| self.large.get_mut(block.number as usize).map(|large| &mut **large))?
    }

    /// Puts a small swarm back.
    pub(super) fn store(&mut self, hash: u64, block: Block, small: &Small) {
        let mut bytes = [0; MAX_LEN];
        let len = small.pack(&mut bytes);
        let bytes = bytes.get(..len).unwrap_or_default();
        if len == usize::from(block.class) * UNIT {
            self.slabs.write(block, bytes);
            return;
        }
        let new = self.slabs.push(bytes);
        self.index.replace(hash, block, new);
        self.take_out(block);
    }

    /// Removes a swarm.
    pub(super) fn remove(&mut self, hash: u64, block: Block) {
        let Self { index, slabs, large, key } = self;
        index.remove(hash, block, |block| hash_of(slabs, large, block, *key));
        self.take_out(block);
    }

    /// Small swarms whose blocks have `class` units.
    pub(super) fn count_of(&self, class: u8) -> u32 {
        self.slabs.len(class)
    }

    /// The large swarms.
    pub(super) fn large(&self) -> &[Box<Large>] {
        &self.large
    }

    /// The info-hashes in one part of the index (below [`INDEX_PARTS`]).
    pub(super) fn part(&self, part: usize) -> Vec<InfoHash> {
        self.index.part_blocks(part).map(|block| self.info_hash_of(block)).collect()
    }

    /// Packs a large swarm that has become small.
    pub(super) fn shrink(&mut self, hash: u64, block: Block) {
        let key = self.key;
        let Some(large) = self.large_mut(block) else { return };
        let mut small = Small::new(*large.info_hash(), large.changed());
        small.add_downloads(large.downloaded());
        for (peer, role, until) in large.iter() {
            if !small.has_room_for(&peer, role) {
                return;
            }
            small.insert(peer, role, until, key);
        }
        if small.packed_len() <= SHRUNK_LEN {
            self.remove(hash, block);
            self.add(hash, &small);
        }
    }

    /// Whether a large swarm may have become small: see [`Shard::shrink`].
    pub(super) fn may_shrink(large: &Large) -> bool {
        let counts = large.counts();
        (counts.complete + counts.incomplete) as usize * 8 <= SHRUNK_LEN
    }

    fn enlarged(&self, small: &Small) -> Box<Large> {
        let mut large = Box::new(Large::new(*small.info_hash(), small.changed()));
        large.add_downloads(small.downloaded());
        for (peer, role, until) in small.iter() {
            large.insert(peer, role, until, self.key);
        }
        large
    }

    /// Adds a small swarm that is not there.
    pub(super) fn add(&mut self, hash: u64, small: &Small) {
        let mut bytes = [0; MAX_LEN];
        let len = small.pack(&mut bytes);
        let block = self.slabs.push(bytes.get(..len).unwrap_or_default());
        self.enter(hash, block);
    }

    fn add_large(&mut self, hash: u64, large: Box<Large>) {
        let number = u32::try_from(self.large.len()).unwrap_or(u32::MAX);
        if self.large.len() == self.large.capacity() {
            self.large.reserve_exact(self.large.len() / 8 + 1);
        }
        self.large.push(large);
        self.enter(hash, Block { class: LARGE, number });
    }

    fn enter(&mut self, hash: u64, block: Block) {
        debug_assert!(block.number < MAX_NUMBER, "the limit of swarms is below that");
        let Self { index, slabs, large, key } = self;
        index.insert(hash, block, |block| hash_of(slabs, large, block, *key));
    }

    /// Takes a block out that the index does not have any more, and tells it what moved into its place.
    fn take_out(&mut self, block: Block) {
        let moved = if block.class == LARGE {
            let number = block.number as usize;
            if number < self.large.len() {
                self.large.swap_remove(number);
                if self.large.len() * 4 < self.large.capacity() {
                    self.large.shrink_to(self.large.len() * 2);
                }
            }
            let last = u32::try_from(self.large.len()).unwrap_or(u32::MAX);
            (last != block.number).then_some(Block { number: last, ..block })
        } else {
            self.slabs.remove(block)
        };
        if let Some(moved) = moved {
            let hash = hash_of(&self.slabs, &self.large, block, self.key);
            self.index.replace(hash, moved, block);
        }
    }

    fn info_hash_of(&self, block: Block) -> InfoHash {
        info_hash_of(&self.slabs, &self.large, block)
    }
}

fn hash_of(slabs: &Slabs<CLASSES>, large: &[Box<Large>], block: Block, key: u64) -> u64 {
    hash(info_hash_of(slabs, large, block).as_bytes(), key)
}

fn info_hash_of(slabs: &Slabs<CLASSES>, large: &[Box<Large>], block: Block) -> InfoHash {
    if block.class == LARGE {
        return large.get(block.number as usize).map_or(InfoHash::new([0; 20]), |large| *large.info_hash());
    }
    let mut bytes = [0; 20];
    slabs.read(block, &mut bytes);
    Small::info_hash_of(&bytes)
}

/// The classes of small swarms' blocks.
pub(super) fn classes() -> std::ops::Range<u8> {
    LARGE + 1..u8::try_from(CLASSES).unwrap_or(u8::MAX)
}
