//! Where the swarms of a shard are: an open-addressing table of four bytes a swarm. An entry has six bits of the info-hash's
//! keyed hash, so that hardly a wrong block is looked at, and the place: class and number. It is made of many small tables,
//! each of which grows by itself: whoever brings the swarm for which one has no room waits for some hundred entries.

use super::slabs::Block;

/// Small tables: bits of the hash that choose one.
pub(super) const PART_BITS: u32 = 6;
/// Bits of the hash that have chosen the shard.
pub(super) const SHARD_BITS: u32 = 5;

const NUMBER_BITS: u32 = 20;
/// Blocks of one class, at the most.
pub(super) const MAX_NUMBER: u32 = 1 << NUMBER_BITS;

/// Smaller tables do not shrink.
const MIN_SHRUNK: usize = 32;

const FREE: u32 = 0;
/// Was an entry: those behind it are still to be found. No block has class 0.
const GONE: u32 = 1;

/// The entries of a shard.
pub(super) struct Index {
    parts: [Part; 1 << PART_BITS],
}

#[derive(Default)]
struct Part {
    entries: Box<[u32]>,
    /// Those in use and those gone.
    used: u32,
    len: u32,
}

fn entry(hash: u64, block: Block) -> u32 {
    (low(hash) & 63) << 26 | u32::from(block.class) << NUMBER_BITS | block.number
}

fn block(entry: u32) -> Block {
    let class = u8::try_from(entry >> NUMBER_BITS & 63).unwrap_or_default();
    Block { class, number: entry & (MAX_NUMBER - 1) }
}

/// The lowest bits.
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
}

impl Index {
    pub(super) fn new() -> Self {
        Self { parts: std::array::from_fn(|_| Part::default()) }
    }

    /// The block of hash `hash` that `is_it`.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Block) -> bool) -> Option<Block> {
        let part = self.part(hash)?;
        let tag = low(hash) & 63;
        part.probe(hash).map(|(_, entry)| entry).find_map(|entry| {
            let block = block(entry);
            (entry >> 26 == tag && block.class != 0 && is_it(block)).then_some(block)
        })
    }

    /// Enters a block. `hash_of` tells the hashes of others, which may have to move.
    pub(super) fn insert(&mut self, hash: u64, at: Block, hash_of: impl Fn(Block) -> u64) {
        let Some(part) = self.part_mut(hash) else { return };
        if (part.used as usize + 1) * 8 > part.entries.len() * 7 {
            part.rebuild(hash_of);
        }
        part.put(hash, entry(hash, at));
    }

    /// A block has moved.
    pub(super) fn replace(&mut self, hash: u64, from: Block, to: Block) {
        self.set(hash, from, entry(hash, to));
    }

    /// A block is gone. A part that has become nearly empty gives its memory back; `hash_of` tells the hashes of others.
    pub(super) fn remove(&mut self, hash: u64, at: Block, hash_of: impl Fn(Block) -> u64) {
        if self.set(hash, at, GONE)
            && let Some(part) = self.part_mut(hash)
        {
            part.len = part.len.saturating_sub(1);
            if part.len == 0 {
                *part = Part::default();
            } else if part.entries.len() > MIN_SHRUNK && part.len as usize * 4 < part.entries.len() {
                part.rebuild(hash_of);
            }
        }
    }

    /// The blocks in part number `part`.
    pub(super) fn part_blocks(&self, part: usize) -> impl Iterator<Item = Block> {
        let entries = self.parts.get(part).map(|part| &*part.entries).unwrap_or_default();
        entries.iter().map(|&entry| block(entry)).filter(|block| block.class != 0)
    }

    /// Writes over an entry. False if it is not there.
    fn set(&mut self, hash: u64, at: Block, new: u32) -> bool {
        let old = entry(hash, at);
        let Some(part) = self.part_mut(hash) else { return false };
        let Some(slot) = part.probe(hash).find(|&(_, entry)| entry == old).map(|(slot, _)| slot) else {
            debug_assert!(false, "every block is in the index");
            return false;
        };
        if let Some(entry) = part.entries.get_mut(slot) {
            *entry = new;
        }
        true
    }

    fn part(&self, hash: u64) -> Option<&Part> {
        self.parts.get(number(hash))
    }

    fn part_mut(&mut self, hash: u64) -> Option<&mut Part> {
        self.parts.get_mut(number(hash))
    }
}

/// The part that a hash belongs to: by the bits below those of the shard.
fn number(hash: u64) -> usize {
    usize::try_from(hash << SHARD_BITS >> (64 - PART_BITS)).unwrap_or_default()
}

impl Part {
    /// The entries that are to be looked at for `hash`, with their slots, up to the first free one.
    fn probe(&self, hash: u64) -> impl Iterator<Item = (usize, u32)> {
        let home = self.home(hash);
        let (wrapped, first) = self.entries.split_at_checked(home).unwrap_or_default();
        let first = first.iter().enumerate().map(move |(at, &entry)| (home + at, entry));
        let wrapped = wrapped.iter().enumerate().map(|(at, &entry)| (at, entry));
        first.chain(wrapped).take_while(|&(_, entry)| entry != FREE)
    }

    fn home(&self, hash: u64) -> usize {
        let scaled = u128::from(hash << (SHARD_BITS + PART_BITS)) * self.entries.len() as u128;
        usize::try_from(scaled >> 64).unwrap_or_default()
    }

    fn put(&mut self, hash: u64, new: u32) {
        let count = self.entries.len();
        let mut at = self.home(hash);
        for _ in 0..count {
            match self.entries.get_mut(at) {
                Some(entry) if *entry == FREE => {
                    *entry = new;
                    self.used += 1;
                    self.len += 1;
                    return;
                }
                _ => at = if at + 1 < count { at + 1 } else { 0 },
            }
        }
        debug_assert!(false, "no free entry: the table is grown before it is full");
    }

    /// Makes it as large as it has to be, and an eighth more, without those gone.
    fn rebuild(&mut self, hash_of: impl Fn(Block) -> u64) {
        let room = (self.len as usize + 1) * 9 / 7 + 2;
        let old = std::mem::replace(&mut self.entries, vec![FREE; room].into());
        (self.used, self.len) = (0, 0);
        for &entry in old.iter().filter(|&&entry| block(entry).class != 0) {
            self.put(hash_of(block(entry)), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hash::hash;
    use super::*;

    fn hash_of(block: Block) -> u64 {
        hash(&block.number.to_le_bytes(), 3)
    }

    #[test]
    fn what_a_flood_took_is_given_back() {
        let mut index = Index::new();
        let blocks = || (0..50_000).map(|number| Block { class: 4, number });
        let room = |index: &Index| index.parts.iter().map(|part| part.entries.len()).sum::<usize>();
        blocks().for_each(|block| index.insert(hash_of(block), block, hash_of));
        assert!((50_000..70_000).contains(&room(&index)), "{}", room(&index));
        blocks().skip(1000).for_each(|block| index.remove(hash_of(block), block, hash_of));
        assert!(room(&index) <= (1 << PART_BITS) * (MIN_SHRUNK + 32), "{}", room(&index));
        let found = |block: Block| index.find(hash_of(block), |other| other == block).is_some();
        assert!(blocks().take(1000).all(found) && !blocks().skip(1000).any(found));
    }
}
