//! The picker with a million pieces and two hundred peers: what a torrent's thread spends on who has what.
//! `cargo bench -p torrent-peer --bench picker`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark's inputs are its own")]

use std::sync::{LazyLock, Mutex, MutexGuard};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::{DEFAULT_BLOCK_LEN, Geometry, PieceIndex};
use torrent_peer::torrent::picker::{Order, Picker};
use torrent_peer::torrent::selection::Selection;

const PIECES: u32 = 1_000_000;
const PEERS: u32 = 200;
/// Pieces that are begun, and announced by everybody, at a time.
const BATCH: u32 = 1000;

/// A swarm half way: the peers have from nothing to nearly everything. Made once, since that takes seconds.
static SWARM: LazyLock<Mutex<Swarm>> = LazyLock::new(|| Mutex::new(Swarm::new()));

fn main() {
    divan::main();
}

struct Swarm {
    geometry: Geometry,
    picker: Picker,
    peers: Vec<Bitfield>,
    random: fastrand::Rng,
}

impl Swarm {
    fn new() -> Self {
        let geometry =
            Geometry::new(u64::from(PIECES) << 14, u64::from(DEFAULT_BLOCK_LEN), DEFAULT_BLOCK_LEN).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let mut picker = Picker::new(geometry, &Bitfield::empty(&geometry), Selection::default());
        picker.shuffle(&mut random);
        let peers: Vec<_> =
            (0..PEERS).map(|peer| some(&geometry, f64::from(peer) / f64::from(PEERS), &mut random)).collect();
        for piece in peers.iter().flat_map(|have| have.iter(&geometry)) {
            picker.came(piece, &mut random);
        }
        Self { geometry, picker, peers, random }
    }

    fn get() -> MutexGuard<'static, Self> {
        SWARM.lock().unwrap()
    }

    /// A batch of pieces, any of them.
    fn batch(&mut self) -> Vec<PieceIndex> {
        (0..BATCH).map(|_| self.geometry.piece(self.random.u32(..PIECES)).unwrap()).collect()
    }
}

/// A peer that has this part of all pieces.
fn some(geometry: &Geometry, part: f64, random: &mut fastrand::Rng) -> Bitfield {
    let mut have = Bitfield::empty(geometry);
    geometry.pieces().filter(|_| random.f64() < part).for_each(|piece| {
        have.insert(piece);
    });
    have
}

/// Before any peer: the tables of a torrent that becomes active.
#[divan::bench(sample_count = 20)]
fn new_picker(bencher: Bencher<'_, '_>) {
    let swarm = Swarm::get();
    let (geometry, had) = (swarm.geometry, Bitfield::empty(&swarm.geometry));
    bencher
        .counter(ItemsCount::new(PIECES))
        .bench_local(|| Picker::new(geometry, black_box(&had), Selection::default()));
}

/// A peer with half of the pieces comes, and is gone again.
#[divan::bench(sample_count = 10)]
fn peer_comes_and_goes(bencher: Bencher<'_, '_>) {
    let mut guard = Swarm::get();
    let Swarm { geometry, picker, random, .. } = &mut *guard;
    let have = some(geometry, 0.5, random);
    bencher.counter(ItemsCount::new(have.count())).bench_local(|| {
        have.iter(geometry).for_each(|piece| picker.came(piece, random));
        have.iter(geometry).for_each(|piece| picker.went(piece, random));
    });
}

/// Every peer tells of the same new pieces. They are taken back outside what is measured.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn have_storm(bencher: Bencher<'_, '_>) {
    let swarm = std::cell::RefCell::new(Swarm::get());
    let last = std::cell::RefCell::new(Vec::new());
    bencher
        .counter(ItemsCount::new(BATCH * PEERS))
        .with_inputs(|| {
            let swarm = &mut **swarm.borrow_mut();
            for &piece in &last.take() {
                (0..PEERS).for_each(|_| swarm.picker.went(piece, &mut swarm.random));
            }
            let batch = swarm.batch();
            last.replace(batch.clone());
            batch
        })
        .bench_local_values(|batch| {
            let swarm = &mut **swarm.borrow_mut();
            for _ in 0..PEERS {
                batch.iter().for_each(|&piece| swarm.picker.came(piece, &mut swarm.random));
            }
        });
    let swarm = &mut **swarm.borrow_mut();
    for &piece in &last.take() {
        (0..PEERS).for_each(|_| swarm.picker.went(piece, &mut swarm.random));
    }
}

/// The next pieces for peers in turn are chosen and begun. They are opened again outside what is measured.
#[divan::bench(args = [Order::Rarest, Order::Random], sample_count = 20, sample_size = 1)]
fn pick_and_begin(bencher: Bencher<'_, '_>, order: Order) {
    let swarm = std::cell::RefCell::new(Swarm::get());
    let begun = std::cell::RefCell::new(Vec::new());
    let reopen = || {
        let swarm = &mut **swarm.borrow_mut();
        begun.take().into_iter().for_each(|piece| swarm.picker.reopen(piece, &mut swarm.random));
    };
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(reopen).bench_local_values(|()| {
        let Swarm { picker, peers, random, .. } = &mut **swarm.borrow_mut();
        // The first of them has nothing.
        for peer in peers.iter().skip(1).cycle().take(BATCH as usize) {
            let piece = picker.pick(peer, false, order, random).unwrap();
            picker.begin(piece);
            begun.borrow_mut().push(piece);
        }
    });
    reopen();
}

/// A peer that has one piece, and not a rare one: the worst case.
#[divan::bench(args = [Order::Rarest, Order::Random])]
fn pick_for_a_peer_with_little(bencher: Bencher<'_, '_>, order: Order) {
    let mut guard = Swarm::get();
    let Swarm { geometry, picker, random, .. } = &mut *guard;
    let mut have = Bitfield::empty(geometry);
    have.insert(geometry.piece(PIECES / 2).unwrap());
    bencher.bench_local(|| picker.pick(black_box(&have), false, order, random).unwrap());
}
