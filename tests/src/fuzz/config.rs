//! config.ini: written by the user, and read before anything else works.

use std::path::Path;

use torrent_common::config::{Config, ConfigError};

/// The input is the file.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let read = parse(text);
    match &read {
        Ok(config) => {
            holds_together(config);
            // No secret gets into a log with the rest of a configuration.
            if let Some(token) = line_of(text, "UPLOAD_TOKEN").filter(|token| token.len() >= 16) {
                let shown = format!("{:?} {:?}", config.tracker.upload_token, config.peer.upload_token);
                assert!(!shown.contains(token), "{shown}");
            }
        }
        Err(error) => is_told(error, text),
    }
    // How lines end, a mark at the beginning and a comment at the end mean nothing.
    if !text.contains('\r') {
        let other = format!("{}\r\n# the end\r\n", text.replace('\n', "\r\n"));
        assert_eq!(parse(&other).ok(), read.as_ref().ok().cloned(), "line ends");
    }
    if !text.starts_with('\u{feff}') {
        assert_eq!(parse(&format!("\u{feff}{text}")).ok(), read.ok(), "a byte order mark");
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/torrent/config.ini"), Some(Path::new("/home/user")))
}

/// What follows `key =` where it stands by itself.
fn line_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix(key)?.trim().strip_prefix('='));
    value.map(|value| value.trim_matches([' ', '\t', '"', '\'']))
}

fn holds_together(config: &Config) {
    let (tracker, peer) = (&config.tracker, &config.peer);
    assert!(tracker.min_interval_s <= tracker.interval_s && tracker.interval_s <= tracker.max_interval_s);
    assert!(tracker.interval_s > 0 && tracker.default_peers <= tracker.max_numwant);
    assert!(tracker.max_connections > 0 && tracker.request_timeout_s > 0 && tracker.max_torrent_len > 0);
    assert!(tracker.max_torrents > 0 && tracker.max_peers > 0 && tracker.max_scrape > 0);
    assert_ne!(tracker.peer_file, tracker.torrent_file);
    for path in [&tracker.torrent_dir, &tracker.torrent_file, &tracker.peer_file, &tracker.access_file] {
        assert!(path.is_absolute(), "{}", path.display());
    }
    assert!((1..=peer.max_connections).contains(&peer.max_connections_per_torrent));
}

/// A person finds the place.
fn is_told(error: &ConfigError, text: &str) {
    let told = error.to_string();
    assert!(told.contains("config.ini") && told.len() < 1000 + 8 * text.len(), "{told}");
    if let ConfigError::At { line, .. } = error {
        assert!((1..=text.lines().count()).contains(line), "{told}");
    }
}
