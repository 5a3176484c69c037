//! The begun pieces: which of their blocks are free, asked for, or here, and from whom. Knows peers by key alone;
//! what each peer owes us in which order is in [`peers`](super::peers).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{BlockRef, Geometry, PieceIndex};

use super::event::PeerKey;

/// Peers that may be asked for one block at a time: in the endgame more than one is.
pub const MAX_ASKED: usize = 3;

/// How far a begun piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Blocks are missing.
    Receiving,
    /// All are here, and being hashed.
    Hashing,
    /// They are good, and being written.
    Writing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Free,
    /// At least one is asked, none twice.
    Asked([Option<PeerKey>; MAX_ASKED]),
    Received(PeerKey),
}

/// A piece whose blocks are being fetched, hashed or written.
#[derive(Debug)]
pub struct Begun {
    blocks: Vec<Block>,
    free: u32,
    /// No block before this one is free.
    first_free: usize,
    /// Blocks that are not here.
    missing: u32,
    /// Who fetches it: others go elsewhere while there is an elsewhere, so that most pieces have one sender.
    owner: Option<PeerKey>,
    /// Only the owner may be asked, until this time.
    alone_until: Option<Instant>,
    stage: Stage,
}

impl Begun {
    /// How far it is.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Until when only its owner may be asked for it.
    pub const fn alone_until(&self) -> Option<Instant> {
        self.alone_until
    }

    /// Who fetches it, if somebody does.
    pub const fn owner(&self) -> Option<PeerKey> {
        self.owner
    }

    /// Only this peer may be asked for it, and blocks are missing.
    pub fn is_left_alone_by(&self, key: PeerKey) -> bool {
        self.owner == Some(key) && self.alone_until.is_some() && self.stage == Stage::Receiving
    }

    /// The peer that fetches it alone took longer than it may.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.stage == Stage::Receiving && self.alone_until.is_some_and(|until| until <= now)
    }

    /// No block is here or asked for.
    pub const fn is_untouched(&self) -> bool {
        self.free as usize == self.blocks.len()
    }

    /// Blocks missing, all of them free: nobody is asked.
    fn stalled(&self) -> bool {
        self.stage == Stage::Receiving && self.free == self.missing
    }

    fn received(&self) -> usize {
        self.blocks.len() - self.missing as usize
    }
}

/// Which begun pieces a peer may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those that it fetches itself, then those that nobody fetches.
    Own,
    /// As [`Scope::Own`], but none to which another peer contributes.
    Alone,
    /// Those that others fetch, unless they must do it alone.
    Shared,
}

/// What an arrived block was.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Here already, or of no begun piece.
    Useless,
    /// The first of its kind.
    Counted {
        /// Others who were asked for it and need not send it.
        cancel: Vec<PeerKey>,
        /// It was the last one missing of its piece.
        complete: bool,
    },
}

/// All begun pieces.
#[derive(Debug)]
pub struct Requests {
    geometry: Geometry,
    begun: BTreeMap<PieceIndex, Begun>,
    /// Those with free blocks. Few: about one for each peer.
    with_free: BTreeSet<PieceIndex>,
}

impl Requests {
    /// None is begun.
    pub const fn new(geometry: Geometry) -> Self {
        Self { geometry, begun: BTreeMap::new(), with_free: BTreeSet::new() }
    }

    /// Number of begun pieces.
    pub fn len(&self) -> usize {
        self.begun.len()
    }

    /// No piece is begun.
    pub fn is_empty(&self) -> bool {
        self.begun.is_empty()
    }

    /// No begun piece has a free block.
    pub fn all_asked(&self) -> bool {
        self.with_free.is_empty()
    }

    /// The piece, if it is begun.
    pub fn get(&self, piece: PieceIndex) -> Option<&Begun> {
        self.begun.get(&piece)
    }

    /// The piece is begun and has free blocks.
    pub fn has_free(&self, piece: PieceIndex) -> bool {
        self.with_free.contains(&piece)
    }

    /// Every begun piece.
    pub fn iter(&self) -> impl Iterator<Item = (PieceIndex, &Begun)> {
        self.begun.iter().map(|(&piece, begun)| (piece, begun))
    }

    /// Begins a piece that is not begun.
    pub fn begin(&mut self, piece: PieceIndex, owner: PeerKey, alone_until: Option<Instant>) {
        let count = self.geometry.block_count(piece);
        let begun = Begun {
            blocks: vec![Block::Free; count as usize],
            free: count,
            first_free: 0,
            missing: count,
            owner: Some(owner),
            alone_until,
            stage: Stage::Receiving,
        };
        let old = self.begun.insert(piece, begun);
        debug_assert!(old.is_none(), "{piece:?} begun twice");
        self.with_free.insert(piece);
    }

