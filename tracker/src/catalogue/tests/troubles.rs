//! Databases that are in use, damaged, or gone; uploads that were interrupted.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// One round of the keeper.
fn put_right(catalogue: &Catalogue) -> bool {
    let (_running, stop) = crossbeam_channel::bounded(0);
    catalogue.put_right(&stop)
}

/// A catalogue of so many torrents, with names, descriptions and completed downloads; all of it in the database's file.
fn filled(fixture: &Fixture, count: u8) -> Vec<InfoHash> {
    let catalogue = fixture.open();
    let hashes = (0..count).map(|n| {
        let bytes = torrent(&format!("own {n}"), false);
        let metainfo = parsed(&bytes);
        let name = format!("name {n}");
        let description = format!("description {n} {}", "x".repeat(500));
        let publication = Publication {
            bytes: &bytes,
            metainfo: &metainfo,
            name: &name,
            description: &description,
            created_s: 100 + i64::from(n),
            completed: n.into(),
        };
        assert_eq!(catalogue.publish(&publication, Renaming::default()).unwrap(), Published::New);
        metainfo.info_hash
    });
    hashes.collect()
}

/// Writes nonsense over pages of the database, from number `from`.
fn damage(fixture: &Fixture, from: u64, pages: u64) {
    let file = OpenOptions::new().write(true).open(fixture.database()).unwrap();
    let len = file.metadata().unwrap().len() / 4096;
    assert!(from + pages <= len, "{len} pages");
    for page in from..from + pages {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }
}

#[test]
fn a_damaged_database_is_made_anew_from_the_torrent_files() {
    // Page 0 is the header with the list of tables.
    for (from, pages) in [(0, 1), (1, 1), (2, 3), (0, 5), (8, 10)] {
        let fixture = Fixture::new();
        let hashes = filled(&fixture, 60);
        damage(&fixture, from, pages);
        let catalogue = fixture.open();
        // What was not noticed at the start is when it is read.
        for _ in 0..3 {
            let search = Search { text: "own".into(), limit: 100, ..Search::default() };
            if catalogue.search(&search).is_ok()
                && catalogue.search(&everything(100)).is_ok()
                && put_right(&catalogue)
            {
                break;
            }
            put_right(&catalogue);
        }
        assert_eq!(catalogue.health.degraded(), [""; 0]);
        let page = catalogue.search(&everything(100)).unwrap();
        assert_eq!((page.total, page.rows.len(), catalogue.count()), (60, 60, 60), "{from} {pages}");
        for (n, hash) in hashes.iter().enumerate() {
            assert_eq!(catalogue.torrent(*hash).unwrap(), Some(torrent(&format!("own {n}"), false)));
        }
        assert_eq!(catalogue.database.aside().len(), 1);
        let kept =
            page.rows.iter().filter(|row| row.name.starts_with("name ") && row.created_s >= 100).count();
        if from == 8 {
            assert!(kept >= 20, "what can still be read is kept: {kept}");
        }
        publish(&catalogue, "after");
    }
}

#[test]
fn a_torrent_file_that_is_damaged_is_handed_to_nobody_and_given_back_by_who_publishes_it_again() {
    let fixture = Fixture::new();
    let hashes = filled(&fixture, 6);
    let catalogue = fixture.open();
    let path = |n: usize| fixture.torrents().join(format!("{}.torrent", hashes[n]));
    let whole = fs::read(path(0)).unwrap();
    let mut flipped = fs::read(path(1)).unwrap();
    let at = flipped.len() - 5;
    flipped[at] ^= 1;
    fs::write(path(1), flipped).unwrap();
    fs::write(path(2), &whole[..whole.len() / 2]).unwrap();
    fs::write(path(3), b"").unwrap();
    // Another torrent's.
    fs::write(path(4), &whole).unwrap();
    // Longer than any that is taken.
    File::options().write(true).open(path(5)).unwrap().set_len(1 << 40).unwrap();
    for (n, &hash) in hashes.iter().enumerate().skip(1) {
        assert_eq!(catalogue.torrent(hash).unwrap(), None, "{n}");
        assert_eq!(catalogue.files(hash, 0, 9).unwrap(), None, "{n}");
        let name = format!("own {n}");
        assert_eq!(publish(&catalogue, &name), (hash, Published::Known));
        assert_eq!(catalogue.torrent(hash).unwrap(), Some(torrent(&name, false)), "{n}");
    }
    assert_eq!(catalogue.torrent(hashes[0]).unwrap(), Some(whole));
    assert_eq!(catalogue.health.degraded(), [""; 0]);
}

