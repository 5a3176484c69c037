use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const MINIMAL: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&left=0";

fn with(extra: &str) -> AnnounceRequest {
    parse_announce_query(&format!("{MINIMAL}&{extra}")).unwrap()
}

/// The minimal query with one key's value changed.
fn changed(name: &str, value: &str) -> Result<AnnounceRequest, QueryError> {
    let pairs = MINIMAL.split('&').map(|pair| match pair.split_once('=').unwrap() {
        (key, _) if key == name => format!("{key}={value}"),
        _ => pair.to_owned(),
    });
    parse_announce_query(&pairs.collect::<Vec<_>>().join("&"))
}

#[test]
fn a_full_announce() {
    let query = concat!(
        "info_hash=%00%ff%FFabc.-_~%20%2B+%25xxxxxx", // 20 bytes; `+` is no space
        "&peer_id=-TF0100-abcdefghijkl",
        "&port=51413",
        "&uploaded=1&downloaded=2&left=3",
        "&event=started",
        "&numwant=80",
        "&key=DEADBEEF",
        "&compact=0&no_peer_id=1",
        "&ip=2001%3Adb8%3A%3A1",
        "&trackerid=a%26b",
        "&supportcrypto=1&corrupt=0&flag", // unknown: skipped
    );
    let expected = AnnounceRequest {
        info_hash: InfoHash::new(*b"\x00\xff\xffabc.-_~ ++%xxxxxx"),
        peer_id: PeerId::new(*b"-TF0100-abcdefghijkl"),
        port: 51413,
        uploaded: 1,
        downloaded: 2,
        left: 3,
        event: Event::Started,
        numwant: Some(80),
        ip: Some("2001:db8::1".parse().unwrap()),
        key: Some(0xdead_beef),
        compact: false,
        no_peer_id: true,
        tracker_id: Some(b"a&b".to_vec()),
    };
    assert_eq!(parse_announce_query(query), Ok(expected));
}

#[test]
fn the_least_that_is_an_announce() {
    let request = parse_announce_query(MINIMAL).unwrap();
    assert_eq!((request.uploaded, request.downloaded, request.left), (0, 0, 0));
    assert_eq!((request.event, request.numwant, request.ip, request.key), (Event::None, None, None, None));
    assert!(request.compact && !request.no_peer_id && request.tracker_id.is_none());
}

#[test]
fn missing_keys_are_named() {
    for name in ["info_hash", "peer_id", "port", "left"] {
        let rest: Vec<_> = MINIMAL.split('&').filter(|pair| !pair.starts_with(name)).collect();
        assert_eq!(parse_announce_query(&rest.join("&")), Err(QueryError::Missing(name)));
    }
    assert_eq!(parse_announce_query(""), Err(QueryError::Missing("info_hash")));
}

#[test]
fn repeated_keys_are_named() {
    for name in ["info_hash=aaaaaaaaaaaaaaaaaaaa", "peer_id=aaaaaaaaaaaaaaaaaaaa", "port=1", "left=1"] {
        let name = name.split_once('=').map(|(key, _)| (key, name)).unwrap();
        let error = parse_announce_query(&format!("{MINIMAL}&{}", name.1)).unwrap_err();
        assert!(matches!(error, QueryError::Repeated(key) if key == name.0));
    }
}

#[test]
fn values_out_of_range_are_refused() {
    let table = [
        (
            "info_hash",
            &["", "a", "aaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaaaaa%4"][..],
        ),
        ("info_hash", &["aaaaaaaaaaaaaaaaaaa%", "aaaaaaaaaaaaaaaaaaa%+1", "aaaaaaaaaaaaaaaaaaa%gg"]),
        // The 40 digits of the info-hash in place of its bytes: a common mistake.
        ("info_hash", &["00112233445566778899aabbccddeeff0a0b0c0d"]),
        ("peer_id", &["bbbbbbbbbbbbbbbbbbb%0", "%"]),
        ("port", &["", "0", "65536", "-1", "+1", "1.0", "99999999999999999999999"]),
        ("left", &["", "-2", "+1", "many", "18446744073709551616"]),
    ];
    for (name, values) in table {
        for value in values {
            assert_eq!(changed(name, value), Err(QueryError::Invalid(name)), "{name}={value}");
        }
    }
    for name in ["uploaded", "downloaded"] {
        let error = parse_announce_query(&format!("{MINIMAL}&{name}=-1")).unwrap_err();
        assert_eq!(error, QueryError::Invalid(name));
    }
}

#[test]
fn left_may_be_unknown() {
    for value in ["-1", "18446744073709551615", "9223372036854775807"] {
        assert_eq!(changed("left", value).unwrap().left, u64::MAX);
    }
    assert_eq!(changed("left", "9223372036854775806").unwrap().left, u64::MAX / 2 - 1);
}

#[test]
fn odd_values_of_keys_that_may_be_missing_are_as_if_missing() {
    for event in ["", "empty", "STARTED", "none"] {
        assert_eq!(with(&format!("event={event}")).event, Event::None);
    }
    for numwant in ["-1", "", "x"] {
        assert_eq!(with(&format!("numwant={numwant}")).numwant, None);
    }
    assert_eq!(with("numwant=99999999999").numwant, Some(u32::MAX));
    for ip in ["", "example.com", "10.0.0.256", "%", "1.2.3.4%00", &"1".repeat(46)] {
        assert_eq!(with(&format!("ip={ip}")).ip, None, "{ip}");
    }
    for key in ["", "xyz", "%41", "123456789a", "4294967296"] {
        assert_eq!(with(&format!("key={key}")).key, None, "{key}");
    }
    assert_eq!(with("trackerid=%zz").tracker_id, None);
    assert_eq!(with("key=ff").key, Some(255));
    assert_eq!(with("key=4294967295").key, Some(u32::MAX));
}

