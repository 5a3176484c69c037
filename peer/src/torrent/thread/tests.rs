//! A torrent's thread as a whole: it gives itself back when there is nothing to do, and its end counts what got to disk.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crossbeam_channel::{Sender, bounded};
use rustix::io::Errno;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::PieceIndex;

use super::super::core::CoreConfig;
use super::super::have::Have;
use super::super::saving::Record;
use super::super::stats::Stats;
use super::super::{Bans, Room};
use super::*;
use crate::connection::link::{ConnectionHandle, Timeouts, TorrentLink};
use crate::connection::registry::Connections;
use crate::control::api::TorrentState;
use crate::options::{Preallocation, TorrentOptions};
use crate::queue;
use crate::resume::{Details, Look, ResumeStore, Saved};
use crate::storage::backend::{Backend, Call, Watcher};
use crate::storage::blocks::BlockPool;
use crate::storage::cache::FileCache;
use crate::storage::disk::{DiskJob, DiskThreads, WriteJob};
use crate::storage::files::Storage;
use crate::storage::lossy::{Fault, LossyDisk};
use crate::storage::testing::{BLOCK_LEN, TestFile, blocks, torrent};
use crate::torrent::event::{CloseReason, Command, Direction, PeerEvent, PeerInfo};
use crate::torrent::hashing::Whole;
use crate::wake::Waker;

const PATIENCE: Duration = Duration::from_secs(20);

/// Ten pieces of 100 bytes in `folder`, all or none of them had; what the thread is sent, and what it tells the session.
fn ten_pieces(folder: &Path, complete: bool) -> (Active, queue::Receiver<Input>, Receiver<Notice>) {
    ten_pieces_on(Backend::default(), folder, complete)
}

fn ten_pieces_on(
    backend: Backend,
    folder: &Path,
    complete: bool,
) -> (Active, queue::Receiver<Input>, Receiver<Notice>) {
    let metainfo = torrent("t", &TestFile::list(&[("", 1000)]), 100, None);
    let store = ResumeStore::open(&folder.join("state")).unwrap();
    let storage = Storage::new(Arc::clone(&metainfo), folder, None, FileCache::on(backend, 2)).unwrap();
    let details = Details {
        name: "t".into(),
        total_len: 1000,
        piece_count: 10,
        private: false,
        output: folder.into(),
        root: None,
        downloaded: 0,
        uploaded: 0,
        paused: false,
        finished: false,
        made: false,
        added_ns: 0,
        completed_s: None,
        wanted: None,
        options: TorrentOptions::default(),
    };
    let saved = Saved::new(metainfo.info_hash, details.clone(), SystemTime::now());
    let geometry = metainfo.geometry;
    let had = if complete { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
    let state = if complete { TorrentState::Seeding } else { TorrentState::Downloading };
    let bytes_had = if complete { 1000 } else { 0 };
    let mut look = Look::take(&store, saved, &storage).unwrap();
    look.accept(&had, &geometry);
    let (journal, _) = look.settle(&store, &storage, Preallocation::Sparse, SystemTime::now()).unwrap();
    let (inputs, receiver) = queue::bounded(4);
    let (notices, told) = bounded(4);
    let own_peer_id = PeerId::new([1; 20]);
    let active = Active {
        name: "t".into(),
        link: Arc::new(TorrentLink {
            info_hash: metainfo.info_hash,
            own_peer_id,
            geometry: metainfo.geometry,
            have: Arc::new(Have::new(metainfo.geometry, &had)),
            storage: Arc::clone(&storage),
            pool: BlockPool::new(BLOCK_LEN, 1000),
            inputs,
            timeouts: Timeouts { connect: PATIENCE, silence: PATIENCE, stall: PATIENCE },
            limits: crate::limits::TorrentLimits::default(),
        }),
        metainfo,
        core_config: CoreConfig::new(own_peer_id),
        options: Arc::default(),
        preallocation: Preallocation::Sparse,
        checkpoint_every: PATIENCE,
        stats: Arc::new(Stats::new(1000, state, had.count(), bytes_had)),
        record: Arc::new(Record { journal, storage, details }),
        room: Arc::new(Room {
            pool: BlockPool::new(BLOCK_LEN, 1000),
            disk: DiskThreads::start(1, 4).unwrap(),
            hashers: rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap(),
            checkers: rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap(),
            connections: Connections::new(4, 4),
            bans: Bans::default(),
            rates: Arc::default(),
        }),
        notify: Box::new(move |notice| notices.try_send(notice)),
        linger: Duration::from_millis(20),
    };
    (active, receiver, told)
}

#[test]
fn a_complete_torrent_that_hears_nothing_gives_its_thread_back() {
    let folder = tempfile::tempdir().unwrap();
    let (active, receiver, told) = ten_pieces(folder.path(), true);
    let (hash, inputs) = (active.link.info_hash, active.link.inputs.clone());
    std::thread::scope(|scope| {
        scope.spawn(move || run(active, &receiver));
        let notice = told.recv_timeout(PATIENCE);
        // Ended before anything is asserted: the scope waits for the thread.
        inputs.send(Input::Stop(None)).unwrap();
        assert_eq!(notice, Ok(Notice::Idle(hash)));
    });
}

#[test]
fn what_gets_to_disk_at_the_end_is_not_lacking_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (active, receiver, _told) = ten_pieces(folder.path(), false);
    let piece = active.link.geometry.piece(3).unwrap();
    let bytes = blocks(&active.metainfo, 3, &[7; 1000]);
    let mut runner = Runner::new(active);
    runner.saving.write(&runner.active, piece, bytes, Instant::now());
    runner.wind_down(&receiver, Some(Instant::now() + PATIENCE));
    let stats = &runner.active.stats;
    assert_eq!((stats.transfer.left.load(Ordering::Relaxed), stats.lacking()), (900, 900));
    assert_eq!(stats.wanted_if_not_all(), None, "the last checkpoint says that everything is wanted");
}

