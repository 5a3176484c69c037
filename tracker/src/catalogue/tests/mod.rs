use std::fs;

use rusqlite::Connection;
use tempfile::TempDir;
use torrent_common::bencode::write;

use super::*;

mod searches;
mod troubles;

struct Fixture {
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("deep/er/catalogue.db")
    }

    fn torrents(&self) -> PathBuf {
        self.folder.path().join("torrents")
    }

    fn try_open(&self) -> Result<Catalogue, CatalogueError> {
        let health = Arc::default();
        let catalogue = Catalogue::open(&self.database(), &self.torrents(), 1 << 20, 1000, health)?;
        let (_running, stop) = crossbeam_channel::bounded(0);
        catalogue.put_right(&stop);
        Ok(catalogue)
    }

    fn open(&self) -> Catalogue {
        self.try_open().unwrap()
    }
}

fn torrent(name: &str, private: bool) -> Vec<u8> {
    let mut out = Vec::new();
    write::dictionary(&mut out, |torrent| {
        torrent.dictionary(b"info", |info| {
            info.integer(b"length", 5);
            info.bytes(b"name", name.as_bytes());
            info.integer(b"piece length", 16384);
            info.bytes(b"pieces", &[7; 20]);
            if private {
                info.integer(b"private", 1);
            }
        });
    });
    out
}

fn parsed(bytes: &[u8]) -> Metainfo {
    Metainfo::parse(bytes, &metainfo_limits(1 << 20)).unwrap()
}

fn publish(catalogue: &Catalogue, name: &str) -> (InfoHash, Published) {
    let bytes = torrent(name, false);
    let metainfo = parsed(&bytes);
    let publication =
        Publication { bytes: &bytes, metainfo: &metainfo, name, description: "", created_s: 7, completed: 0 };
    (metainfo.info_hash, catalogue.publish(&publication, Renaming::default()).unwrap())
}

fn everything(limit: u32) -> Search {
    Search { limit, ..Search::default() }
}

fn names(catalogue: &Catalogue) -> Vec<String> {
    catalogue.search(&everything(100)).unwrap().rows.into_iter().map(|row| row.name).collect()
}

#[test]
fn what_was_published_is_there_after_opening_again() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let (hash, first) = publish(&catalogue, "a");
    assert_eq!(first, Published::New);
    assert_eq!(publish(&catalogue, "a"), (hash, Published::Known));
    publish(&catalogue, "b");
    let lens = ["catalogue.db", "catalogue.db-wal"]
        .map(|name| fs::metadata(fixture.database().with_file_name(name)).unwrap().len());
    assert!(lens[1] > 4096);
    assert_eq!(catalogue.database_len(), Some(lens.iter().sum()), "what is in the log only is there, too");
    // As after a crash: nothing is closed in an orderly way.
    std::mem::forget(catalogue);
    let catalogue = fixture.open();
    assert_eq!(names(&catalogue), ["b", "a"]);
    assert_eq!(catalogue.count(), 2);
    assert_eq!(catalogue.torrent(hash).unwrap(), Some(torrent("a", false)));
}

#[test]
fn what_a_crash_left_behind_is_put_right() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let put = |name: String, bytes: &[u8]| fs::write(fixture.torrents().join(name), bytes).unwrap();
    let (good, private, other) =
        (torrent("go\x1bod", false), torrent("private", true), torrent("other", false));
    put(format!("{}.torrent", parsed(&good).info_hash), &good);
    put(format!("{}.torrent", parsed(&private).info_hash), &private);
    put(format!("{}.torrent", InfoHash::new([1; 20])), &other);
    put(format!("{}.torrent", InfoHash::new([2; 20])), b"half a torr");
    put(format!("{}.torrent", InfoHash::new([3; 20])), &vec![b'd'; 2 << 20]);
    put(".upload-abc".into(), b"half");
    put("notes.txt".into(), b"mine");
    let catalogue = fixture.open();
    assert_eq!(names(&catalogue), ["go\u{fffd}od"], "a stranger's name is not let loose on a terminal");
    assert_eq!(catalogue.search(&everything(1)).unwrap().rows[0].created_s, 1000);
    assert!(!fixture.torrents().join(".upload-abc").exists());
    assert_eq!(fs::read_dir(fixture.torrents()).unwrap().count(), 6, "nothing else is removed");
    drop(catalogue);
    assert_eq!(names(&fixture.open()), ["go\u{fffd}od"]);
}

#[test]
fn completed_downloads_are_added_to_what_is_published() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let (hash, _) = publish(&catalogue, "a");
    catalogue.add_completed(&[(hash, 3), (InfoHash::new([9; 20]), 5)]);
    catalogue.add_waiting_downloads();
    catalogue.add_completed(&[(hash, 4)]);
    let page = catalogue.search(&everything(10)).unwrap();
    assert_eq!((page.total, page.rows[0].completed), (1, 7));
}

#[test]
fn a_newer_database_is_left_alone() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let newer = Connection::open(fixture.database()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let Err(error) = fixture.try_open() else { panic!("opened") };
    assert!(matches!(error, CatalogueError::TooNew { found: 99, known: 2, .. }), "{error}");
}

#[test]
fn a_file_that_cannot_be_written_publishes_nothing() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    fs::remove_dir(fixture.torrents()).unwrap();
    let bytes = torrent("a", false);
    let metainfo = parsed(&bytes);
    let publication = Publication {
        bytes: &bytes,
        metainfo: &metainfo,
        name: "a",
        description: "",
        created_s: 7,
        completed: 0,
    };
    let error = catalogue.publish(&publication, Renaming::default()).unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains(".torrent"), "{error}");
    assert_eq!(names(&catalogue), [""; 0]);
    fs::create_dir(fixture.torrents()).unwrap();
    assert_eq!(publish(&catalogue, "a").1, Published::New);
}