#[test]
fn damage_that_sqlite_does_not_notice_is_noticed() {
    for change in [
        "UPDATE torrents SET name = CAST(x'ff' AS TEXT) WHERE id = 3",
        "DROP TRIGGER not_found; DELETE FROM torrents WHERE id = 3",
    ] {
        let fixture = Fixture::new();
        filled(&fixture, 10);
        let other = Connection::open(fixture.database()).unwrap();
        other.execute_batch(change).unwrap();
        drop(other);
        let catalogue = fixture.open();
        let all = Search { text: "own".into(), limit: 100, ..Search::default() };
        let error = catalogue.search(&all).unwrap_err();
        assert_eq!(error.trouble(), Some("the database is damaged"), "{error}");
        assert!(put_right(&catalogue));
        assert!(fixture.database().with_file_name("catalogue.db.bad").exists());
        assert_eq!(catalogue.search(&everything(100)).unwrap().rows.len(), 10, "{change}");
        let kept = names(&catalogue).iter().filter(|name| name.starts_with("name ")).count();
        assert_eq!(kept, 9, "all but the damaged one is as it was");
    }
}

#[test]
fn the_order_of_publishing_outlives_the_database() {
    let fixture = Fixture::new();
    filled(&fixture, 60);
    // The header alone: all rows can still be read, if not by their index.
    damage(&fixture, 0, 1);
    let wrong_way =
        |rows: &[Row]| rows.windows(2).filter(|pair| pair[0].created_s < pair[1].created_s).count();
    let catalogue = fixture.open();
    assert_eq!(wrong_way(&catalogue.search(&everything(100)).unwrap().rows), 0);
    drop(catalogue);
    // What only the dates of the files tell.
    let fixture = Fixture::new();
    let hashes = filled(&fixture, 60);
    for (n, hash) in (0..).zip(&hashes) {
        let file = fs::File::options().write(true).open(fixture.torrents().join(format!("{hash}.torrent")));
        file.unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(500 + n)).unwrap();
    }
    fs::remove_dir_all(fixture.database().parent().unwrap()).unwrap();
    let catalogue = fixture.open();
    let expected: Vec<_> = (0..60).rev().map(|n| format!("own {n}")).collect();
    assert_eq!(names(&catalogue), expected);
}

#[test]
fn five_damaged_databases_are_kept_and_the_first_is_never_written_over() {
    let fixture = Fixture::new();
    filled(&fixture, 10);
    let names = ["", ".2", ".3", ".4", ".5"].map(|end| format!("catalogue.db.bad{end}"));
    let place = |name: &String| fixture.database().with_file_name(name);
    let mut first = None;
    for round in 1..=7 {
        // The header: rows can still be read by those who look for them.
        damage(&fixture, 0, 1);
        let catalogue = fixture.open();
        assert!(put_right(&catalogue));
        let rows = catalogue.search(&everything(100)).unwrap().rows;
        assert!(rows.len() == 10, "{round}: {}", rows.len());
        let there: Vec<_> = names.iter().filter(|name| place(name).exists()).collect();
        assert_eq!(there, names.iter().take(round).collect::<Vec<_>>());
        let kept = fs::read(place(&names[0])).unwrap();
        assert_eq!(*first.get_or_insert_with(|| kept.clone()), kept, "{round}");
    }
}

#[test]
fn what_the_latest_damaged_database_does_not_tell_an_older_one_does() {
    let fixture = Fixture::new();
    filled(&fixture, 60);
    let kept_after = |fixture: &Fixture| {
        let catalogue = fixture.open();
        let search = Search { text: "own".into(), limit: 100, ..Search::default() };
        for _ in 0..3 {
            // What was not noticed at the start is when it is read.
            let _ = (catalogue.search(&search), catalogue.search(&everything(100)));
            put_right(&catalogue);
        }
        let rows = catalogue.search(&everything(100)).unwrap().rows;
        rows.iter().filter(|row| row.name.starts_with("name ") && row.created_s >= 100).count()
    };
    damage(&fixture, 8, 10);
    let first = kept_after(&fixture);
    assert!(first >= 20, "{first}");
    // All of it: nothing can be read from this one.
    let len = fs::metadata(fixture.database()).unwrap().len() / 4096;
    damage(&fixture, 0, len);
    assert_eq!(kept_after(&fixture), first, "as many as the first damage has left");
}

