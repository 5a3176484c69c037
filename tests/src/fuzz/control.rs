//! The control port: which requests are let in, and what their JSON comes to.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use torrent_common::config::PeerConfig;
use torrent_common::ids::InfoHash;
use torrent_peer::control::admit::{Admitted, Denied, Head};
use torrent_peer::control::api::{
    DaemonInfo, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails, TorrentState, TorrentStatus,
};
use torrent_peer::control::handle::{Answer, error_body, handle};
use torrent_peer::control::route::LEECH_BODY_MAX;
use torrent_peer::control::{Engine, Refusal};
use torrent_peer::options::{OptionsPatch, TorrentOptions};
use torrent_peer::settings::{SessionSettings, SettingsPatch};

/// Files of every torrent.
const FILES: usize = 3;

static ENGINE: LazyLock<Arc<dyn Engine>> = LazyLock::new(|| Arc::new(Checks));

/// The first line of the input is method and target, then come headers, one a line, up to an empty line; the rest is the
/// body. `Host`, `Content-Type` and `Content-Length` are right unless they are among the headers.
pub fn control(input: &[u8]) {
    let end = input.windows(2).position(|window| window == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |at| (&input[..at], &input[at + 2..]));
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let Some((method, target)) = lines.next().and_then(|line| line.split_once(' ')) else { return };
    let given: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let length = body.len().to_string();
    let usual =
        [("Host", "127.0.0.1:5000"), ("Content-Type", "application/json"), ("Content-Length", &length)];
    let is_given = |name: &str| given.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let headers: Vec<_> =
        usual.into_iter().filter(|(name, _)| !is_given(name)).chain(given.iter().copied()).collect();
    match (Head { method, target, headers: &headers }).admit() {
        Ok(admitted) => is_done(&headers, &admitted, body),
        Err(denied) => is_told(&denied, input.len()),
    }
}

/// Nothing of another page or name gets here, and the body is as long as was said.
fn is_done(headers: &[(&str, &str)], admitted: &Admitted, body: &[u8]) {
    for (name, value) in headers {
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "host" => assert!(
                ["127.0.0.1", "localhost", "[::1]"].iter().any(|own| value.starts_with(own)),
                "{value}"
            ),
            "origin" => assert!(value.starts_with("http://"), "{value}"),
            "sec-fetch-site" => assert!(["same-origin", "none"].contains(&value.as_str()), "{value}"),
            "transfer-encoding" => panic!("{value}"),
            _ => {}
        }
    }
    assert!(admitted.body_len <= admitted.route.body_max() && admitted.body_len <= LEECH_BODY_MAX);
    let body = body.get(..admitted.body_len).unwrap_or(body);
    match handle(&ENGINE, admitted.route, body) {
        Ok(Answer::Whole(json)) => drop(serde_json::from_slice::<serde_json::Value>(&json).unwrap()),
        Ok(Answer::Listing(_)) => {}
        Err(denied) => is_told(&denied, body.len()),
    }
}

fn is_told(denied: &Denied, len: usize) {
    assert!((400..=599).contains(&denied.status) && denied.message.len() < 1000 + 8 * len, "{denied:?}");
    // JSON, whatever is in it.
    let body: serde_json::Value = serde_json::from_slice(&error_body(&denied.message)).unwrap();
    assert_eq!(body["error"], denied.message);
}

/// What is sent on means what was read.
fn reads_as_written<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(request: &T) {
    let json = serde_json::to_vec(request).unwrap();
    assert_eq!(&serde_json::from_slice::<T>(&json).unwrap(), request);
}

/// Looks at what it is asked, and does nothing.
struct Checks;

fn torrent(info_hash: InfoHash) -> TorrentStatus {
    TorrentStatus {
        info_hash,
        name: "name".into(),
        state: TorrentState::Seeding,
        progress: 1.0,
        size: 1,
        selected: 1,
        downloaded: 0,
        uploaded: 0,
        download_rate: 0,
        upload_rate: 0,
        peers: 0,
        seeds: 0,
        eta_seconds: None,
        error: None,
        retry_seconds: None,
        output: "/d".into(),
        private: false,
    }
}

fn details(info_hash: InfoHash, options: TorrentOptions) -> TorrentDetails {
    TorrentDetails {
        status: torrent(info_hash),
        piece_length: 1,
        piece_count: 1,
        pieces_had: 1,
        trackers: Vec::new(),
        files: Vec::new(),
        torrent_path: PathBuf::new(),
        magnet: String::new(),
        tracker_message: None,
        pieces_checked: 0,
        options,
    }
}

fn bad(error: impl ToString) -> Refusal {
    Refusal::BadRequest(error.to_string())
}

impl Engine for Checks {
    fn info(&self) -> DaemonInfo {
        DaemonInfo {
            name: "torrent-daemon".into(),
            version: "1".into(),
            peer_id: String::new(),
            peer_port: 1,
            tracker_url: String::new(),
            download_dir: PathBuf::new(),
            uptime_seconds: 0,
            torrents: 0,
        }
    }

    fn status(&self) -> Status {
        Status { torrents: Vec::new(), download_rate: 0, upload_rate: 0, peers: 0 }
    }

    fn details(&self, info_hash: &InfoHash) -> Result<TorrentDetails, Refusal> {
        Ok(details(*info_hash, TorrentOptions::default()))
    }

    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal> {
        assert!(request.path.is_absolute(), "{request:?}");
        reads_as_written(&request);
        request.options.check().map_err(bad)?;
        Ok(1)
    }

    fn job(&self, job: u64) -> Option<JobStatus> {
        (job < 5).then_some(JobStatus::Running { done: 0, total: job })
    }

    fn cancel_job(&self, job: u64) -> bool {
        job < 5
    }

    fn leech(&self, request: LeechRequest) -> Result<TorrentStatus, Refusal> {
        assert!(request.torrent_base64.is_some() != request.torrent_path.is_some(), "{request:?}");
        let paths = [&request.torrent_path, &request.output];
        assert!(paths.into_iter().flatten().all(|path| path.is_absolute()), "{request:?}");
        reads_as_written(&request);
        request.options.applied_to(&TorrentOptions::default(), FILES).map_err(bad)?;
        Ok(torrent(InfoHash::new([1; 20])))
    }

    fn pause(&self, _: &InfoHash) -> Result<(), Refusal> {
        Ok(())
    }

    fn resume(&self, _: &InfoHash) -> Result<(), Refusal> {
        Err(Refusal::NotFound)
    }

    fn remove(&self, _: &InfoHash, _: bool) -> Result<(), Refusal> {
        Ok(())
    }

    fn set_options(&self, info_hash: &InfoHash, patch: &OptionsPatch) -> Result<TorrentDetails, Refusal> {
        reads_as_written(patch);
        let options = patch.applied_to(&TorrentOptions::default(), FILES).map_err(bad)?;
        assert!(options.priorities.is_empty() || options.priorities.len() == FILES, "{options:?}");
        assert!(options.max_connections.is_none_or(|n| n > 0), "{options:?}");
        assert!(options.seed_ratio.is_none_or(|ratio| (0.0..=1e6).contains(&ratio)), "{options:?}");
        reads_as_written(&options);
        assert_eq!(patch.applied_to(&options, FILES).as_ref(), Ok(&options), "once is enough");
        Ok(details(*info_hash, options))
    }

    fn settings(&self) -> SessionSettings {
        SessionSettings::configured(&PeerConfig::default())
    }

    fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        let settings = patch.applied_to(&self.settings(), &self.settings()).map_err(bad)?;
        reads_as_written(&settings);
        Ok(settings)
    }
}
