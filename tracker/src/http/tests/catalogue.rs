//! POST /announce and GET /torrents.

use super::*;

const HASH_OF_NOTHING: &str = "0000000000000000000000000000000000000000";

#[test]
fn an_upload_is_listed_and_given_back() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("my file", false);
    let reply = fixture.upload(&[
        ("torrent", &bytes),
        ("name", b"  A name  "),
        ("description", "Größe \"x\" <b>\nline".as_bytes()),
        ("info_hash", hash.to_string().as_bytes()),
        ("peer_id", b"-XX0001-abcd\x00\xff&=+%gh"),
        ("port", b"7000"),
        ("ip", b"10.0.0.7"),
        ("left", b"0"),
        ("event", b"started"),
    ]);
    assert_eq!((reply.status, reply.kind.as_str()), (201, "text/plain"));
    let answer = decode_response(&reply.body, 10).unwrap();
    assert_eq!((answer.complete, answer.incomplete, answer.peers.len()), (1, 0, 0));

    let page = fixture.json("/torrents");
    assert_eq!((&page["total"], &page["offset"], &page["limit"]), (&1.into(), &0.into(), &50.into()));
    let entry = &page["torrents"][0];
    assert_eq!(entry["info_hash"], hash.to_string());
    assert_eq!(entry["name"], "A name");
    assert_eq!(entry["description"], "Größe \"x\" <b>\nline");
    let numbers = ["size", "files", "piece_length", "seeders", "leechers", "completed"];
    assert_eq!(numbers.map(|name| entry[name].as_u64().unwrap()), [100_000, 1, 65_536, 1, 0, 0]);
    assert!(entry["created"].as_u64().unwrap() > 1_600_000_000);

    for target in [format!("/torrents/{hash}"), format!("/torrents/{hash}.torrent")] {
        let reply = fixture.get(&target);
        assert_eq!((reply.status, reply.kind.as_str()), (200, "application/x-bittorrent"));
        assert_eq!(reply.disposition.unwrap(), format!("attachment; filename=\"{hash}.torrent\""));
        assert_eq!(reply.body, bytes);
    }
    let files: Vec<_> =
        fs::read_dir(fixture.torrents()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [format!("{hash}.torrent").as_str()]);
}

#[test]
fn an_upload_needs_only_the_torrent() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("it\u{1b}s\nname", false);
    let reply = fixture.upload(&[("torrent", &bytes)]);
    assert_eq!(reply.status, 201);
    assert_eq!(decode_response(&reply.body, 10).unwrap().complete, 0, "nobody joined");
    let entry = &fixture.json("/torrents")["torrents"][0];
    assert_eq!(entry["info_hash"], hash.to_string());
    assert_eq!(entry["name"], "it\u{fffd}s\u{fffd}name");
}

#[test]
fn publishing_twice_keeps_the_first() {
    let fixture = Fixture::new();
    let (bytes, _) = torrent("a", false);
    assert_eq!(fixture.upload(&[("torrent", &bytes), ("name", b"first")]).status, 201);
    let again =
        fixture.upload(&[("torrent", &bytes), ("name", b"second"), ("peer_id", &[b'x'; 20]), ("port", b"1")]);
    assert_eq!(again.status, 200);
    assert_eq!(decode_response(&again.body, 10).unwrap().complete, 1);
    let page = fixture.json("/torrents");
    assert_eq!((&page["total"], &page["torrents"][0]["name"]), (&1.into(), &"first".into()));
}

