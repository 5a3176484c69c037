use std::cell::RefCell;
use std::collections::HashMap;

use proptest::prelude::*;

use super::keys::Section;
use super::*;

/// The file that comes with the programs.
const SHIPPED: &str = include_str!("../../../config.ini");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("config.ini"), Some(Path::new("/home/me")))
}

/// The error's text, for a file called config.ini.
fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_shipped_file_is_the_defaults() {
    assert_eq!(parse(SHIPPED).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn the_shipped_file_has_every_key_in_order() {
    let (tracker, peer) = SHIPPED.split_once("\n[peer]").unwrap();
    for (text, section) in [(tracker, Section::Tracker), (peer, Section::Peer)] {
        let names = text.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<_> = names.filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
        assert_eq!(names, section.keys());
    }
}

/// The literals name every field, and no value is the default: so every field has its key, and its own.
#[test]
fn every_field_has_a_key() {
    let text = "
        [tracker]
        HOST = ::1
        PORT = 1
        UDP = no
        TORRENT_DIR = a
        TORRENT_FILE = b
        PEER_FILE = c
        INTERVAL = 3
        MAX_INTERVAL = 31
        MAX_ANNOUNCE_RATE = 32
        MIN_INTERVAL = 2
        WORKERS = 4
        MAX_CONNECTIONS = 34
        REQUEST_TIMEOUT = 35
        IDLE_TIMEOUT = 36
        DEFAULT_PEERS = 5
        MAX_NUMWANT = 6
        MAX_TORRENTS = 37
        MAX_PEERS = 38
        MAX_SCRAPE = 7
        FULL_SCRAPE = yes
        MAX_TORRENT_SIZE_KIB = 8
        SNAPSHOT_INTERVAL = 9
        TRUSTED_NETWORKS = 10.0.0.0/8, ::1
        TRUSTED_PROXIES = 192.0.2.1
        PUBLIC_ADDRESS = 203.0.113.1,2001:db8::1
        SITES = lab: 10.1.0.0/16 2001:db8::/32, b: 192.0.2.7
        ACCESS = deny
        ACCESS_FILE = g
        UPLOAD_TOKEN = 0123456789abcdef
        UPLOAD_QUOTA = 33
        METRICS = all
        [peer]
        TRACKER_URL = udp://t:1/announce
        UPLOAD_TOKEN = 0123456789abcdeg
        TORRENT_DIR = d
        DOWNLOAD_DIR = e
        SEQUENTIAL = yes
        PREALLOCATION = full
        STATE_DIR = f
        INTERVAL = 10
        PORT = 11
        PEER_HOST = 10.0.0.1
        PEER_PORT = 12
        BLOCK_SIZE = 8192
        MAX_CONNECTIONS = 14
        MAX_CONNECTIONS_PER_TORRENT = 13
        MAX_CONNECTIONS_PER_ADDRESS = 27
        MAX_HALF_OPEN = 15
        UPLOAD_SLOTS = 16
        SUPER_SEEDING = off
        MAX_ACTIVE_DOWNLOADS = 26
        MAX_ACTIVE_SEEDS = 27
        SEED_RATIO = 1.5
        SEED_TIME = 28
        DOWNLOAD_LIMIT_KIB = 29
        UPLOAD_LIMIT_KIB = 30
        ALT_DOWNLOAD_LIMIT_KIB = 31
        ALT_UPLOAD_LIMIT_KIB = 32
        ALT_SCHEDULE = mon-fri 08:00-18:00, 22:00-06:00
        BUFFER_MIB = 17
        DISK_THREADS = 18
        HASH_THREADS = 19
        CHECKPOINT_INTERVAL = 19
        CHECK_READS = sequential
        ANNOUNCE_THREADS = 20
        ANNOUNCE_TIMEOUT = 21
        OPEN_FILES = 22
        CONNECT_TIMEOUT = 23
        PEER_TIMEOUT = 24
        STOP_TIMEOUT = 26
        MAX_TORRENT_SIZE_KIB = 25";
    let tracker = TrackerConfig {
        host: "::1".parse().unwrap(),
        port: 1,
        udp: false,
        torrent_dir: "a".into(),
        torrent_file: "b".into(),
        peer_file: "c".into(),
        interval_s: 3,
        max_interval_s: 31,
        min_interval_s: 2,
        max_announce_rate: 32,
        workers: 4,
        max_connections: 34,
        request_timeout_s: 35,
        idle_timeout_s: 36,
        default_peers: 5,
        max_numwant: 6,
        max_torrents: 37,
        max_peers: 38,
        max_scrape: 7,
        full_scrape: true,
        max_torrent_len: 8 << 10,
        snapshot_interval_s: 9,
        trusted_networks: vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        trusted_proxies: vec!["192.0.2.1/32".parse().unwrap()],
        public_addresses: vec!["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        sites: parse_sites("lab: 10.1.0.0/16 2001:db8::/32, b: 192.0.2.7").unwrap(),
        access: AccessMode::Deny,
        access_file: "g".into(),
        upload_token: Secret::new("0123456789abcdef"),
        upload_quota: 33,
        metrics: MetricsFor::All,
    };
    let peer = PeerConfig {
        tracker_url: "udp://t:1/announce".into(),
        upload_token: Secret::new("0123456789abcdeg"),
        torrent_dir: "d".into(),
        download_dir: "e".into(),
        sequential: true,
        preallocation: Preallocation::Full,
        state_dir: "f".into(),
        interval_s: 10,
        port: 11,
        peer_host: IpAddr::from([10, 0, 0, 1]),
        peer_port: 12,
        block_len: 8192,
        max_connections: 14,
        max_connections_per_torrent: 13,
        max_connections_per_address: 27,
        max_half_open: 15,
        upload_slots: 16,
        super_seeding: false,
        max_active_downloads: 26,
        max_active_seeds: 27,
        seed_ratio: 1.5,
        seed_time_s: 28,
        download_limit: 29 << 10,
        upload_limit: 30 << 10,
        alt_download_limit: 31 << 10,
        alt_upload_limit: 32 << 10,
        alt_schedule: "mon-fri 08:00-18:00, 22:00-06:00".parse().unwrap(),
        buffer_len_bytes: 17 << 20,
        disk_threads: 18,
        hash_threads: 19,
        checkpoint_interval_s: 19,
        check_reads: CheckReads::Sequential,
        announce_threads: 20,
        announce_timeout_s: 21,
        open_files: 22,
        connect_timeout_s: 23,
        peer_timeout_s: 24,
        stop_timeout_s: 26,
        max_torrent_len: 25 << 10,
    };
    assert_eq!(parse(text).unwrap(), Config { tracker, peer });
}

#[test]
fn errors_name_file_line_and_what_was_meant() {
    let table = [
        ("[tracker]\nPORTS = 1", "config.ini:2: unknown key PORTS in [tracker]: did you mean PORT?"),
        ("[tracker]\nport = 1", "config.ini:2: unknown key port in [tracker]: did you mean PORT?"),
        (
            "[peer]\n\n# x\nMAX_SCRAPE = 1",
            "config.ini:4: unknown key MAX_SCRAPE in [peer]: it belongs in [tracker]",
        ),
        ("[tracker]\n[peers]", "config.ini:2: unknown section [peers]: did you mean [peer]?"),
        ("[Tracker]", "config.ini:1: unknown section [Tracker]: did you mean [tracker]?"),
        (
            "[peer]\n[colours]",
            "config.ini:2: unknown section [colours]: the sections are [tracker] and [peer]",
        ),
        (
            "[peer]\nPORT = 1\n[tracker]\n[peer]\nPORT=1",
            "config.ini:5: PORT in [peer] was given already in line 2",
        ),
        ("PORT = 1", "config.ini:1: PORT stands before the first section: put [tracker] or [peer] above it"),
        ("[peer]\nPORT", "config.ini:2: expected [section], KEY = value, or a comment that begins with #"),
        ("[peer\nPORT = 1", "config.ini:1: expected [section], KEY = value, or a comment that begins with #"),
        ("[peer]\n= 1", "config.ini:2: expected [section], KEY = value, or a comment that begins with #"),
        (
            "[peer]\nPORT = 65536",
            "config.ini:2: PORT in [peer] is \"65536\", and must be a whole number from 0 to 65535",
        ),
        (
            "[tracker]\nMAX_INTERVAL = 119",
            "config.ini:2: MAX_INTERVAL in [tracker] is \"119\", and must be at least INTERVAL",
        ),
        (
            "[tracker]\nINTERVAL = 2m",
            "config.ini:2: INTERVAL in [tracker] is \"2m\", and must be a whole number of seconds from 1 to 86400",
        ),
        (
            "[tracker]\nMIN_INTERVAL = 31\nINTERVAL = 30",
            "config.ini:2: MIN_INTERVAL in [tracker] is \"31\", and must be at most INTERVAL",
        ),
        (
            "[tracker]\nPEER_FILE = a\nTORRENT_FILE = a",
            "config.ini:2: PEER_FILE in [tracker] is \"a\", and must be another file than TORRENT_FILE",
        ),
        (
            "[tracker]\nTORRENT_FILE = tracker-data/peers",
            "config.ini:2: TORRENT_FILE in [tracker] is \"tracker-data/peers\", and must be another file than PEER_FILE",
        ),
        (
            "[peer]\nPORT = 1 # the first",
            "config.ini:2: PORT in [peer] is \"1 # the first\", and must be a whole number from 0 to 65535 \
             (a comment needs a line of its own)",
        ),
        (
            "[peer]\nPREALLOCATION = yes",
            "config.ini:2: PREALLOCATION in [peer] is \"yes\", and must be none or sparse or full",
        ),
        (
            "[peer]\nSEED_TIME = 1w",
            "config.ini:2: SEED_TIME in [peer] is \"1w\", and must be a whole number of seconds from 0 to 3153600000, or \
             such as 30m, 12h or 7d",
        ),
        ("[peer]\nSTATE_DIR =", "config.ini:2: STATE_DIR in [peer] is \"\", and must be a path"),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text}");
    }
    assert!(error("[peer]\nCOLOUR = 1").contains("its keys are TRACKER_URL, UPLOAD_TOKEN, "));
}

#[test]
fn bad_values_are_refused() {
    let table = [
        ("tracker", "HOST", &["", "localhost", "127.0.0.1:80", "[::1]"][..]),
        ("tracker", "PORT", &["", "-1", "1.5", "0x10", "99999999999999999999"]),
        ("tracker", "INTERVAL", &["0", "86401"]),
        ("tracker", "MAX_NUMWANT", &["0", "2001"]),
        ("tracker", "MAX_TORRENTS", &["0", "16000001", "-1"]),
        ("tracker", "MAX_PEERS", &["0", "1000000001"]),
        ("tracker", "ACCESS", &["", "closed"]),
        ("tracker", "TRUSTED_NETWORKS", &["", "host", "10.0.0.1/8", "10.0.0.0/8 11.0.0.0/8", "10.0.0.0/8,"]),
        ("tracker", "SITES", &["", "lab", "lab:", "10.0.0.0/8", "a: none", "a: 10.0.0.0/8 # home"]),
        ("tracker", "PUBLIC_ADDRESS", &["host", "0.0.0.0", "127.0.0.1", "192.0.2.1, 192.0.2.2", "::1"]),
        ("tracker", "MAX_TORRENT_SIZE_KIB", &["0", "18446744073709551615"]),
        ("peer", "BLOCK_SIZE", &["0", "2048", "16383", "262144", "16 KiB"]),
        ("peer", "BUFFER_MIB", &["0", "18446744073709551615"]),
        ("peer", "MAX_CONNECTIONS", &["0", "x"]),
        ("peer", "UPLOAD_LIMIT_KIB", &["", "-1", "1.5", "10K", "1073741825"]),
        ("peer", "ALT_SCHEDULE", &["at night", "8-18", "mon-fri", "08:00-08:00"]),
        ("peer", "TRACKER_URL", &["", "localhost", "ftp://t/announce", "http://", "http:///announce"]),
        (
            "peer",
            "TRACKER_URL",
            &["http://a b/", "udp://t/announce", "http://t:0/", "http://t:x/", "http://::1/"],
        ),
    ];
    for (section, key, values) in table {
        for value in values {
            let text = format!("[{section}]\n{key} = {value}");
            let message = error(&text);
            assert!(
                message.starts_with(&format!("config.ini:2: {key} in [{section}] is {value:?}, and")),
                "{message}"
            );
        }
    }
}

#[test]
fn tracker_urls() {
    for url in [
        "http://t/announce",
        "HTTPS://t.example:443/announce?passkey=x",
        "http://[2001:db8::1]/announce",
        "udp://[2001:db8::1]:6969",
        "http://user:word@t:8000/announce",
    ] {
        assert!(is_tracker_url(url), "{url}");
    }
    for url in ["http://[::1", "http://[x]/", "udp://[::1]/", "http://user@/", "http://t]:1/", "//t/announce"]
    {
        assert!(!is_tracker_url(url), "{url}");
    }
}

#[test]
fn defaults_give_way_to_bounds() {
    let config = parse("[tracker]\nINTERVAL = 3600\n").unwrap().tracker;
    assert_eq!((config.interval_s, config.max_interval_s), (3600, 3600));
    let config = parse("[tracker]\nINTERVAL = 5\nMAX_NUMWANT = 3\n[peer]\nMAX_CONNECTIONS = 4").unwrap();
    let (tracker, peer) = (config.tracker, config.peer);
    assert_eq!((tracker.min_interval_s, tracker.default_peers, peer.max_connections_per_torrent), (5, 3, 4));
}

#[test]
fn lines_are_read_as_in_other_ini_files() {
    let text = "\u{feff}; comment\r\n [peer] \r\n\t# comment = 1\r\n\tPORT=7\r\n STATE_DIR = \"my state\" \r\n\
                DOWNLOAD_DIR = C:\\new\\\r\n";
    let peer = parse(text).unwrap().peer;
    assert_eq!((peer.port, peer.state_dir, peer.download_dir), (7, "my state".into(), "C:\\new\\".into()));
}

#[test]
fn paths_are_relative_to_the_file_and_may_begin_at_home() {
    let text = "[peer]\nDOWNLOAD_DIR = ~/big files\nTORRENT_DIR = /srv/t\nSTATE_DIR = ../s\n[tracker]\nPEER_FILE = ~";
    let config = Config::parse(text, Path::new("/etc/torrent/x.ini"), Some(Path::new("/home/me"))).unwrap();
    assert_eq!(config.peer.download_dir, Path::new("/home/me/big files"));
    assert_eq!(config.peer.torrent_dir, Path::new("/srv/t"));
    assert_eq!(config.peer.state_dir, Path::new("/etc/torrent/../s"));
    assert_eq!(config.tracker.peer_file, Path::new("/home/me"));
    assert_eq!(config.tracker.torrent_dir, Path::new("/etc/torrent/tracker-data/torrents"));

    let error = Config::parse("[peer]\nSTATE_DIR = ~/s", Path::new("x"), None).unwrap_err().to_string();
    assert!(error.ends_with("must be a path without ~, because HOME is not set"), "{error}");
}

#[test]
fn a_file_of_another_program_is_told_apart() {
    for text in ["[server]\nname = x", "colour = red", "name = x\n[server]"] {
        let error = error(text);
        assert!(error.starts_with("config.ini has neither a [tracker] nor a [peer] section"), "{error}");
    }
}

/// Loads with files and an environment that are tables; gives the port of the control interface, the file used, and
/// every path that was looked at.
fn load(
    explicit: Option<&str>,
    env: &[(&str, &str)],
    files: &[(&str, u16)],
) -> (Result<u16, String>, Vec<String>) {
    let files: HashMap<&str, u16> = files.iter().copied().collect();
    let looked_at = RefCell::new(Vec::new());
    let found = Config::load(
        explicit.map(Path::new),
        |name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()),
        |path| {
            let path = path.to_str().unwrap();
            looked_at.borrow_mut().push(path.to_owned());
            match files.get(path) {
                Some(0) => Err(io::ErrorKind::PermissionDenied.into()),
                Some(port) => Ok(format!("[peer]\nPORT = {port}")),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        },
    );
    let looked_at = looked_at.into_inner();
    if let Ok((_, Some(path))) = &found {
        assert_eq!(Some(path.to_str().unwrap()), looked_at.last().map(String::as_str));
    }
    (found.map(|(config, _)| config.peer.port).map_err(|error| error.to_string()), looked_at)
}

#[test]
fn files_are_looked_for_in_order() {
    let home = [("HOME", "/h")];
    let xdg = [("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")];
    let all =
        [("c", 1), ("config.ini", 2), ("/x/torrent/config.ini", 3), ("/h/.config/torrent/config.ini", 4)];

    assert_eq!(load(Some("c"), &xdg, &all), (Ok(1), vec!["c".into()]));
    assert_eq!(load(None, &xdg, &all), (Ok(2), vec!["config.ini".into()]));
    assert_eq!(load(None, &xdg, &all[2..]).0, Ok(3));
    assert_eq!(load(None, &home, &all[2..]).0, Ok(4));
    assert_eq!(load(None, &[("HOME", "/h"), ("XDG_CONFIG_HOME", "")], &all[2..]).0, Ok(4));
    assert_eq!(load(None, &[], &all[2..]), (Ok(5000), vec!["config.ini".into()]));
    assert_eq!(load(None, &xdg, &[]).0, Ok(5000));
}

#[test]
fn files_that_cannot_be_read_are_errors() {
    assert!(load(Some("c"), &[], &[("config.ini", 1)]).0.unwrap_err().starts_with("cannot read c: "));
    assert!(load(None, &[], &[("config.ini", 0)]).0.unwrap_err().starts_with("cannot read config.ini: "));
}

#[test]
fn a_time_of_seeding_may_have_its_unit() {
    for (text, expected) in [("604800", 604_800), ("604800s", 604_800), ("168h", 604_800), ("7d", 604_800)] {
        let config = parse(&format!("[peer]\nSEED_TIME = {text}")).unwrap();
        assert_eq!(config.peer.seed_time_s, expected, "{text}");
    }
}

proptest! {
    #[test]
    fn random_text_is_harmless(text in "(\\[(peer|tracker|x)?\\]?|[A-Z_]{1,6}|PORT|=|:|\"|'|\\\\|#|~|/|\\PC|\n| ){0,40}") {
        let _ = parse(&text);
        let _ = is_tracker_url(&text);
    }
}
