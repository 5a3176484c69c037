//! The session as the control server sees it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use torrent_common::bitfield::Bitfield;
use torrent_common::config::is_tracker_url;
use torrent_common::geometry::{Geometry, PieceIndex};
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;
use torrent_common::metainfo::magnet::magnet_link;
use torrent_common::regular;

use super::adopt::NewTorrent;
use super::entry::Entry;
use super::error::StartupError;
use super::jobs::Jobs;
use super::request::Request;
use super::reserved;
use super::{Session, Shared};
use crate::control::api::{
    DaemonInfo, FileStatus, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails, TorrentState,
    TorrentStatus,
};
use crate::control::engine::{Engine, Refusal};
use crate::control::listing::{PAGE_TORRENTS, Page};
use crate::options::{OptionsPatch, TorrentOptions};
use crate::settings::{SessionSettings, SettingsPatch};

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
            torrents: shared.table().entries.len(),
        }
    }

    fn status(&self) -> Status {
        let torrents: Vec<TorrentStatus> = self.shared.table().in_order().map(Entry::status).collect();
        Status {
            download_rate: torrents.iter().map(|torrent| torrent.download_rate).sum(),
            upload_rate: torrents.iter().map(|torrent| torrent.upload_rate).sum(),
            peers: torrents.iter().map(|torrent| torrent.peers).sum(),
            torrents,
        }
    }

    fn page(&self, from: u64) -> Page {
        let table = self.shared.table();
        let mut rest = table.order.range(from..);
        let some = rest.by_ref().take(PAGE_TORRENTS);
        let torrents = some.filter_map(|(_, info_hash)| table.entries.get(info_hash)).map(Entry::status);
        let torrents = torrents.collect();
        Page { torrents, next: rest.next().map(|(&rank, _)| rank) }
    }

    fn torrent_status(&self, info_hash: &InfoHash) -> Option<TorrentStatus> {
        self.shared.table().entries.get(info_hash).map(|entry| entry.status())
    }

    fn details(&self, info_hash: &InfoHash) -> Result<TorrentDetails, Refusal> {
        let (status, stats, options, had) = {
            let table = self.shared.table();
            let entry = table.entries.get(info_hash).ok_or(Refusal::NotFound)?;
            (entry.status(), Arc::clone(&entry.stats), Arc::clone(&entry.options), entry.had())
        };
        let metainfo = self.shared.metainfo_now(info_hash).map_err(|error| unreadable(&error))?;
        let had = match had {
            Some(had) => had,
            None if status.progress >= 1.0
                && options.priorities.is_empty()
                && status.state != TorrentState::Checking =>
            {
                Bitfield::full(&metainfo.geometry)
            }
            None => self.shared.had_at_checkpoint(info_hash, &metainfo),
        };
        Ok(TorrentDetails {
            piece_length: u64::from(metainfo.geometry.nominal_piece_len()),
            piece_count: metainfo.geometry.piece_count(),
            pieces_had: stats.pieces_had.load(Ordering::Relaxed),
            torrent_path: self.shared.torrent_file_path(info_hash),
            magnet: magnet_link(&metainfo),
            trackers: metainfo.trackers.clone(),
            files: files_of(&metainfo, &options, &had),
            tracker_message: self.shared.with_announcer(|announcer| announcer.message(*info_hash)).flatten(),
            pieces_checked: stats.pieces_checked.load(Ordering::Relaxed),
            options: TorrentOptions::clone(&options),
            status,
        })
    }

    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal> {
        absolute(&request.path)?;
        request.options.check().map_err(|error| Refusal::BadRequest(error.to_string()))?;
        if let Some(url) = request.trackers.iter().find(|url| !is_tracker_url(url)) {
            return Err(Refusal::BadRequest(format!(
                "{url:?} is not a tracker's address: it should look like http://host:8000/announce"
            )));
        }
        let path = request.path.clone();
        let metadata = self
            .shared
            .outside
            .look(|| std::fs::metadata(path))?
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
        let output = std::path::absolute(&output).unwrap_or(output);
        reserved::check(&metainfo, &output, &self.shared.config.state_dir)?;
        self.shared.add(NewTorrent::leeching(Arc::new(metainfo), bytes, output, request.options))
    }

    fn pause(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Pause(*info_hash, reply), || Ok(()))
    }

    fn resume(&self, info_hash: &InfoHash) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Resume(*info_hash, reply), || Ok(()))
    }

    fn remove(&self, info_hash: &InfoHash, delete_data: bool) -> Result<(), Refusal> {
        self.shared.order(|reply| Request::Remove(*info_hash, delete_data, reply), || Ok(()))
    }

    fn set_options(&self, info_hash: &InfoHash, patch: &OptionsPatch) -> Result<TorrentDetails, Refusal> {
        let files = if patch.names_files() {
            let known = self.shared.table().entries.contains_key(info_hash);
            let metainfo = known.then(|| self.shared.metainfo_now(info_hash)).ok_or(Refusal::NotFound)?;
            metainfo.map_err(|error| unreadable(&error))?.payload_files().count()
        } else {
            0
        };
        self.shared.check_selection(info_hash, patch)?;
        let patch = Box::new(patch.clone());
        self.shared.order(|reply| Request::Options(*info_hash, patch, files, reply), || Err(later()))?;
        self.details(info_hash)
    }

    fn settings(&self) -> SessionSettings {
        self.shared.settings()
    }

    fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal> {
        let patch = Box::new(patch.clone());
        self.shared.order(|reply| Request::Settings(patch, reply), || Err(later()))
    }
}