#[test]
fn a_piece_that_waits_to_be_hashed_beside_another_gets_to_disk_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (active, receiver, _told) = ten_pieces(folder.path(), false);
    let (metainfo, have, now) = (Arc::clone(&active.metainfo), Arc::clone(&active.link.have), Instant::now());
    let mut runner = Runner::new(active);
    for index in [3, 5] {
        let piece = metainfo.geometry.piece(index).unwrap();
        let blocks = blocks(&metainfo, index, &torrent_payload());
        runner.hashing.add(Whole { piece, blocks, compare: false }, true, now);
    }
    assert!(runner.hashing.next_wake().is_some(), "the second waits for a third");
    runner.wind_down(&receiver, Some(Instant::now() + PATIENCE));
    let had: Vec<_> = have.snapshot().iter(&metainfo.geometry).map(PieceIndex::get).collect();
    assert_eq!(had, [3, 5]);
}

fn stranger() -> PeerInfo {
    PeerInfo {
        address: ([10, 0, 0, 1], 1).into(),
        peer_id: PeerId::new([2; 20]),
        direction: Direction::Incoming,
        fast: true,
        hidden: false,
    }
}

#[test]
fn who_poisoned_another_torrent_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (active, _receiver, _told) = ten_pieces(folder.path(), false);
    let mut runner = Runner::new(active);
    let first = |runner: &mut Runner, key| {
        let (handle, commands) = ConnectionHandle::new(Waker::new().unwrap());
        runner.take(Input::Opened(PeerKey(key), stranger(), handle));
        commands.try_recv().ok()
    };
    assert_eq!(first(&mut runner, 1), None);
    runner.take(Input::Gone(PeerKey(1)));
    runner.active.room.bans.add(stranger().address, stranger().peer_id);
    assert_eq!(first(&mut runner, 2), Some(Command::Close(CloseReason::Banned)));
}