    /// Begins the next stage of a piece; false if it is not in the stage before that.
    pub fn advance(&mut self, piece: PieceIndex, from: Stage, to: Stage) -> bool {
        match self.begun.get_mut(&piece) {
            Some(begun) if begun.stage == from => {
                begun.stage = to;
                true
            }
            _ => false,
        }
    }

    /// Gives the owner of a piece fetched alone more time.
    pub fn extend(&mut self, piece: PieceIndex, until: Instant) {
        if let Some(begun) = self.begun.get_mut(&piece) {
            begun.alone_until = Some(until);
        }
    }

    /// Forgets a piece. Who was still asked for which of its blocks.
    pub fn end(&mut self, piece: PieceIndex) -> Vec<(PeerKey, BlockRef)> {
        self.with_free.remove(&piece);
        let Some(begun) = self.begun.remove(&piece) else { return Vec::new() };
        let mut asked = Vec::new();
        for (block, state) in self.geometry.blocks(piece).zip(begun.blocks) {
            if let Block::Asked(keys) = state {
                asked.extend(keys.into_iter().flatten().map(|key| (key, block)));
            }
        }
        asked
    }

    /// A begun piece with free blocks for this peer, which has the pieces `has`.
    pub fn choose(
        &self,
        key: PeerKey,
        has: &Bitfield,
        scope: Scope,
        except: &[PieceIndex],
    ) -> Option<PieceIndex> {
        let rank = |begun: &Begun| {
            let own = begun.owner == Some(key);
            let ours = own || begun.owner.is_none();
            let fits = match scope {
                Scope::Own => ours,
                Scope::Alone => ours && (own && begun.alone_until.is_some() || begun.is_untouched()),
                Scope::Shared => !ours && begun.alone_until.is_none(),
            };
            // The one that is nearest to its end first.
            fits.then_some((own, begun.received()))
        };
        let pieces = self.with_free.iter().filter(|piece| has.contains(**piece) && !except.contains(piece));
        let ranked = pieces.filter_map(|piece| Some((rank(self.begun.get(piece)?)?, *piece)));
        ranked.max_by_key(|&(rank, _)| rank).map(|(_, piece)| piece)
    }

    /// Asks a peer for up to `limit` free blocks of a piece, in order, none of which `skip`s. It becomes the owner
    /// if there is none.
    pub fn ask(
        &mut self,
        piece: PieceIndex,
        key: PeerKey,
        alone_until: Option<Instant>,
        limit: usize,
        skip: impl Fn(BlockRef) -> bool,
        batch: &mut Vec<BlockRef>,
    ) {
        let Some(begun) = self.begun.get_mut(&piece) else { return };
        let before = batch.len();
        let (from, mut first_left) = (begun.first_free, None);
        for (index, block) in (0u32..).zip(begun.blocks.iter_mut()).skip(from) {
            if *block != Block::Free {
                continue;
            }
            let Some(reference) = self.geometry.block(piece, index) else { continue };
            if batch.len() - before >= limit || skip(reference) {
                first_left = first_left.or(Some(index as usize));
                if batch.len() - before >= limit {
                    break;
                }
                continue;
            }
            *block = Block::Asked([Some(key), None, None]);
            begun.free -= 1;
            batch.push(reference);
        }
        begun.first_free = first_left.unwrap_or(begun.blocks.len());
        if batch.len() > before && begun.owner.is_none() {
            begun.owner = Some(key);
        }
        if begun.owner == Some(key) && alone_until.is_some() {
            begun.alone_until = begun.alone_until.or(alone_until);
        }
        if begun.free == 0 {
            self.with_free.remove(&piece);
        }
    }

    /// Asks another peer for a block that was asked for already. False if it may not be, or was.
    pub fn ask_too(&mut self, block: BlockRef, key: PeerKey) -> bool {
        let Some(begun) = self.begun.get_mut(&block.piece()) else { return false };
        if begun.alone_until.is_some() {
            return false;
        }
        let Some(Block::Asked(keys)) = begun.blocks.get_mut(block.index() as usize) else { return false };
        if keys.contains(&Some(key)) {
            return false;
        }
        let room = keys.iter_mut().find(|slot| slot.is_none());
        room.map(|slot| *slot = Some(key)).is_some()
    }

    /// The block belongs to a begun piece and is not here.
    pub fn wants(&self, block: BlockRef) -> bool {
        let state = self.begun.get(&block.piece()).and_then(|begun| begun.blocks.get(block.index() as usize));
        matches!(state, Some(Block::Free | Block::Asked(_)))
    }

    /// How many peers are asked for this block.
    pub fn asked(&self, block: BlockRef) -> usize {
        match self.begun.get(&block.piece()).and_then(|begun| begun.blocks.get(block.index() as usize)) {
            Some(Block::Asked(keys)) => keys.iter().flatten().count(),
            _ => 0,
        }
    }

