//! What is set for a torrent survives beside its checkpoint.

use super::*;
use crate::options::TorrentOptions;

fn with_limit(upload_limit: u64) -> TorrentOptions {
    TorrentOptions { upload_limit: Some(upload_limit), ..TorrentOptions::default() }
}

#[test]
fn what_was_set_last_holds_whatever_the_checkpoint_says() {
    let disk = Disk::new(&TestFile::list(&[("a", 300)]), 100);
    let process = disk.start(1);
    let hash = disk.metainfo.info_hash;
    process.checkpoint();
    process.store.save_options(&hash, &with_limit(1)).unwrap();
    process.store.save_options(&hash, &with_limit(2)).unwrap();
    // A checkpoint of a torrent that has not heard of it, and a kill.
    process.checkpoint();
    let set = |store: &ResumeStore| store.load(&hash).unwrap().details.options;
    assert_eq!(set(&process.store), with_limit(2));
    drop(process);
    let store = ResumeStore::open_in(&disk.folder.path().join("state"), None).unwrap();
    let saved = store.load_all().unwrap().pop().unwrap().unwrap();
    assert_eq!(saved.details.options, with_limit(2));
    assert!(disk.state("options").exists(), "it says something else than the checkpoint");

    // When the checkpoint says the same it is not needed.
    store.save(&saved).unwrap();
    store.load_all().unwrap();
    assert!(!disk.state("options").exists());
    assert_eq!(set(&store), with_limit(2));

    // Of another selection nobody knows whether it is complete.
    assert_eq!(store.load(&hash).unwrap().details.wanted, None);
    let other = TorrentOptions { priorities: vec![Priority::High], ..with_limit(2) };
    store.save_options(&hash, &other).unwrap();
    let details = store.load(&hash).unwrap().details;
    assert_eq!((details.wanted, details.options), (Some((details.total_len, 1)), other));

    // Damaged, it is told and left; as set before.
    fs::write(disk.state("options"), "{").unwrap();
    assert_eq!(set(&store), with_limit(2));

    // A torrent that is added anew begins with nothing.
    store.save_options(&hash, &with_limit(3)).unwrap();
    store.remove(&hash).unwrap();
    assert!(!disk.state("options").exists());
    store.forget_options(&hash).unwrap();
}