#[test]
fn what_does_not_get_to_disk_in_time_holds_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (active, receiver, _told) = ten_pieces(folder.path(), false);
    let (room, metainfo) = (Arc::clone(&active.room), Arc::clone(&active.metainfo));
    let (hold, held) = bounded::<()>(0);
    room.hashers.spawn(move || while held.recv().is_ok() {});
    let mut runner = Runner::new(active);
    let key = PeerKey(1);
    let (handle, commands) = ConnectionHandle::new(Waker::new().unwrap());
    runner.take(Input::Opened(key, stranger(), handle));
    runner.take(Input::Peer(key, PeerEvent::Bitfield(Bitfield::full(&metainfo.geometry))));
    runner.take(Input::Peer(key, PeerEvent::Unchoked));
    let asked = commands.try_iter().find_map(|command| match command {
        Command::Request(blocks) => Some(blocks),
        _ => None,
    });
    let piece = asked.unwrap()[0].piece();
    let bytes = blocks(&metainfo, piece.get(), &torrent_payload());
    let all = (0..).map_while(|block| metainfo.geometry.block(piece, block));
    runner.take(Input::Blocks(key, all.zip(bytes).collect()));
    assert!(runner.hashing.is_busy() && room.pool.reserved() > 100);
    runner.wind_down(&receiver, Some(Instant::now()));
    assert_eq!(room.pool.reserved(), 0);
    drop(hold);
}

/// Begins on a disk that fails at the given call after the start. Gives back what the torrent says, and what a start on the
/// mended disk finds without hashing, and with.
fn on_a_failing_disk(calls: u64) -> (String, u32, u32) {
    let folder = tempfile::tempdir().unwrap();
    let lossy = LossyDisk::new(folder.path());
    let (active, receiver, _told) = ten_pieces_on(lossy.backend(), folder.path(), false);
    let piece = active.link.geometry.piece(3).unwrap();
    let bytes = torrent_payload();
    let bytes = blocks(&active.metainfo, 3, &bytes);
    let (metainfo, hash) = (Arc::clone(&active.metainfo), active.link.info_hash);
    let mut runner = Runner::new(active);
    lossy.fail(Some(Fault { from: lossy.calls() + calls, errno: Errno::IO }));
    runner.saving.write(&runner.active, piece, bytes, Instant::now());
    let input = receiver.recv_timeout(PATIENCE).unwrap();
    let written = matches!(&input, Input::Written(_, Ok(())));
    if written {
        runner.saving.written();
        assert!(runner.saving.begin_last(&runner.active));
        let input = receiver.recv_timeout(PATIENCE).unwrap();
        runner.take(input);
    } else {
        let Input::Written(_, Err(error)) = input else { panic!("{input:?}") };
        runner.fail(&error, error.may_pass());
    }
    assert_eq!(runner.active.stats.state(), TorrentState::Error);
    assert!(matches!(runner.unsaid.front(), Some(Notice::Failed(of, _)) if *of == hash));
    let said = runner.active.stats.error().unwrap();
    // Nothing more is written, and no checkpoint is tried.
    runner.wind_down(&receiver, Some(Instant::now() + PATIENCE));
    drop(runner);
    lossy.fail(None);
    let store = ResumeStore::open(&folder.path().join("state")).unwrap();
    let saved = store.load(&hash).unwrap();
    let storage = Storage::new(metainfo, folder.path(), None, FileCache::new(2)).unwrap();
    let look = Look::take(&store, saved, &storage).unwrap();
    (said, look.had.count(), look.suspect.count())
}

fn torrent_payload() -> Vec<u8> {
    crate::storage::testing::payload(&TestFile::list(&[("", 1000)]))
}

#[test]
fn a_disk_that_fails_stops_the_torrent_with_a_word_and_what_it_wrote_is_hashed_again() {
    // The write itself, and then the flush of the checkpoint.
    let (said, had, _) = on_a_failing_disk(1);
    assert!(said.contains("/t: ") && said.contains("rror"), "{said}");
    assert_eq!(had, 0);
    let (said, had, suspect) = on_a_failing_disk(2);
    assert!(said.contains("rror"), "{said}");
    assert_eq!((had, suspect), (0, 1), "written, and nobody knows whether it is on the device");
}