    /// This peer will not send the block, or not soon: it is free again unless another is asked for it too.
    pub fn give_back(&mut self, block: BlockRef, key: PeerKey) {
        let Some(begun) = self.begun.get_mut(&block.piece()) else { return };
        let Some(state) = begun.blocks.get_mut(block.index() as usize) else { return };
        let Block::Asked(keys) = state else { return };
        let Some(slot) = keys.iter_mut().find(|slot| **slot == Some(key)) else { return };
        *slot = None;
        if keys.iter().all(Option::is_none) {
            *state = Block::Free;
            begun.free += 1;
            begun.first_free = begun.first_free.min(block.index() as usize);
            self.with_free.insert(block.piece());
        }
        if begun.owner == Some(key) && begun.alone_until.is_none() {
            begun.owner = None;
        }
    }

    /// This peer fetches nothing for now: what it fetched is anybody's, but for pieces it must fetch alone.
    pub fn disown(&mut self, key: PeerKey) {
        for piece in &self.with_free {
            if let Some(begun) = self.begun.get_mut(piece)
                && begun.owner == Some(key)
                && begun.alone_until.is_none()
            {
                begun.owner = None;
            }
        }
    }

    /// A block came. Whether or not this peer was asked: the first of each block is the one that is kept.
    pub fn arrived(&mut self, block: BlockRef, from: PeerKey) -> Arrival {
        let piece = block.piece();
        let Some(begun) = self.begun.get_mut(&piece) else { return Arrival::Useless };
        let Some(state) = begun.blocks.get_mut(block.index() as usize) else { return Arrival::Useless };
        let cancel = match *state {
            Block::Received(_) => return Arrival::Useless,
            Block::Free => {
                begun.free -= 1;
                if begun.free == 0 {
                    self.with_free.remove(&piece);
                }
                Vec::new()
            }
            Block::Asked(keys) => keys.into_iter().flatten().filter(|&key| key != from).collect(),
        };
        *state = Block::Received(from);
        begun.missing -= 1;
        let complete = begun.missing == 0;
        if complete {
            begun.stage = Stage::Hashing;
        }
        Arrival::Counted { cancel, complete }
    }

    /// Who sent the blocks of a piece, each once.
    pub fn contributors(&self, piece: PieceIndex) -> BTreeSet<PeerKey> {
        self.senders(piece).flatten().collect()
    }

    /// Who sent each block of a piece, in order; `None` for those that are not here.
    pub fn senders(&self, piece: PieceIndex) -> impl Iterator<Item = Option<PeerKey>> {
        let blocks = self.begun.get(&piece).map(|begun| begun.blocks.as_slice()).unwrap_or_default();
        blocks.iter().map(|block| if let Block::Received(key) = block { Some(*key) } else { None })
    }

    /// Of the pieces that nobody is asked for and that `may` give way, the one with least to lose.
    pub fn stalled(&self, may: impl Fn(PieceIndex) -> bool) -> Option<PieceIndex> {
        let pieces = self.with_free.iter().filter(|piece| may(**piece));
        let stalled = pieces.filter_map(|piece| Some((self.begun.get(piece)?, *piece)));
        stalled
            .filter(|(begun, _)| begun.stalled())
            .min_by_key(|(begun, _)| begun.received())
            .map(|(_, piece)| piece)
    }

    /// Checks the books against each other, and each peer's against `owed`: (peer, block) for all that is asked.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self, owed: &BTreeSet<(PeerKey, BlockRef)>) {
        let mut asked = BTreeSet::new();
        for (&piece, begun) in &self.begun {
            let count = |want: fn(&Block) -> bool| begun.blocks.iter().filter(|block| want(block)).count();
            assert_eq!(begun.free as usize, count(|block| *block == Block::Free), "{piece:?}: free");
            assert_eq!(
                begun.missing as usize,
                count(|block| !matches!(block, Block::Received(_))),
                "{piece:?}: missing"
            );
            assert_eq!(begun.free > 0, self.with_free.contains(&piece), "{piece:?}: with_free");
            assert_eq!(begun.missing == 0, begun.stage != Stage::Receiving, "{piece:?}: stage");
            let first = begun.blocks.iter().position(|block| *block == Block::Free).unwrap_or(usize::MAX);
            assert!(begun.first_free <= first, "{piece:?}: first free");
            for (block, state) in self.geometry.blocks(piece).zip(&begun.blocks) {
                if let Block::Asked(keys) = state {
                    assert!(keys.iter().any(Option::is_some), "{block:?} asked of nobody");
                    for &key in keys.iter().flatten() {
                        assert!(asked.insert((key, block)), "{block:?} asked twice of {key:?}");
                    }
                }
            }
        }
        assert_eq!(&asked, owed, "asked for, and owed");
    }
}
