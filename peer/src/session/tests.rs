//! The session as a whole, without peers and trackers, on a disk that hangs or fails as a test says.

use std::fs;
use std::path::Path;
use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::io::Errno;
use tempfile::TempDir;
use torrent_common::metainfo::Metainfo;

use super::adopt::NewTorrent;
use super::entry::Running;
use super::gate::Gate;
use super::request::{Answer, Reply};
use super::*;
use crate::connection::registry::Connections;
use crate::control::api::TorrentState;
use crate::control::engine::{Engine, Refusal};
use crate::options::{OptionsPatch, Priority};
use crate::resume::BootId;
use crate::settings::SettingsPatch;
use crate::storage::backend::{Backend, Call, Watcher};
use crate::storage::blocks::BlockPool;
use crate::storage::disk::DiskThreads;
use crate::storage::testing::{TestFile, torrent_file};
use crate::torrent::Notice;
use crate::torrent::bans::Bans;

const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of calls about the files named `sick`; or of those that keep what is known of a torrent.
#[derive(Debug, Default)]
struct Disk {
    way: Mutex<Way>,
    changed: Condvar,
    /// A call has begun to hang.
    hung: AtomicBool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Way {
    #[default]
    Well,
    Hangs,
    Panics,
    /// Keeps no file of this kind.
    Forgets(&'static str),
}

impl Disk {
    fn is(&self, way: Way) {
        *self.way.lock().unwrap() = way;
        self.changed.notify_all();
    }
}

impl Watcher for Disk {
    fn before(&self, call: &Call<'_>) -> Result<usize, Errno> {
        if let Call::Open { name, .. } | Call::Remove { name, .. } = call
            && *name == "sick"
        {
            let hangs = |way: &mut Way| {
                self.hung.fetch_or(*way == Way::Hangs, Ordering::SeqCst);
                *way == Way::Hangs
            };
            let way = self.changed.wait_while(self.way.lock().unwrap(), hangs).unwrap();
            let panics = *way == Way::Panics;
            drop(way);
            assert!(!panics, "on purpose");
        }
        if let Call::Rename { to, .. } = call
            && let Way::Forgets(kind) = *self.way.lock().unwrap()
            && to.extension().is_some_and(|of| of == kind)
        {
            return Err(Errno::NOSPC);
        }
        Ok(usize::MAX)
    }
}

/// A session in a folder.
struct World {
    folder: TempDir,
    disk: Arc<Disk>,
    /// There until it is stopped.
    running: Option<RunningSession>,
}

/// Also for a test that fails.
impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

impl World {
    fn new() -> Self {
        let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<Disk>::default());
        let backend = Backend::watched(Arc::clone(&disk) as Arc<dyn Watcher>);
        let threads = || rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let room = Room {
            pool: BlockPool::new(1 << 14, 1 << 20),
            disk: DiskThreads::start(1, 4).unwrap(),
            hashers: threads(),
            checkers: threads(),
            connections: Connections::new(4, 4),
            bans: Bans::default(),
            rates: Arc::default(),
        };
        let parts = SessionParts {
            config: PeerConfig::default(),
            room: Arc::new(room),
            store: ResumeStore::open_on(backend, &folder.path().join("state"), BootId::now()).unwrap(),
            own_peer_id: PeerId::new([1; 20]),
            key: 1,
        };
        Self { running: Some(RunningSession::start(parts).unwrap()), folder, disk }
    }

    /// When the disk is well.
    fn stop(&mut self) {
        self.disk.is(Way::Well);
        if let Some(running) = self.running.take() {
            running.tell_to_stop(Duration::ZERO);
            running.join();
        }
    }

    fn running(&self) -> &RunningSession {
        self.running.as_ref().unwrap()
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running().shared
    }

    /// A torrent of one file of this name, which is there with other bytes: it is opened to be checked.
    fn add(&self, name: &str, output: &Path) -> InfoHash {
        fs::write(output.join(name), [b'x'; 100]).unwrap();
        let new = self.torrent(name, output, OptionsPatch::default());
        let info_hash = new.metainfo.info_hash;
        self.shared().add(new).unwrap();
        info_hash
    }

    fn torrent(&self, name: &str, output: &Path, options: OptionsPatch) -> NewTorrent {
        let bytes = torrent_file(name, &TestFile::list(&[("", 100)]), 32, None);
        let metainfo = Arc::new(Metainfo::parse(&bytes, &self.shared().limits()).unwrap());
        NewTorrent::leeching(metainfo, bytes, output.into(), options)
    }

    fn state(&self, info_hash: &InfoHash) -> TorrentState {
        self.running().session().torrent_status(info_hash).unwrap().state
    }

    /// Gives an order whose torrent waits for its disk, and does not wait for that.
    fn order(&self, request: impl FnOnce(Reply<()>) -> Request) {
        let (reply, answers) = bounded(2);
        self.shared().ask(request(reply));
        assert!(matches!(answers.recv_timeout(PATIENCE), Ok(Answer::Waits)));
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_errand_that_panics_ends_none_of_the_others() {
    let world = World::new();
    let (sick, well) = (world.add("sick", world.folder.path()), world.add("well", world.folder.path()));
    let session = world.running().session();
    world.disk.is(Way::Panics);
    assert!(matches!(session.remove(&sick, true), Err(Refusal::Internal(_))));
    assert!(session.torrent_status(&sick).is_none(), "it is forgotten all the same");
    session.remove(&well, true).unwrap();
    assert!(!world.folder.path().join("well").exists());
}

#[test]
fn errands_go_to_the_disk_that_links_lead_to() {
    let world = World::new();
    // Another file system nearly everywhere.
    let far = ["/dev/shm", "/tmp"].into_iter().find(|at| Path::new(at).is_dir()).unwrap();
    let far = tempfile::tempdir_in(far).unwrap();
    let link = world.folder.path().join("link");
    std::os::unix::fs::symlink(far.path(), &link).unwrap();
    let (sick, well) = (world.add("sick", &link), world.add("well", world.folder.path()));
    wait_until("both to be checked", || {
        [sick, well].iter().all(|info_hash| world.state(info_hash) == TorrentState::Downloading)
    });
    world.disk.is(Way::Hangs);
    world.order(|reply| Request::Remove(sick, true, reply));
    let apart = [world.folder.path(), far.path()].map(|folder| rustix::fs::stat(folder).unwrap().st_dev);
    if apart[0] == apart[1] {
        world.disk.is(Way::Well);
    }
    world.order(|reply| Request::Remove(well, true, reply));
    wait_until("it to be removed", || world.running().session().torrent_status(&well).is_none());
    assert!(!world.folder.path().join("well").exists());
    world.running().tell_to_stop(Duration::ZERO);
    drop(world);
    assert!(!far.path().join("sick").exists(), "what was promised is done before all has stopped");
}

#[test]
fn the_last_wish_is_kept_when_all_stop_while_the_disk_hangs() {
    for pauses_last in [false, true] {
        let mut world = World::new();
        world.disk.is(Way::Hangs);
        let sick = world.add("sick", world.folder.path());
        // Told to stop before that, its thread would end.
        wait_until("it to hang", || world.disk.hung.load(Ordering::SeqCst));
        world.order(|reply| Request::Pause(sick, reply));
        world.order(|reply| Request::Resume(sick, reply));
        if pauses_last {
            world.order(|reply| Request::Pause(sick, reply));
        }
        world.running().tell_to_stop(Duration::ZERO);
        // Whoever comes now is not left waiting, whatever hangs.
        wait_until("no more to be taken", || world.shared().closing.is_set());
        let (reply, answers) = bounded(2);
        world.shared().ask(Request::Pause(sick, reply));
        assert!(matches!(answers.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected)));
        assert!(matches!(world.running().session().pause(&sick), Err(Refusal::Unavailable(_))));
        assert!(world.running().session().find(&sick).is_none());
        let shared = Arc::clone(world.shared());
        world.stop();
        let saved = shared.store.load(&sick).unwrap();
        assert_eq!(saved.details.paused, pauses_last);
    }
}

/// It is heard of once. If that was not remembered, whoever stops the torrent then would wait for ever.
#[test]
fn a_thread_that_ended_by_itself_is_not_waited_for() {
    let world = World::new();
    let well = world.add("well", world.folder.path());
    world.order(|reply| Request::Pause(well, reply));
    wait_until("it to rest", || world.state(&well) == TorrentState::Paused);
    let (shared, (hold, held)) = (world.shared(), bounded::<()>(0));
    let number = shared.next_number();
    let running = Running {
        inputs: queue::bounded(1).0,
        gate: Arc::new(Gate::default()),
        cancel: Shutdown::new(),
        worker: Worker::spawn("ends", move || assert!(held.recv().is_err())).unwrap(),
        number,
    };
    shared.table().entries.get_mut(&well).unwrap().running = Some(running);
    // It has told, and is about to end.
    shared.ask(Request::Ended(well, number));
    wait_until("it to be heard", || {
        shared.table().entries.get(&well).is_some_and(|entry| entry.running.is_none())
    });
    drop(hold);
    assert!(shared.end_thread(&well));
}

#[test]
fn whose_thread_panics_says_so_and_can_be_resumed() {
    let world = World::new();
    world.disk.is(Way::Panics);
    let sick = world.add("sick", world.folder.path());
    wait_until("it to fail", || world.state(&sick) == TorrentState::Error);
    let session = world.running().session();
    let said = session.torrent_status(&sick).unwrap();
    assert!(said.error.unwrap().contains("this is a bug") && said.retry_seconds.is_none());
    world.disk.is(Way::Well);
    session.resume(&sick).unwrap();
    wait_until("it to go on", || world.state(&sick) == TorrentState::Downloading);
}

/// Else it would be shown as going on, with no thread, and asked once more nothing would be done.
#[test]
fn who_cannot_be_resumed_stands_still_until_it_can() {
    let world = World::new();
    let well = world.add("well", world.folder.path());
    let session = world.running().session();
    session.pause(&well).unwrap();
    wait_until("it to rest", || world.state(&well) == TorrentState::Paused);
    world.disk.is(Way::Forgets("resume"));
    assert!(matches!(session.resume(&well), Err(Refusal::Internal(why)) if why.contains("No space left")));
    assert_eq!(world.state(&well), TorrentState::Paused);
    world.disk.is(Way::Well);
    session.resume(&well).unwrap();
    wait_until("it to go on", || world.state(&well) == TorrentState::Downloading);
}

/// What is set is kept by itself before.
#[test]
fn what_is_wanted_of_an_idle_torrent_is_fetched_though_its_record_is_not_kept() {
    let world = World::new();
    let well = world.add("well", world.folder.path());
    let session = world.running().session();
    let select = |priority| {
        let patch = OptionsPatch { priorities: Some(Some(vec![priority])), ..OptionsPatch::default() };
        session.set_options(&well, &patch)
    };
    select(Priority::Skip).unwrap();
    wait_until("nothing to be wanted", || world.state(&well) == TorrentState::Seeding);
    let has_thread =
        || world.shared().table().entries.get(&well).is_some_and(|entry| entry.running.is_some());
    world.shared().end_thread(&well);
    wait_until("it to be idle", || !has_thread() && !world.shared().is_leaving(&well));
    world.disk.is(Way::Forgets("resume"));
    assert!(select(Priority::Normal).is_err());
    world.disk.is(Way::Well);
    wait_until("it to go on", || has_thread() && world.state(&well) == TorrentState::Downloading);
}

/// Two torrents, of which one may be at work, and so the other waits.
fn one_waits() -> (World, [InfoHash; 2]) {
    let world = World::new();
    let one = SettingsPatch { max_active_downloads: Some(Some(1)), ..SettingsPatch::default() };
    world.running().session().set_settings(&one).unwrap();
    let both = ["one", "two"].map(|name| world.add(name, world.folder.path()));
    wait_until("one to be at work", || world.state(&both[0]) == TorrentState::Downloading);
    assert_eq!(world.state(&both[1]), TorrentState::Queued);
    (world, both)
}

/// It failed, and was queued before the session heard of it.
#[test]
fn who_failed_and_was_queued_waits_on_for_a_place() {
    let (world, [one, two]) = one_waits();
    world.shared().ask(Request::Notice(Notice::Failed(two, true)));
    world.running().session().pause(&one).unwrap();
    wait_until("the other to be at work", || world.state(&two) == TorrentState::Downloading);
}

#[test]
fn who_waits_for_a_place_and_cannot_be_taken_as_made_waits_on() {
    let (world, [one, two]) = one_waits();
    let options = OptionsPatch { upload_limit: Some(Some(1000)), ..OptionsPatch::default() };
    let new = world.torrent("two", world.folder.path(), options);
    world.disk.is(Way::Forgets("options"));
    assert!(world.shared().add(new.just_made()).is_err());
    world.disk.is(Way::Well);
    world.running().session().pause(&one).unwrap();
    wait_until("the other to be at work", || world.state(&two) == TorrentState::Downloading);
}