#[test]
fn bad_uploads_are_refused_and_leave_nothing() {
    let fixture = Fixture::with(|config| config.max_torrent_len = 4096);
    let (good, hash) = torrent("a", false);
    let private = torrent("a", true).0;
    let long = vec![b'x'; 5000];
    let id = [b'x'; 20];
    for (fields, status, reason) in [
        (vec![], 400, "the form has no field torrent"),
        (vec![("torrent", &b""[..])], 400, ""),
        (vec![("torrent", b"hello")], 400, ""),
        (vec![("torrent", &good[..good.len() - 1])], 400, ""),
        (vec![("torrent", &private)], 403, "a private torrent is not published"),
        (vec![("torrent", &long)], 413, "the torrent is over 4096 bytes"),
        (vec![("torrent", &good), ("info_hash", b"xyz")], 400, "info_hash is not 40 hexadecimal digits"),
        (
            vec![("torrent", &good), ("info_hash", HASH_OF_NOTHING.as_bytes())],
            400,
            &format!("info_hash is not the torrent's, which is {hash}"),
        ),
        (vec![("torrent", &good), ("name", b"\xff")], 400, "name is not UTF-8"),
        (vec![("torrent", &good), ("name", b"a\x1bb")], 400, "name has control characters"),
        (vec![("torrent", &good), ("name", &long[..256])], 400, "name is over 255 bytes"),
        (vec![("torrent", &good), ("description", b"a\0b")], 400, "description has control characters"),
        (vec![("torrent", &good), ("peer_id", &id), ("port", b"0")], 400, "port is not valid"),
        (vec![("torrent", &good), ("peer_id", b"short"), ("port", b"1")], 400, "peer_id is not valid"),
        (vec![("torrent", &good), ("peer_id", &id), ("port", &long)], 400, "port is too long"),
        (vec![("torrent", &good), ("peer_id", &id), ("port", b"1&port=2")], 400, "port is not valid"),
        (vec![("torrent", &good), ("torrent", &good)], 400, "the form has two fields of one name"),
    ] {
        let reply = fixture.upload(&fields);
        let said = reply.failure();
        assert_eq!(reply.status, status, "{said}");
        assert!(said.starts_with(reason), "{said} is not {reason}");
    }
    assert_eq!(fixture.json("/torrents")["total"], 0);
    assert_eq!(fs::read_dir(fixture.torrents()).unwrap().count(), 0);
    assert_eq!(fixture.upload(&[("torrent", &good)]).status, 201);
}

#[test]
fn what_is_no_form_is_refused() {
    let fixture = Fixture::new();
    for (content_type, body, status) in [
        ("application/x-bittorrent", &b"d4:infode"[..], 415),
        ("multipart/form-data", b"--x--", 415),
        ("multipart/form-data; boundary=x", b"nothing of the kind", 400),
        (
            "multipart/form-data; boundary=x",
            b"--x\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\nd",
            400,
        ),
    ] {
        assert_eq!(fixture.post(content_type, body).status, status, "{content_type}");
    }
    let reply =
        fixture.raw(b"POST /announce HTTP/1.0\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.0 411 "), "{reply}");
}

#[test]
fn the_catalogue_is_searched_and_paged() {
    let fixture = Fixture::new();
    for n in 0..30 {
        let (bytes, _) = torrent(&format!("torrent {n}"), false);
        let description = if n % 3 == 0 { "Über 100% of_it" } else { "plain" };
        assert_eq!(
            fixture.upload(&[("torrent", &bytes), ("description", description.as_bytes())]).status,
            201
        );
    }
    let found = |query: &str| {
        let page = fixture.json(&format!("/torrents?{query}"));
        let names: Vec<_> =
            page["torrents"].as_array().unwrap().iter().map(|entry| entry["name"].clone()).collect();
        (page["total"].as_u64().unwrap(), names)
    };
    assert_eq!(found("limit=2"), (30, vec!["torrent 29".into(), "torrent 28".into()]));
    assert_eq!(found("limit=2&offset=28"), (30, vec!["torrent 1".into(), "torrent 0".into()]));
    assert_eq!(found("offset=1000"), (30, vec![]));
    assert_eq!(found("offset=18446744073709551615"), (30, vec![]));
    assert_eq!(found("q=TORRENT+12"), (1, vec!["torrent 12".into()]));
    assert_eq!(found("q=%C3%9CBER&limit=1"), (10, vec!["torrent 27".into()]));
    assert_eq!(found("q=torrent+100%25+27").0, 1);
    assert_eq!(found("q=of_it").0, 10);
    assert_eq!(found("q=of%25it").0, 10, "a mark is a gap, whichever it is");
    for wildcard in ["o%25t", "o_t", "o*it", "*", "name:torrent", "torrent+NOT+it", "NEAR(of+it)"] {
        assert_eq!(found(&format!("q={wildcard}")).0, 0, "{wildcard}: no wildcards, no words of a language");
    }
    assert_eq!(found("q=%27+OR+1=1+--").0, 0);
    assert_eq!(found("q=nothing"), (0, vec![]));
    assert_eq!(fixture.get("/torrents?q=%ff").status, 400);
    assert_eq!(fixture.get("/torrents?limit=x").error(), "limit is not a number");
}

#[test]
fn the_catalogue_survives_a_restart() {
    let mut fixture = Fixture::new();
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes), ("name", b"kept")]);
    fixture.restart();
    let page = fixture.json("/torrents?q=kept");
    assert_eq!(page["torrents"][0]["info_hash"], hash.to_string());
    assert_eq!(fixture.json("/")["torrents"], 1);
    assert_eq!(fixture.get(&format!("/torrents/{hash}")).body, bytes);
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 200);
}