#[test]
fn a_file_that_was_no_database_is_left_alone() {
    let fixture = Fixture::new();
    drop(fixture.open());
    for name in ["catalogue.db-wal", "catalogue.db-shm"] {
        let _ = fs::remove_file(fixture.database().with_file_name(name));
    }
    fs::write(fixture.database(), "my diary, which is longer than the header of a database").unwrap();
    let Err(error) = fixture.try_open() else { panic!("opened") };
    assert!(matches!(error, CatalogueError::NotADatabase(_)), "{error}");
    assert!(fs::read_to_string(fixture.database()).unwrap().starts_with("my diary"));
}

#[test]
fn while_another_program_writes_all_can_be_read() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let (hash, _) = publish(&catalogue, "a");
    let other = Connection::open(fixture.database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let bytes = torrent("b", false);
    let metainfo = parsed(&bytes);
    let publication = Publication {
        bytes: &bytes,
        metainfo: &metainfo,
        name: "b",
        description: "",
        created_s: 7,
        completed: 0,
    };
    let error = catalogue.publish(&publication, Renaming::default()).unwrap_err();
    assert_eq!(error.trouble(), Some("the database is in use by another program"));
    assert_eq!(catalogue.health.degraded(), ["uploads: the database is in use by another program"]);
    assert_eq!(names(&catalogue), ["a"]);
    assert_eq!(fs::read_dir(fixture.torrents()).unwrap().count(), 1, "nothing is half there");
    catalogue.add_completed(&[(hash, 2)]);
    assert!(!put_right(&catalogue));
    assert_eq!(catalogue.entry(hash).unwrap().unwrap().completed, 2, "not forgotten");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(put_right(&catalogue));
    assert_eq!(catalogue.health.degraded(), [""; 0]);
    assert!(held(&catalogue.completed).is_empty());
    assert_eq!(catalogue.entry(hash).unwrap().unwrap().completed, 2);
    assert_eq!(publish(&catalogue, "b").1, Published::New);
}

#[test]
fn it_starts_while_another_program_holds_the_database() {
    let fixture = Fixture::new();
    publish(&fixture.open(), "a");
    let other = Connection::open(fixture.database()).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let catalogue = fixture.open();
    assert!(!catalogue.health.degraded().is_empty());
    other.execute_batch("ROLLBACK").unwrap();
    assert!(put_right(&catalogue));
    assert_eq!((names(&catalogue), catalogue.count()), (vec!["a".to_owned()], 1));
    assert_eq!(catalogue.health.degraded(), [""; 0]);
}

#[test]
fn a_database_that_is_gone_or_replaced_is_noticed() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    publish(&catalogue, "a");
    fs::remove_dir_all(fixture.database().parent().unwrap()).unwrap();
    assert!(!put_right(&catalogue), "the folder is gone");
    assert!(!catalogue.health.degraded().is_empty());
    fs::create_dir(fixture.database().parent().unwrap()).unwrap();
    assert!(put_right(&catalogue));
    assert_eq!(names(&catalogue), ["a"], "from its torrent file");
    publish(&catalogue, "b");
    assert_eq!(names(&catalogue), ["b", "a"]);
}

#[test]
fn interrupted_uploads_are_finished_or_leave_nothing() {
    let fixture = Fixture::new();
    let catalogue = fixture.open();
    let (acknowledged, _) = publish(&catalogue, "a");
    let (whole, _) = publish(&catalogue, "b");
    drop(catalogue);
    let path = |name: &str| fixture.torrents().join(name);
    let place = |hash: InfoHash| path(&format!("{hash}.torrent"));
    // Killed between the row and the renaming.
    fs::rename(place(acknowledged), path(&format!(".upload-{acknowledged}-x1"))).unwrap();
    // Killed before the row, in the middle of writing, and while its file was brought back.
    let third = torrent("c", false);
    fs::write(path(&format!(".upload-{}-x2", parsed(&third).info_hash)), &third).unwrap();
    fs::write(path(".upload-x3"), "half").unwrap();
    fs::write(path(&format!(".upload-{whole}-x4")), "half").unwrap();
    let catalogue = fixture.open();
    assert_eq!(names(&catalogue), ["b", "a"]);
    assert_eq!(catalogue.torrent(acknowledged).unwrap(), Some(torrent("a", false)));
    assert_eq!(catalogue.torrent(whole).unwrap(), Some(torrent("b", false)));
    assert_eq!(fs::read_dir(fixture.torrents()).unwrap().count(), 2, "nothing is left");
    assert_eq!(catalogue.health.degraded(), [""; 0]);
}
