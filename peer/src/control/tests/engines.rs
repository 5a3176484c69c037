//! Engines to put behind the server.

use std::sync::Mutex;

use torrent_common::config::PeerConfig;
use torrent_common::ids::InfoHash;

use crate::control::api::{
    DaemonInfo, JobStatus, LeechRequest, SeedRequest, SeedResult, Status, TorrentDetails, TorrentState,
    TorrentStatus,
};
use crate::control::engine::{Engine, Refusal};
use crate::control::listing::Page;
use crate::options::{OptionsPatch, TorrentOptions};
use crate::settings::{SessionSettings, SettingsPatch};

/// Remembers what it was told; knows one torrent.
#[derive(Default)]
pub struct FakeEngine {
    calls: Mutex<Vec<String>>,
}

impl FakeEngine {
    fn note(&self, call: impl Into<String>) {
        self.calls.lock().unwrap().push(call.into());
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

pub fn known() -> InfoHash {
    InfoHash::new([7; 20])
}

pub fn torrent() -> TorrentStatus {
    TorrentStatus {
        info_hash: known(),
        name: "näme\u{1b}[2J".into(),
        state: TorrentState::Downloading,
        progress: 0.25,
        size: 4000,
        selected: 4000,
        downloaded: 1000,
        uploaded: 10,
        download_rate: 100,
        upload_rate: 1,
        peers: 3,
        seeds: 1,
        eta_seconds: Some(30),
        error: None,
        retry_seconds: None,
        output: "/downloads".into(),
        private: false,
    }
}

fn known_only(info_hash: &InfoHash) -> Result<(), Refusal> {
    if *info_hash == known() { Ok(()) } else { Err(Refusal::NotFound) }
}

impl Engine for FakeEngine {
    fn info(&self) -> DaemonInfo {
        DaemonInfo {
            name: "torrent-daemon".into(),
            version: "1".into(),
            peer_id: "-TF0100-aaaaaaaaaaaa".into(),
            peer_port: 6881,
            tracker_url: "http://127.0.0.1:8000/announce".into(),
            download_dir: "/downloads".into(),
            uptime_seconds: 5,
            torrents: 1,
        }
    }

    fn status(&self) -> Status {
        Status { torrents: vec![torrent()], download_rate: 100, upload_rate: 1, peers: 3 }
    }

    fn details(&self, info_hash: &InfoHash) -> Result<TorrentDetails, Refusal> {
        known_only(info_hash).map(|()| TorrentDetails {
            status: torrent(),
            piece_length: 1000,
            piece_count: 4,
            pieces_had: 1,
            trackers: vec![vec!["http://t/announce".into()]],
            files: vec![],
            torrent_path: "/t".into(),
            magnet: "magnet:?".into(),
            tracker_message: None,
            pieces_checked: 0,
            options: TorrentOptions::default(),
        })
    }

    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal> {
        self.note(format!("seed {}", request.path.display()));
        match request.name.as_deref() {
            Some("panic") => panic!("on purpose"),
            Some("busy") => Err(Refusal::Unavailable("too many jobs".into())),
            Some("broken") => Err(Refusal::Internal("disk".into())),
            _ => Ok(9),
        }
    }

    fn job(&self, job: u64) -> Option<JobStatus> {
        match job {
            9 => Some(JobStatus::Running { done: 1, total: 2 }),
            10 => Some(JobStatus::Failed { error: "why".into() }),
            11 => Some(JobStatus::Done(SeedResult {
                info_hash: known(),
                name: "n".into(),
                torrent_path: "/t".into(),
                magnet: "m".into(),
                published: true,
                publish_error: None,
                started_again: None,
                links_left_out: None,
            })),
            _ => None,
        }
    }

    fn cancel_job(&self, job: u64) -> bool {
        self.note(format!("cancel {job}"));
        job == 9
    }

    fn leech(&self, request: LeechRequest) -> Result<TorrentStatus, Refusal> {
        self.note(format!(
            "leech {} {:?}",
            request.torrent_base64.as_deref().unwrap_or("").len(),
            request.output
        ));
        match request.torrent_base64.as_deref() {
            Some("bad") => Err(Refusal::BadRequest("not a torrent".into())),
            Some("other") => Err(Refusal::Conflict("known with another folder".into())),
            _ => Ok(torrent()),
        }
    }

    fn pause(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.note("pause");
        known_only(info_hash)
    }

    fn resume(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.note("resume");
        known_only(info_hash)
    }

    fn remove(&self, info_hash: &InfoHash, delete_data: bool) -> Result<(), Refusal> {
        self.note(format!("remove {delete_data}"));
        known_only(info_hash)
    }

    fn set_options(&self, info_hash: &InfoHash, patch: &OptionsPatch) -> Result<TorrentDetails, Refusal> {
        self.note(format!("options {:?} {:?}", patch.seed_ratio, patch.files));
        known_only(info_hash)?;
        let mut details = self.details(info_hash).unwrap();
        details.options = patch.applied_to(&details.options, 3).unwrap();
        Ok(details)
    }

    fn settings(&self) -> SessionSettings {
        SessionSettings::configured(&PeerConfig::default())
    }

    fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        self.note(format!("settings {:?}", patch.max_active_seeds));
        patch
            .applied_to(&self.settings(), &self.settings())
            .map_err(|error| Refusal::BadRequest(error.to_string()))
    }
}

/// Has this many torrents, in pages of ten.
pub struct Many(pub u64);

impl Many {
    fn one(number: u64) -> TorrentStatus {
        let output = if number == 7 {
            std::os::unix::ffi::OsStringExt::from_vec(b"/not \xff utf-8".to_vec())
        } else {
            std::ffi::OsString::from("/o")
        };
        let name = format!("torrent \"{number}\"");
        TorrentStatus { name, output: output.into(), download_rate: 3, upload_rate: 2, peers: 1, ..torrent() }
    }
}

impl Engine for Many {
    fn status(&self) -> Status {
        panic!("not asked for all at once")
    }

    fn page(&self, from: u64) -> Page {
        let end = (from + 10).min(self.0);
        Page { torrents: (from..end).map(Self::one).collect(), next: (end < self.0).then_some(end) }
    }

    fn info(&self) -> DaemonInfo {
        FakeEngine::default().info()
    }

    fn details(&self, _: &InfoHash) -> Result<TorrentDetails, Refusal> {
        Err(Refusal::NotFound)
    }

    fn seed(&self, _: SeedRequest) -> Result<u64, Refusal> {
        Err(Refusal::NotFound)
    }

    fn job(&self, _: u64) -> Option<JobStatus> {
        None
    }

    fn cancel_job(&self, _: u64) -> bool {
        false
    }

    fn leech(&self, _: LeechRequest) -> Result<TorrentStatus, Refusal> {
        Err(Refusal::NotFound)
    }

    fn pause(&self, _: &InfoHash) -> Result<(), Refusal> {
        Err(Refusal::NotFound)
    }

    fn resume(&self, _: &InfoHash) -> Result<(), Refusal> {
        Err(Refusal::NotFound)
    }

    fn remove(&self, _: &InfoHash, _: bool) -> Result<(), Refusal> {
        Err(Refusal::NotFound)
    }

    fn set_options(&self, _: &InfoHash, _: &OptionsPatch) -> Result<TorrentDetails, Refusal> {
        Err(Refusal::NotFound)
    }

    fn settings(&self) -> SessionSettings {
        FakeEngine::default().settings()
    }

    fn set_settings(&self, _: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        Err(Refusal::NotFound)
    }
}