#[test]
fn addresses_are_read_encoded_or_not() {
    for (text, ip) in [("10.1.2.3", "10.1.2.3"), ("::1", "::1"), ("%3A%3a1", "::1")] {
        assert_eq!(with(&format!("ip={text}")).ip, Some(ip.parse().unwrap()));
    }
}

#[test]
fn too_long_is_refused() {
    let long = format!("{MINIMAL}&x={}", "y".repeat(MAX_QUERY_LEN));
    assert_eq!(parse_announce_query(&long), Err(QueryError::TooLong));
    assert_eq!(parse_scrape_query(&"y".repeat(71_001), 1), Err(QueryError::TooLong));
}

#[test]
fn scrapes_name_many_or_none() {
    let one = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    let two = format!("x=y&{one}&info_hash={}", "%62".repeat(20));
    let (a, b) = (InfoHash::new([b'a'; 20]), InfoHash::new([b'b'; 20]));
    assert_eq!(parse_scrape_query(&two, 5), Ok(vec![a, b]));
    assert_eq!(parse_scrape_query(&two, 1), Ok(vec![a]));
    assert_eq!(parse_scrape_query("", 5), Ok(vec![]));
    assert_eq!(parse_scrape_query("info_hash=a", 5), Err(QueryError::Invalid("info_hash")));
    // As many as are allowed always fit.
    let full = vec![format!("info_hash={}", "%62".repeat(20)); 1000].join("&");
    assert_eq!(parse_scrape_query(&full, 1000).unwrap().len(), 1000);
    assert_eq!(parse_scrape_query(&full, 64).unwrap().len(), 64, "the others are skipped");
}

#[test]
fn queries_are_joined_to_any_announce_url() {
    let table = [
        ("http://t/announce", "http://t/announce?q=1"),
        ("http://t/announce?passkey=x", "http://t/announce?passkey=x&q=1"),
        ("http://t/announce?", "http://t/announce?q=1"),
        ("http://t/announce?a&", "http://t/announce?a&q=1"),
        ("http://t/announce#here?", "http://t/announce?q=1"),
    ];
    for (url, expected) in table {
        assert_eq!(with_query(url, "q=1"), expected);
    }
}

#[test]
fn our_query_has_a_known_form() {
    let request = with("event=stopped&numwant=0&key=1f&uploaded=5");
    assert_eq!(
        announce_query(&AnnounceRequest { info_hash: InfoHash::new(*b"\0/+ ~aaaaaaaaaaaaaaa"), ..request }),
        "info_hash=%00%2F%2B%20~aaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&uploaded=5&downloaded=0\
         &left=0&event=stopped&numwant=0&key=0000001F&compact=1"
    );
}

fn request() -> impl Strategy<Value = AnnounceRequest> {
    let event = prop_oneof![
        Just(Event::None),
        Just(Event::Started),
        Just(Event::Completed),
        Just(Event::Stopped),
        Just(Event::Paused)
    ];
    let left = prop_oneof![0..u64::MAX / 2, Just(u64::MAX)];
    let ids = (any::<[u8; 20]>(), any::<[u8; 20]>(), 1..=u16::MAX);
    let numbers = (any::<u64>(), any::<u64>(), left, event);
    let optional = (any::<Option<u32>>(), any::<Option<IpAddr>>(), any::<Option<u32>>());
    let rest = (any::<bool>(), any::<bool>(), option::of(vec(any::<u8>(), 0..100)));
    (ids, numbers, optional, rest).prop_map(
        |((info_hash, peer_id, port), (uploaded, downloaded, left, event), (numwant, ip, key), rest)| {
            let (compact, no_peer_id, tracker_id) = rest;
            let (info_hash, peer_id) = (InfoHash::new(info_hash), PeerId::new(peer_id));
            AnnounceRequest {
                info_hash,
                peer_id,
                port,
                uploaded,
                downloaded,
                left,
                event,
                numwant,
                ip,
                key,
                compact,
                no_peer_id,
                tracker_id,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_we_ask_is_read_back(request in request()) {
        let query = announce_query(&request);
        prop_assert!(query.is_ascii());
        prop_assert_eq!(parse_announce_query(&query), Ok(request));
    }

    #[test]
    fn random_text_is_harmless(query in "[a-z_=&%0-9\\PC]{0,200}") {
        let _ = parse_announce_query(&query);
        let _ = parse_scrape_query(&query, 3);
        let _ = with_query(&query, &query);
    }

    #[test]
    fn random_values_are_harmless(
        name in "info_hash|peer_id|port|uploaded|left|event|numwant|ip|key|compact|trackerid",
        value in "[%0-9a-f:.\\-+\\PC]{0,70}",
    ) {
        let _ = parse_announce_query(&format!("{MINIMAL}&{name}={value}"));
        let _ = parse_announce_query(&format!("{name}={value}"));
    }
}
