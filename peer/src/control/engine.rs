//! What the control server asks of the session: the seam between HTTP and torrents.

use torrent_common::ids::InfoHash;

use super::api::{DaemonInfo, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails, TorrentStatus};
use super::listing::Page;
use crate::options::OptionsPatch;
use crate::settings::{SessionSettings, SettingsPatch};

/// The session, as the control server sees it. Every call answers soon: what takes long (hashing, checking, announcing)
/// goes on elsewhere, and its progress is asked for.
pub trait Engine: Send + Sync + 'static {
    /// Who answers.
    fn info(&self) -> DaemonInfo;

    /// Every torrent, in the order they were added.
    fn status(&self) -> Status;

    /// The torrents from `from` on (0 at first, then what the last page says), a few at a time.
    fn page(&self, from: u64) -> Page {
        let torrents = if from == 0 { self.status().torrents } else { Vec::new() };
        Page { torrents, next: None }
    }

    /// One torrent, briefly: for who asks often. None when it is not known.
    fn torrent_status(&self, info_hash: &InfoHash) -> Option<TorrentStatus> {
        self.status().torrents.into_iter().find(|torrent| torrent.info_hash == *info_hash)
    }

    /// All about one torrent. Its file list may be long, and is made for each call.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], and [`Refusal::Internal`] when its torrent file cannot be read.
    fn details(&self, info_hash: &InfoHash) -> Result<TorrentDetails, Refusal>;

    /// Begins to make a torrent, seed it, and publish it unless private. Gives the job's number.
    ///
    /// # Errors
    /// [`Refusal`] when the request cannot even begin: no such path, a bad piece length, too many jobs.
    fn seed(&self, request: SeedRequest) -> Result<u64, Refusal>;

    /// How far a job is; None when there never was one of this number, or it ended long ago.
    fn job(&self, job: u64) -> Option<JobStatus>;

    /// Tells a job to stop; false when there is none of this number. A job that is over stays as it is.
    fn cancel_job(&self, job: u64) -> bool;

    /// Adds a torrent and begins to check what is there already. A torrent that is known already is answered with its
    /// status, if the output folder is the same.
    ///
    /// # Errors
    /// [`Refusal`]: not a torrent, unreadable, or known with another folder.
    fn leech(&self, request: LeechRequest) -> Result<TorrentStatus, Refusal>;

    /// Stops a torrent until [`Engine::resume`]; paused already is fine.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] and failures to keep it for the next start.
    fn pause(&self, info_hash: &InfoHash) -> Result<(), Refusal>;

    /// Goes on with a paused or failed torrent; active already is fine.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] and failures to keep it for the next start.
    fn resume(&self, info_hash: &InfoHash) -> Result<(), Refusal>;

    /// Forgets a torrent; with `delete_data` its payload goes too.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] and failures to delete.
    fn remove(&self, info_hash: &InfoHash, delete_data: bool) -> Result<(), Refusal>;

    /// Changes what is set for one torrent, at once and for later starts: done, it survives a kill. Files that are selected
    /// are put in their places afterwards: the torrent is not complete before.
    ///
    /// # Errors
    /// [`Refusal`]: not known, a value that makes no sense, or it cannot be kept.
    fn set_options(&self, info_hash: &InfoHash, patch: &OptionsPatch) -> Result<TorrentDetails, Refusal>;

    /// What holds for all torrents.
    fn settings(&self) -> SessionSettings;

    /// Changes what holds for all torrents, until the daemon ends.
    ///
    /// # Errors
    /// [`Refusal::BadRequest`] for a value that makes no sense.
    fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, Refusal>;
}

/// Why a request was not done. The text is for a person, and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request makes no sense (400).
    #[error("{0}")]
    BadRequest(String),
    /// No such torrent (404).
    #[error("no such torrent; torrent-status shows those that the daemon knows")]
    NotFound,
    /// It contradicts what is there (409).
    #[error("{0}")]
    Conflict(String),
    /// Not now: too much to do, or stopping (503).
    #[error("{0}")]
    Unavailable(String),
    /// Our fault, or the disk's (500).
    #[error("{0}")]
    Internal(String),
}

impl Refusal {
    /// The HTTP status that says so.
    pub const fn status_code(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NotFound => 404,
            Self::Conflict(_) => 409,
            Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }
}