/// A disk on which writes hang, from a moment on, until they may go on.
#[derive(Debug)]
struct Hanging {
    hangs: AtomicBool,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

impl Watcher for Hanging {
    fn before(&self, call: &Call<'_>) -> Result<usize, Errno> {
        if matches!(call, Call::Write { .. }) && self.hangs.load(Ordering::SeqCst) {
            self.reached.send(()).unwrap();
            let _ = self.go_on.recv();
        }
        Ok(usize::MAX)
    }
}

#[test]
fn a_thread_ends_after_its_last_write_however_long_the_disk_takes_unless_the_daemon_ends() {
    for daemon_ends in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let ((reached, has_reached), (go_on, may_go_on)) = (bounded(9), bounded::<()>(0));
        let disk = Arc::new(Hanging { hangs: AtomicBool::new(false), reached, go_on: may_go_on });
        let backend = Backend::watched(Arc::<Hanging>::clone(&disk));
        let (active, receiver, _told) = ten_pieces_on(backend, folder.path(), false);
        let (metainfo, have) = (Arc::clone(&active.metainfo), Arc::clone(&active.link.have));
        let inputs = active.link.inputs.clone();
        let mut runner = Runner::new(active);
        disk.hangs.store(true, Ordering::SeqCst);
        for index in 0..3 {
            let piece = metainfo.geometry.piece(index).unwrap();
            let bytes = blocks(&metainfo, index, &torrent_payload());
            runner.saving.write(&runner.active, piece, bytes, Instant::now());
        }
        std::thread::scope(|scope| {
            let runner = &mut runner;
            let winding = scope.spawn(move || runner.wind_down(&receiver, None));
            has_reached.recv_timeout(PATIENCE).unwrap();
            // More than wait for it in its queue: it takes them, and goes on waiting for the disk.
            let heard = (0..20).all(|_| inputs.send_timeout(Input::Stop(None), PATIENCE).is_ok());
            let waits = !winding.is_finished();
            let mut told = Ok(());
            if daemon_ends {
                told = inputs.send_timeout(Input::Stop(Some(Duration::ZERO)), PATIENCE);
                winding.join().unwrap();
                drop(go_on);
            } else {
                drop(go_on);
                winding.join().unwrap();
            }
            assert!(heard && waits && told.is_ok());
        });
        let there = have.snapshot().count();
        let bytes = std::fs::read(folder.path().join("t")).unwrap();
        let saved = runner.active.record.journal.saved().pieces_had();
        if daemon_ends {
            assert_eq!((there, saved), (0, 0));
        } else {
            assert_eq!((there, saved, &bytes[..300]), (3, 3, &torrent_payload()[..300]));
        }
    }
}

#[test]
fn what_found_no_room_in_the_disks_queue_gets_to_disk_at_the_end() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (active, receiver, _told) = ten_pieces(one.path(), false);
    let (busy, _others, _told) = ten_pieces(other.path(), false);
    let ((go_on, may_go_on), (started, has_started)) = (bounded::<()>(0), bounded(1));
    let job = |index| {
        let (may_go_on, started) = (may_go_on.clone(), started.clone());
        DiskJob::Write(WriteJob {
            storage: Arc::clone(&busy.record.storage),
            journal: Arc::clone(&busy.record.journal),
            piece: busy.link.geometry.piece(index).unwrap(),
            blocks: blocks(&busy.metainfo, index, &torrent_payload()),
            reply: Box::new(move |_| {
                let _ = started.try_send(());
                let _ = may_go_on.recv();
            }),
        })
    };
    // All of them another's.
    assert!(active.room.disk.try_submit(job(0)).is_ok());
    has_started.recv_timeout(PATIENCE).unwrap();
    assert!((1..10).any(|index| active.room.disk.try_submit(job(index)).is_err()));
    let (piece, have) = (active.link.geometry.piece(3).unwrap(), Arc::clone(&active.link.have));
    let bytes = blocks(&active.metainfo, 3, &torrent_payload());
    let mut runner = Runner::new(active);
    runner.saving.write(&runner.active, piece, bytes, Instant::now());
    assert!(runner.saving.is_busy() && receiver.is_empty());
    drop((go_on, may_go_on));
    runner.wind_down(&receiver, Some(Instant::now() + PATIENCE));
    assert!(have.snapshot().contains(piece));
}