#[test]
fn unknown_torrents_and_lost_files_are_not_found() {
    let fixture = Fixture::new();
    assert_eq!(fixture.get(&format!("/torrents/{HASH_OF_NOTHING}")).status, 404);
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes)]);
    fs::remove_file(fixture.torrents().join(format!("{hash}.torrent"))).unwrap();
    assert_eq!(fixture.get(&format!("/torrents/{hash}")).error(), "no such torrent");
    let (_, other) = torrent("b", false);
    fs::write(fixture.torrents().join(format!("{other}.torrent")), "put there by hand").unwrap();
    assert_eq!(fixture.get(&format!("/torrents/{other}")).status, 404, "not in the catalogue");
}

#[test]
fn publishing_again_brings_a_lost_file_back() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes), ("name", b"first")]);
    fs::remove_file(fixture.torrents().join(format!("{hash}.torrent"))).unwrap();
    assert_eq!(fixture.upload(&[("torrent", &bytes), ("name", b"second")]).status, 200);
    assert_eq!(fixture.get(&format!("/torrents/{hash}")).body, bytes);
    assert_eq!(fixture.json("/torrents")["torrents"][0]["name"], "first");
}

#[test]
fn completed_downloads_survive_a_restart() {
    let mut fixture = Fixture::with(|config| config.interval_s = 1);
    let (bytes, hash) = torrent("a", false);
    fixture.upload(&[("torrent", &bytes)]);
    let completed = |fixture: &Fixture| fixture.json("/torrents")["torrents"][0]["completed"].clone();
    let hash: String = hash.as_bytes().iter().map(|byte| format!("%{byte:02x}")).collect();
    let peer = |more: &str| format!("info_hash={hash}&peer_id=-XX0001-abcdefghijkl&port=6881&{more}");

    // All have left, and nobody has swept since.
    fixture.announce(&peer("left=9"));
    fixture.announce(&peer("left=0&event=completed"));
    fixture.announce(&peer("left=0&event=stopped"));
    assert_eq!(completed(&fixture), 1);
    fixture.restart();
    assert_eq!(completed(&fixture), 1, "after everybody left");

    // The tracker is away for longer than it remembers its peers.
    fixture.announce(&peer("left=9"));
    fixture.announce(&peer("left=0&event=completed"));
    fixture.running.take().unwrap().stop();
    std::thread::sleep(Duration::from_millis(4100));
    fixture.running = Some(Tracker::start(&fixture.config).unwrap());
    assert_eq!(completed(&fixture), 2, "after two intervals");
    fixture.restart();
    assert_eq!(completed(&fixture), 2, "added once");
}

#[test]
fn a_long_torrent_comes_back_whole() {
    let fixture = Fixture::new();
    let (bytes, hash) = torrent(&"x".repeat(200), false);
    // Kept outside the info dictionary, so any length will do.
    let mut long = b"d7:comment".to_vec();
    write::bytes(&mut long, &vec![b'c'; 300_000]);
    long.extend_from_slice(&bytes[bytes.windows(6).position(|w| w == b"4:info").unwrap()..]);
    assert_eq!(fixture.upload(&[("torrent", &long)]).status, 201);
    assert_eq!(fixture.get(&format!("/torrents/{hash}")).body, long);
}

#[test]
fn the_files_of_a_torrent_are_listed() {
    let fixture = Fixture::new();
    let info = b"d5:filesld6:lengthi3e4:pathl3:sub8:a\xe2\x80\xaeb.txeed4:attr1:p6:lengthi13e4:pathl4:.pad2:13eed6:lengthi5e4:pathl1:beee\
                 4:name3:dir12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
    let bytes = [b"d4:info", &info[..], b"e"].concat();
    let hash = InfoHash::of(info);
    assert_eq!(fixture.get(&format!("/torrents/{hash}/files")).error(), "no such torrent");
    assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, 201);
    let list = fixture.json(&format!("/torrents/{hash}/files"));
    assert_eq!((&list["total"], &list["offset"]), (&2.into(), &0.into()), "padding is no file: {list}");
    assert_eq!(list["torrent"]["name"], "dir");
    assert_eq!(list["files"][0], serde_json::json!({"path": "dir/sub/a_b.tx", "size": 3}));
    let list = fixture.json(&format!("/torrents/{hash}/files?offset=1&limit=5"));
    assert_eq!(list["files"], serde_json::json!([{"path": "dir/b", "size": 5}]));
    fs::remove_file(fixture.torrents().join(format!("{hash}.torrent"))).unwrap();
    assert_eq!(fixture.get(&format!("/torrents/{hash}/files")).status, 404);
}
