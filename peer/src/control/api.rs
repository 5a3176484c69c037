//! The control API's JSON, both directions. Rates are in bytes per second, sizes in bytes, times in seconds. A field is
//! never removed or changed in meaning; new ones may come.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use torrent_common::ids::InfoHash;

use crate::object::object;
use crate::options::{OptionsPatch, Priority, TorrentOptions};

/// GET /: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Always `torrent-daemon`.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Our peer id, printable.
    pub peer_id: String,
    /// The port peers connect to.
    pub peer_port: u16,
    /// The tracker used when a torrent is made, and its catalogue.
    pub tracker_url: String,
    /// Where downloads go unless told otherwise.
    pub download_dir: PathBuf,
    /// Seconds since start.
    pub uptime_seconds: u64,
    /// Torrents known.
    pub torrents: usize,
}

/// What a torrent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TorrentState {
    /// Existing data is being hashed.
    Checking,
    /// Pieces that are selected are missing, or had and on their way to files that were selected later.
    Downloading,
    /// All that is selected is there, in its files.
    Seeding,
    /// Stopped by the user.
    Paused,
    /// Stopped by an error, which `error` tells.
    Error,
    /// To be paused or removed, when what was begun is on disk: until its disk answers.
    Stopping,
    /// Waiting until others that are active make room for it.
    Queued,
    /// Complete, and seeded as long as it was to be; resuming it seeds it on.
    Finished,
}

/// One torrent, briefly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TorrentStatus {
    /// Which.
    pub info_hash: InfoHash,
    /// Its name: a stranger's text.
    pub name: String,
    /// What it does.
    pub state: TorrentState,
    /// 0 to 1: of the selected payload had, or, while checking, of the data checked.
    pub progress: f64,
    /// Bytes of payload.
    pub size: u64,
    /// Bytes of the pieces that have a part of what is selected: all of them unless files are skipped.
    #[serde(default)]
    pub selected: u64,
    /// Bytes of payload downloaded, in all sessions.
    pub downloaded: u64,
    /// Bytes of payload uploaded, in all sessions. The ratio that goals and the commands speak of is `uploaded / selected`,
    /// whether the payload was downloaded here or made of what was there.
    pub uploaded: u64,
    /// Now.
    pub download_rate: u64,
    /// Now.
    pub upload_rate: u64,
    /// Connections.
    pub peers: u32,
    /// Connections to seeders.
    pub seeds: u32,
    /// Until complete; null when unknown.
    pub eta_seconds: Option<u64>,
    /// The last thing that went wrong, if it still matters.
    pub error: Option<String>,
    /// In state `error`: until it is tried again by itself, 0 while it is; null if only a user starts it again.
    #[serde(default)]
    pub retry_seconds: Option<u64>,
    /// Where the payload is.
    pub output: PathBuf,
    /// BEP 27.
    pub private: bool,
}

/// GET /status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Every torrent, in the order they were added.
    pub torrents: Vec<TorrentStatus>,
    /// Of all torrents.
    pub download_rate: u64,
    /// Of all torrents.
    pub upload_rate: u64,
    /// Of all torrents.
    pub peers: u32,
}

/// GET /torrents/{info_hash}.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TorrentDetails {
    /// What GET /status says of it.
    #[serde(flatten)]
    pub status: TorrentStatus,
    /// Bytes.
    pub piece_length: u64,
    /// How many.
    pub piece_count: u32,
    /// How many are had.
    pub pieces_had: u32,
    /// By tier.
    pub trackers: Vec<Vec<String>>,
    /// In payload order, padding left out.
    pub files: Vec<FileStatus>,
    /// The torrent file.
    pub torrent_path: PathBuf,
    /// The magnet link.
    pub magnet: String,
    /// The last answer of its tracker, or why there was none.
    pub tracker_message: Option<String>,
    /// Pieces hashed from disk since the daemon started: 0 after a clean or unclean restart with intact data.
    pub pieces_checked: u32,
    /// What the user set for it.
    #[serde(default)]
    pub options: TorrentOptions,
}

/// A file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Below `output`, with `/`.
    pub path: String,
    /// Bytes.
    pub length: u64,
    /// How much it is wanted.
    #[serde(default)]
    pub priority: Priority,
    /// Bytes of it in pieces that are had.
    #[serde(default)]
    pub bytes_had: u64,
}

/// POST /seed: make a torrent of a file or folder, seed it, and publish it unless private. Answered with [`JobStarted`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRequest {
    /// A file or folder; absolute.
    pub path: PathBuf,
    /// BEP 27; also: not published.
    #[serde(default)]
    pub private: bool,
    /// Bytes; chosen by size unless given.
    #[serde(default)]
    pub piece_length: Option<u64>,
    /// One tier each; the configured tracker unless given.
    #[serde(default)]
    pub trackers: Vec<String>,
    /// The input's own name unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// For the catalogue.
    #[serde(default)]
    pub description: Option<String>,
    /// What to set for it.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "OptionsPatch::is_empty")]
    pub options: OptionsPatch,
}

/// The answer to POST /seed: ask GET /jobs/{job} how far it is; POST /jobs/{job}/cancel stops it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStarted {
    /// Its number.
    pub job: u64,
}

/// GET /jobs/{job}.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum JobStatus {
    /// Hashing.
    Running {
        /// Bytes hashed.
        done: u64,
        /// Bytes in all; 0 until known.
        total: u64,
    },
    /// Over and well. Kept for a while.
    Done(SeedResult),
    /// Over and not well.
    Failed {
        /// Why.
        error: String,
    },
}

/// What POST /seed led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedResult {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
    /// The torrent file, in the daemon's TORRENT_DIR.
    pub torrent_path: PathBuf,
    /// The magnet link.
    pub magnet: String,
    /// Whether the catalogue has it now.
    pub published: bool,
    /// Why it is not in the catalogue although it should be.
    pub publish_error: Option<String>,
    /// What it did, if it was known and stood still (`paused`, `finished` or `error`): it was started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_again: Option<TorrentState>,
    /// The links below the folder, if there are any: they are not in the torrent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links_left_out: Option<LinksLeftOut>,
}

/// Links that are not in a torrent that was made, since none below its folder is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinksLeftOut {
    /// How many.
    pub count: u64,
    /// Where the first of them is, by its path.
    pub first: String,
}

/// POST /leech: exactly one of the two ways to say which torrent. Answered with [`TorrentStatus`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeechRequest {
    /// The torrent file's bytes, base64.
    #[serde(default)]
    pub torrent_base64: Option<String>,
    /// A torrent file that the daemon can read; absolute.
    #[serde(default)]
    pub torrent_path: Option<PathBuf>,
    /// The folder to put it in; absolute; DOWNLOAD_DIR unless given.
    #[serde(default)]
    pub output: Option<PathBuf>,
    /// What to set for it; changes what is set for a torrent that is known already.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "OptionsPatch::is_empty")]
    pub options: OptionsPatch,
}

/// POST /pause, /resume and /remove. Answered with `{}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TorrentRequest {
    /// Which.
    pub info_hash: InfoHash,
    /// With /remove: delete the payload too (the files of the torrent and then-empty folders, nothing else).
    #[serde(default)]
    pub delete_data: bool,
}

/// Any refusal: HTTP 4xx or 5xx with this body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What went wrong and what to do, for a person.
    pub error: String,
}
