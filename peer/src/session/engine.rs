//! The session as the control server sees it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use crossbeam_channel::Sender;
use rustix::fs::{Mode, OFlags};
use torrent_common::config::is_tracker_url;
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::magnet::magnet_link;
use torrent_common::metainfo::{self, Metainfo};

use super::actor::Request;
use super::jobs::Jobs;
use super::start::NewTorrent;
use super::{Session, Shared};
use crate::control::api::{
    DaemonInfo, FileStatus, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails, TorrentStatus,
};
use crate::control::engine::{Engine, Refusal};

impl Engine for Session {
    fn info(&self) -> DaemonInfo {
        let shared = &self.shared;
        DaemonInfo {
            name: "torrent-daemon".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            peer_id: shared.own_peer_id.to_string(),
            peer_port: shared.peer_port.get().copied().unwrap_or_default(),
            tracker_url: shared.config.tracker_url.clone(),
            download_dir: shared.config.download_dir.clone(),
            uptime_seconds: shared.started.elapsed().as_secs(),
            torrents: shared.table().order.len(),
        }
    }

    fn status(&self) -> Status {
        let torrents: Vec<TorrentStatus> = {
            let table = self.shared.table();
            table
                .order
                .iter()
                .filter_map(|info_hash| table.entries.get(info_hash))
                .map(|e| e.status())
                .collect()
        };
        Status {
            download_rate: torrents.iter().map(|torrent| torrent.download_rate).sum(),
            upload_rate: torrents.iter().map(|torrent| torrent.upload_rate).sum(),
            peers: torrents.iter().map(|torrent| torrent.peers).sum(),
            torrents,
        }
    }

    fn torrent_status(&self, info_hash: &InfoHash) -> Option<TorrentStatus> {
        self.shared.table().entries.get(info_hash).map(|entry| entry.status())
    }

    fn details(&self, info_hash: &InfoHash) -> Option<TorrentDetails> {
        let (status, stats) = {
            let table = self.shared.table();
            let entry = table.entries.get(info_hash)?;
            (entry.status(), Arc::clone(&entry.stats))
        };
        // Read anew for the few who ask: ten thousand idle torrents keep no file lists in memory.
        let metainfo = self.shared.metainfo(info_hash).ok()?;
        Some(TorrentDetails {
            piece_length: u64::from(metainfo.geometry.nominal_piece_len()),
            piece_count: metainfo.geometry.piece_count(),
            pieces_had: stats.pieces_had.load(Ordering::Relaxed),
            torrent_path: self.shared.torrent_file_path(info_hash),
            magnet: magnet_link(&metainfo),
            trackers: metainfo.trackers,
            files: files_of(metainfo.files),
            tracker_message: self.shared.with_announcer(|announcer| announcer.message(*info_hash)).flatten(),
            pieces_checked: stats.pieces_checked.load(Ordering::Relaxed),
            status,
        })
    }

    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal> {
        absolute(&request.path)?;
        if let Some(url) = request.trackers.iter().find(|url| !is_tracker_url(url)) {
            return Err(Refusal::BadRequest(format!(
                "{url:?} is not a tracker's address: it should look like http://host:8000/announce"
            )));
        }
        let metadata = std::fs::metadata(&request.path)
            .map_err(|error| Refusal::BadRequest(format!("{}: {error}", request.path.display())))?;
        if !metadata.is_file() && !metadata.is_dir() {
            return Err(Refusal::BadRequest(format!(
                "{} is neither a file nor a folder",
                request.path.display()
            )));
        }
        Jobs::start(&self.shared, request)
    }

    fn job(&self, job: u64) -> Option<JobStatus> {
        self.shared.jobs.status(job)
    }

    fn cancel_job(&self, job: u64) -> bool {
        self.shared.jobs.cancel(job)
    }

    fn leech(&self, request: LeechRequest) -> Result<TorrentStatus, Refusal> {
        let bytes = self.shared.torrent_bytes(&request)?;
        let metainfo = Metainfo::parse(&bytes, &self.shared.limits())
            .map_err(|error| Refusal::BadRequest(format!("not a usable torrent: {error}")))?;
        let output = request.output.unwrap_or_else(|| self.shared.config.download_dir.clone());
        self.shared.add(NewTorrent::leeching(
            Arc::new(metainfo),
            bytes,
            std::path::absolute(&output).unwrap_or(output),
        ))
    }

    fn pause(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Pause(*info_hash, reply))
    }

    fn resume(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Resume(*info_hash, reply))
    }

    fn remove(&self, info_hash: &InfoHash, delete_data: bool) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Remove(*info_hash, delete_data, reply))
    }
}

impl Shared {
    /// Adds a torrent, or shows the one that is there already.
    pub(super) fn add(&self, new: NewTorrent) -> Result<TorrentStatus, Refusal> {
        self.order(|reply| Request::Add(Box::new(new), reply))
    }

    /// Asks the session's thread, and waits for its answer.
    fn order<T>(&self, request: impl FnOnce(Sender<Result<T, Refusal>>) -> Request) -> Result<T, Refusal> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.ask(request(reply));
        answer.recv().unwrap_or_else(|_| Err(Refusal::Unavailable("the daemon is stopping".into())))
    }

    fn torrent_bytes(&self, request: &LeechRequest) -> Result<Vec<u8>, Refusal> {
        match (&request.torrent_base64, &request.torrent_path) {
            (Some(text), None) => BASE64_STANDARD
                .decode(text)
                .map_err(|error| Refusal::BadRequest(format!("torrent_base64 is not base64: {error}"))),
            (None, Some(path)) => {
                absolute(path)?;
                read_bounded(path, self.config.max_torrent_len)
                    .map_err(|error| Refusal::BadRequest(format!("{}: {error}", path.display())))
            }
            _ => Err(Refusal::BadRequest("give either torrent_base64 or torrent_path".into())),
        }
    }
}

fn absolute(path: &Path) -> Result<(), Refusal> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Refusal::BadRequest(format!("{} is not an absolute path", path.display())))
}

/// One byte over the limit is enough to see that it is passed.
fn read_bounded(path: &PathBuf, max_len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A named pipe would wait for its other end, and the daemon for it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a file"));
    }
    file.take(max_len as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn files_of(files: Vec<metainfo::File>) -> Vec<FileStatus> {
    let payload = files.into_iter().filter(|file| !file.padding);
    payload.map(|file| FileStatus { path: file.path.into_string(), length: file.len }).collect()
}
