//! torrent-status.

use std::process::Stdio;

use torrent_peer::control::api::{TorrentDetails, TorrentState};
use torrent_peer::settings::SessionSettings;

use crate::stage::{Actor, Ended, Stage, hash, torrent};

#[test]
fn status_as_table_and_json() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Error, 0.5)], ..Actor::default() });
    let table = stage.run("torrent-status", &[]);
    for word in ["Name", "error", "50.0%", "4.0 MiB", "the disk is full"] {
        assert!(table.ok().contains(word), "{table:?}");
    }
    assert!(!table.out.contains('\u{1b}'), "{table:?}");
    let json: serde_json::Value =
        serde_json::from_str(stage.run("torrent-status", &["--json"]).ok()).unwrap();
    let keys = [
        "info_hash",
        "name",
        "state",
        "progress",
        "size",
        "downloaded",
        "uploaded",
        "download_rate",
        "upload_rate",
        "peers",
        "seeds",
        "eta_seconds",
        "error",
        "retry_seconds",
    ];
    for key in keys {
        assert!(json["torrents"][0].get(key).is_some(), "{key}: {json}");
    }
    assert_eq!(json["torrents"][0]["state"], "error");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let stage = Stage::new(Actor { states: vec![torrent(TorrentState::Seeding, 1.0)], ..Actor::default() });
    let mut child = stage
        .command("torrent-status", &["--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let ended = Ended::of(stage.command("torrent-status", &[]).stdout(full).output().unwrap());
    assert!(ended.failed().contains("cannot write the output"), "{ended:?}");
}

#[test]
fn status_tells_all_about_one_torrent_and_sets_it() {
    use TorrentState::Seeding;
    let stage = Stage::new(Actor { states: vec![torrent(Seeding, 1.0)], ..Actor::default() });
    let hash = hash().to_string();
    let shown = stage.run("torrent-status", &[&hash[..4]]);
    assert!(shown.ok().contains(&hash), "{shown:?}");
    assert!(!shown.out.contains(['\u{1b}', '\u{7}']));
    // By name, whatever is in it.
    assert!(stage.run("torrent-status", &["evil\u{1b}[2J name"]).ok().contains(&hash));
    assert!(stage.run("torrent-status", &["ffff"]).failed().contains("no torrent ffff"));
    let set = ["07", "--set", "upload_limit=2M", "--set", "priority.2-3=skip", "--set", "max-connections=9"];
    let shown = stage.run("torrent-status", &set);
    assert!(shown.ok().contains("upload_limit    2.0 MiB/s") && shown.out.contains("max_connections 9"));
    let files = stage.run("torrent-status", &["07", "--files"]);
    let lines: Vec<_> = files.ok().lines().collect();
    assert_eq!(lines.len(), 4, "{files:?}");
    assert!(
        lines[1].contains("normal") && lines[2].contains("skip") && lines[2].contains("50.0%"),
        "{lines:?}"
    );
    let back = ["07", "--set", "upload_limit=default", "--json", "--pause"];
    let details: TorrentDetails = serde_json::from_str(stage.run("torrent-status", &back).ok()).unwrap();
    assert_eq!((details.options.upload_limit, details.options.max_connections), (None, Some(9)));
    stage.run("torrent-status", &["07", "--resume"]).ok();
    stage.run("torrent-status", &["07", "--remove", "--delete-data"]).ok();
    let told = stage.actor.told.lock().unwrap().clone();
    assert_eq!(told, [format!("pause {hash}"), format!("resume {hash}"), format!("remove {hash} true")]);
    for wrong in [
        &["--pause"][..],
        &["07", "--pause", "--resume"],
        &["07", "--delete-data"],
        &["07", "--set", "nonsense"],
        &["07", "--set", "alt_mode=on"],
        &["--set", "sequential=yes"],
        &["07", "--watch"],
    ] {
        assert_eq!(stage.run("torrent-status", wrong).code, Some(2), "{wrong:?}");
    }
}

#[test]
fn status_shows_and_sets_what_holds_for_all() {
    let stage = Stage::new(Actor::default());
    let shown = stage.run("torrent-status", &["--settings"]);
    assert!(shown.ok().contains("max_active_seeds      no limit"), "{shown:?}");
    let set = ["--set", "max_active_seeds=4", "--set", "seed_time=1h", "--json"];
    let settings: SessionSettings = serde_json::from_str(stage.run("torrent-status", &set).ok()).unwrap();
    assert_eq!((settings.max_active_seeds, settings.seed_time_s), (4, 3600));
}
