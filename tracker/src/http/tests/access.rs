//! ACCESS, UPLOAD_TOKEN, UPLOAD_QUOTA and DELETE /torrents/{info_hash}.

use torrent_common::secret::Secret;

use super::*;

const TOKEN: &str = "correct-horse-battery";

fn guarded() -> Fixture {
    Fixture::with(|config| config.upload_token = Secret::new(TOKEN))
}

/// A tracker with a list of these torrents.
fn listed(access: AccessMode, torrents: &[InfoHash]) -> Fixture {
    let text: String = torrents.iter().map(|hash| format!("{hash}\n")).collect();
    Fixture::with(|config| {
        config.access = access;
        fs::create_dir_all(config.access_file.parent().unwrap()).unwrap();
        fs::write(&config.access_file, text).unwrap();
    })
}

fn hash(n: u8) -> InfoHash {
    InfoHash::new([n; 20])
}

/// A torrent file of some 200 KB.
fn long_torrent(name: &str) -> Vec<u8> {
    let mut info = Vec::new();
    write::dictionary(&mut info, |info| {
        info.integer(b"length", 10_000 * 65_536);
        info.bytes(b"name", name.as_bytes());
        info.integer(b"piece length", 65_536);
        info.bytes(b"pieces", &[7; 200_000]);
    });
    [b"d4:info", info.as_slice(), b"e"].concat()
}

/// What comes back for a head and the beginning of a body that never goes on.
fn answer_to_start(fixture: &Fixture, target: &str, more: &str, start: &[u8]) -> String {
    let mut stream = fixture.connect();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=XX\r\n\
         Content-Length: 10000000\r\n{more}\r\n"
    );
    stream.write_all(&[head.as_bytes(), start].concat()).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    String::from_utf8_lossy(&reply).into_owned()
}

#[test]
fn what_a_stranger_sends_is_not_read() {
    let fixture = guarded();
    let start =
        [b"--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n".to_vec(), vec![b'x'; 70_000]]
            .concat();
    for (target, more, start) in [
        ("/announce", "Authorization: Bearer not-the-token\r\n", &b""[..]),
        ("/announce", "Authorization: Bearer not-the-token\r\nExpect: 100-continue\r\n", b""),
        ("/announce", "", &start),
        ("/upload", "", &start),
        ("/upload", "Origin: http://elsewhere.example\r\n", b""),
    ] {
        let reply = answer_to_start(&fixture, target, more, start);
        assert!(reply.starts_with("HTTP/1.1 403 "), "{target} {more}: {reply}");
        assert!(reply.contains("\r\nConnection: close\r\n"), "{reply}");
        assert!(reply.contains("UPLOAD_TOKEN") || reply.contains("web pages"), "{reply}");
    }
    // What was written into the form is not lost.
    let start =
        [b"--XX\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nmy words\r\n".as_slice(), &start]
            .concat();
    assert!(answer_to_start(&fixture, "/upload", "", &start).contains("my words"));
    assert_eq!(fixture.json("/torrents")["total"], 0);
    let metrics = String::from_utf8(fixture.get("/metrics").body).unwrap();
    assert!(metrics.contains("torrent_tracker_uploads_total{result=\"forbidden\"} 5\n"), "{metrics}");
}

#[test]
fn long_uploads_of_those_who_know_the_token_are_read() {
    let fixture = guarded();
    let upload = |fields: &[(&str, &[u8])]| fixture.upload(fields);
    let (one, other) = (long_torrent("one"), long_torrent("other"));
    assert_eq!(upload(&[("token", TOKEN.as_bytes()), ("torrent", &one)]).status, 201);
    let late = upload(&[("torrent", &other), ("token", TOKEN.as_bytes())]);
    assert_eq!(late.status, 403);
    assert!(late.failure().contains("before the torrent"), "{}", late.failure());
    assert_eq!(upload(&[("token", b"not-the-token"), ("torrent", &other)]).status, 403);
    let url = format!("http://{}/announce", fixture.address());
    let body = [
        b"--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n",
        other.as_slice(),
        b"\r\n--XX--\r\n",
    ]
    .concat();
    let request = agent().post(url).header("Content-Type", "multipart/form-data; boundary=XX");
    let request = request.header("Authorization", format!("Bearer {TOKEN}"));
    assert_eq!(Reply::of(request.send(&body).unwrap()).status, 201);
}

fn delete(fixture: &Fixture, info_hash: InfoHash, authorization: Option<&str>) -> Reply {
    let url = format!("http://{}/torrents/{info_hash}", fixture.address());
    let mut request = agent().delete(url);
    if let Some(value) = authorization {
        request = request.header("Authorization", value);
    }
    Reply::of(request.call().unwrap())
}

#[test]
fn only_what_is_listed_is_tracked_or_all_but_that() {
    for (access, tracked, refused) in [(AccessMode::Allow, 1, 2), (AccessMode::Deny, 2, 1)] {
        let fixture = listed(access, &[hash(1)]);
        fixture.announce(&query(tracked, "10.0.0.1", "left=5"));
        assert_eq!(
            fixture.refused(&query(refused, "10.0.0.1", "left=5")),
            "this torrent is not tracked here"
        );
        assert_eq!(fixture.json("/")["swarms"], 1);
        let (bytes, own) = torrent("a", false);
        let expected = if access == AccessMode::Allow { 403 } else { 201 };
        assert_eq!(fixture.upload(&[("torrent", &bytes)]).status, expected, "{own}");
    }
}

