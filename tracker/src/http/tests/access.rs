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