impl Shared {
    /// Adds a torrent, or shows the one that is there already.
    pub(super) fn add(self: &Arc<Self>, mut new: NewTorrent) -> Result<TorrentStatus, Refusal> {
        let output = self.table().entries.get(&new.metainfo.info_hash).map(|entry| entry.output.clone());
        // Here, and not on the session's thread: it may wait for the disk.
        if let Some(output) = output.filter(|output| *output != new.output) {
            let (one, other) = (output.clone(), new.output.clone());
            if self.outside.look(move || is_same_folder(&one, &other))? {
                new.output = output;
            }
        }
        self.check_selection(&new.metainfo.info_hash, &new.options)?;
        self.order(|reply| Request::Add(Box::new(new), reply), || Err(later()))
    }

    /// What was had at the last checkpoint: good enough for a torrent that is not at work.
    pub(super) fn had_at_checkpoint(&self, info_hash: &InfoHash, metainfo: &Metainfo) -> Bitfield {
        let saved = self.store.load(info_hash).ok();
        let had = saved.and_then(|saved| saved.had(&metainfo.geometry));
        had.unwrap_or_else(|| Bitfield::empty(&metainfo.geometry))
    }

    fn torrent_bytes(&self, request: &LeechRequest) -> Result<Vec<u8>, Refusal> {
        match (&request.torrent_base64, &request.torrent_path) {
            (Some(text), None) => BASE64_STANDARD
                .decode(text)
                .map_err(|error| Refusal::BadRequest(format!("torrent_base64 is not base64: {error}"))),
            (None, Some(path)) => {
                absolute(path)?;
                let (named, max_len) = (path.clone(), self.config.max_torrent_len);
                self.outside
                    .look(move || read_bounded(&named, max_len))?
                    .map_err(|error| Refusal::BadRequest(format!("{}: {error}", path.display())))
            }
            _ => Err(Refusal::BadRequest("give either torrent_base64 or torrent_path".into())),
        }
    }
}

fn later() -> Refusal {
    Refusal::Unavailable(
        "the torrent is stopping, and its disk does not answer: it is done when that has, or try again later"
            .into(),
    )
}

fn is_same_folder(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The torrent file in STATE_DIR.
fn unreadable(error: &StartupError) -> Refusal {
    Refusal::Internal(format!("the daemon cannot read its copy of the torrent file: {error}"))
}

fn absolute(path: &Path) -> Result<(), Refusal> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(Refusal::BadRequest(format!("{} is not an absolute path", path.display())))
}

/// One byte over the limit is enough to see that it is passed.
fn read_bounded(path: &Path, max_len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    regular::open(path)?.take(max_len as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn files_of(metainfo: &Metainfo, options: &TorrentOptions, had: &Bitfield) -> Vec<FileStatus> {
    let geometry = metainfo.geometry;
    let payload = metainfo.payload_files().enumerate();
    payload
        .map(|(number, file)| FileStatus {
            length: file.len,
            priority: options.priority(number),
            bytes_had: bytes_had(file.offset, file.len, &geometry, had),
            path: file.path.as_str().to_owned(),
        })
        .collect()
}

/// Bytes of a file that are in pieces had.
fn bytes_had(offset: u64, len: u64, geometry: &Geometry, had: &Bitfield) -> u64 {
    if had.is_full() || len == 0 {
        return len;
    }
    let end = offset.saturating_add(len);
    let piece_len = u64::from(geometry.nominal_piece_len());
    let pieces = (offset / piece_len..end.div_ceil(piece_len))
        .filter_map(|index| geometry.piece(u32::try_from(index).ok()?));
    let overlap = |piece: PieceIndex| {
        let from = geometry.offset(piece);
        let to = from.saturating_add(geometry.piece_len(piece).into());
        to.min(end).saturating_sub(from.max(offset))
    };
    pieces.filter(|&piece| had.contains(piece)).map(overlap).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Priority;
    use crate::storage::testing::{TestFile, torrent};

    #[test]
    fn files_show_what_is_had_of_them() {
        let padded = TestFile { path: "p".into(), len: 50, padding: true };
        let mut files = TestFile::list(&[("a", 150), ("c", 120), ("empty", 0)]);
        files.insert(1, padded);
        let metainfo = torrent("t", &files, 100, None);
        // Pieces: a a+p c c(20).
        let mut had = Bitfield::empty(&metainfo.geometry);
        for index in [1, 3] {
            assert!(had.insert(metainfo.geometry.piece(index).unwrap()));
        }
        let options = TorrentOptions {
            priorities: vec![Priority::Low, Priority::High, Priority::Skip],
            ..TorrentOptions::default()
        };
        let shown = files_of(&metainfo, &options, &had);
        let brief: Vec<_> = shown.iter().map(|f| (f.length, f.bytes_had, f.priority)).collect();
        assert_eq!(brief, [(150, 50, Priority::Low), (120, 20, Priority::High), (0, 0, Priority::Skip)]);
        let all = files_of(&metainfo, &options, &Bitfield::full(&metainfo.geometry));
        assert!(all.iter().all(|file| file.bytes_had == file.length));
    }
}