#[test]
fn a_new_list_ends_swarms_and_a_bad_one_changes_nothing() {
    let mut fixture = listed(AccessMode::Allow, &[hash(1)]);
    fixture.announce(&query(1, "10.0.0.1", "left=5"));
    let file = fixture.config.access_file.clone();
    fs::write(&file, "nonsense").unwrap();
    fixture.running.as_ref().unwrap().reload();
    fixture.announce(&query(1, "10.0.0.2", "left=5"));
    fs::write(&file, hash(2).to_string()).unwrap();
    fixture.running.as_ref().unwrap().reload();
    assert_eq!(fixture.json("/")["peers"], 0);
    fixture.refused(&query(1, "10.0.0.1", "left=5"));
    fixture.announce(&query(2, "10.0.0.1", "left=5"));
    // The same over a restart, for swarms of before.
    fs::write(&file, hash(3).to_string()).unwrap();
    fixture.restart();
    assert_eq!(fixture.json("/")["swarms"], 0);
    fs::remove_file(&file).unwrap();
    fixture.running.take().unwrap().stop();
    let Err(StartError::Access(error)) = Tracker::start(&fixture.config) else { panic!("started") };
    assert!(error.to_string().contains("ACCESS_FILE"), "{error}");
}

#[test]
fn publishing_takes_the_token() {
    let fixture = guarded();
    let (bytes, _) = torrent("a", false);
    let reply = fixture.upload(&[("torrent", &bytes)]);
    assert_eq!(reply.status, 403);
    assert!(reply.failure().contains("UPLOAD_TOKEN"), "{}", reply.failure());
    for wrong in ["", "correct-horse-batterx", "correct-horse-battery2"] {
        assert_eq!(
            fixture.upload(&[("torrent", &bytes), ("token", wrong.as_bytes())]).status,
            403,
            "{wrong}"
        );
    }
    assert_eq!(fixture.json("/")["torrents"], 0);
    assert_eq!(fixture.upload(&[("torrent", &bytes), ("token", TOKEN.as_bytes())]).status, 201);

    let (bytes, _) = torrent("b", false);
    let body = [
        b"--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n",
        bytes.as_slice(),
        b"\r\n--XX--\r\n",
    ]
    .concat();
    let post = |authorization: &str| {
        let url = format!("http://{}/announce", fixture.address());
        let request = agent().post(url).header("Content-Type", "multipart/form-data; boundary=XX");
        Reply::of(request.header("Authorization", authorization).send(body.as_slice()).unwrap()).status
    };
    assert_eq!(post("Bearer wrong"), 403);
    assert_eq!(post(TOKEN), 403);
    assert_eq!(post(&format!("Basic {TOKEN}")), 403);
    assert_eq!(post(&format!("bearer {TOKEN}")), 201);
    fixture.announce(&query(1, "10.0.0.1", "left=5"));
}

#[test]
fn taking_out_takes_the_token() {
    let open = Fixture::new();
    assert_eq!(delete(&open, hash(1), Some(&format!("Bearer {TOKEN}"))).status, 403, "there is none");

    let fixture = guarded();
    let (bytes, own) = torrent("a", false);
    let upload =
        |fixture: &Fixture| fixture.upload(&[("torrent", &bytes), ("token", TOKEN.as_bytes())]).status;
    assert_eq!(upload(&fixture), 201);
    for wrong in [None, Some("Bearer wrong"), Some(TOKEN)] {
        assert_eq!(delete(&fixture, own, wrong).status, 403);
    }
    assert_eq!(fixture.get(&format!("/torrents/{own}")).body, bytes);
    let right = format!("Bearer {TOKEN}");
    let reply = delete(&fixture, own, Some(&right));
    assert_eq!((reply.status, reply.body), (200, format!("{{\"removed\":\"{own}\"}}").into_bytes()));
    assert_eq!(delete(&fixture, own, Some(&right)).status, 404);
    assert_eq!(fixture.get(&format!("/torrents/{own}")).status, 404);
    assert_eq!((&fixture.json("/torrents")["total"], &fixture.json("/")["torrents"]), (&0.into(), &0.into()));
    assert_eq!(fs::read_dir(fixture.torrents()).unwrap().count(), 0);
    let mut fixture = fixture;
    fixture.restart();
    assert_eq!(fixture.json("/")["torrents"], 0, "the start does not take it in again");
    assert_eq!(upload(&fixture), 201);
}

#[test]
fn a_host_publishes_so_many_in_an_hour_and_this_machine_as_many_as_it_likes() {
    let fixture = Fixture::with(|config| {
        config.upload_quota = 1;
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    });
    let upload = |name: &str, client: &str| {
        let body = [
            b"--XX\r\nContent-Disposition: form-data; name=\"torrent\"\r\n\r\n",
            torrent(name, false).0.as_slice(),
            b"\r\n--XX--\r\n",
        ]
        .concat();
        let url = format!("http://{}/announce", fixture.address());
        let request = agent().post(url).header("Content-Type", "multipart/form-data; boundary=XX");
        Reply::of(request.header("X-Forwarded-For", client).send(body.as_slice()).unwrap()).status
    };
    assert_eq!(upload("a", "192.0.2.1"), 201);
    assert_eq!(upload("a", "192.0.2.2"), 200, "one that is known does not count");
    assert_eq!(upload("b", "192.0.2.1"), 429);
    assert_eq!(upload("b", "192.0.2.2"), 201);
    assert_eq!(upload("c", "192.0.2.2"), 429);
    assert_eq!([upload("c", "127.0.0.9"), upload("d", "127.0.0.9")], [201, 201]);
}
