//! The control client: what the commands ask the daemon with. Blocking, typed, with errors in words for the user.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use torrent_common::ids::InfoHash;
use ureq::Agent;

use super::api::{
    ApiError, DaemonInfo, JobStarted, JobStatus, LeechRequest, SeedRequest, Status, TorrentDetails,
    TorrentRequest, TorrentStatus,
};
use crate::http::read_body;
use crate::options::OptionsPatch;
use crate::settings::{SessionSettings, SettingsPatch};
use crate::text::{escape_for_log, tame};

/// For one request in all. The daemon answers soon; a large torrent file takes a moment to send.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of an answer at most: the status of some hundred thousand torrents.
const ANSWER_MAX: u64 = 256 << 20;

/// Asks the daemon of this machine.
#[derive(Debug, Clone)]
pub struct ControlClient {
    agent: Agent,
    port: u16,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no torrent-daemon answers on 127.0.0.1:{0}: start one with `torrent-daemon`, or say --port")]
    NotRunning(u16),
    /// Somebody listens there and is silent.
    #[error(
        "torrent-daemon on 127.0.0.1:{0} did not answer in time: its log says why, or it needs a restart"
    )]
    Timeout(u16),
    /// Another program, or another version.
    #[error(
        "what answers on 127.0.0.1:{port} does not speak as torrent-daemon does ({detail}): is --port right?"
    )]
    Stranger {
        /// The control port asked.
        port: u16,
        /// What was odd.
        detail: String,
    },
    /// The daemon says no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its reason, escaped for a terminal.
        message: String,
    },
    /// The connection broke.
    #[error("the connection to torrent-daemon on 127.0.0.1:{port} broke: {detail}")]
    Broken {
        /// The control port asked.
        port: u16,
        /// How.
        detail: String,
    },
}

impl ControlClient {
    /// For the daemon whose control port this is. Opens nothing yet.
    pub fn new(port: u16) -> Self {
        // No proxy from the environment: it would not know our 127.0.0.1.
        let config =
            Agent::config_builder().proxy(None).http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Self { agent: config.max_redirects(0).build().new_agent(), port }
    }

    /// The control port asked.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Who answers.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Stranger`] also when it is not torrent-daemon.
    pub fn info(&self) -> Result<DaemonInfo, ClientError> {
        let info: DaemonInfo = self.get("/")?;
        if info.name == "torrent-daemon" {
            Ok(info)
        } else {
            Err(ClientError::Stranger { port: self.port, detail: "another name".into() })
        }
    }

    /// Every torrent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<Status, ClientError> {
        self.get("/status")
    }

    /// One torrent, briefly.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn torrent_status(&self, info_hash: &InfoHash) -> Result<TorrentStatus, ClientError> {
        self.get(&format!("/torrents/{info_hash}/status"))
    }

    /// All about one torrent.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn details(&self, info_hash: &InfoHash) -> Result<TorrentDetails, ClientError> {
        self.get(&format!("/torrents/{info_hash}"))
    }

    /// Begins to make and seed a torrent; gives the job's number.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn seed(&self, request: &SeedRequest) -> Result<u64, ClientError> {
        self.post("/seed", request).map(|started: JobStarted| started.job)
    }

    /// How far a job is.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn job(&self, job: u64) -> Result<JobStatus, ClientError> {
        self.get(&format!("/jobs/{job}"))
    }

    /// Tells a job to stop.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn cancel_job(&self, job: u64) -> Result<(), ClientError> {
        self.post(&format!("/jobs/{job}/cancel"), &serde_json::json!({})).map(|_: serde_json::Value| ())
    }

    /// Adds a torrent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn leech(&self, request: &LeechRequest) -> Result<TorrentStatus, ClientError> {
        self.post("/leech", request)
    }

    /// Stops a torrent for now.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn pause(&self, info_hash: InfoHash) -> Result<(), ClientError> {
        self.act("/pause", info_hash, false)
    }

    /// Goes on with a torrent.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn resume(&self, info_hash: InfoHash) -> Result<(), ClientError> {
        self.act("/resume", info_hash, false)
    }

    /// Forgets a torrent; with `delete_data` its payload goes too.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known.
    pub fn remove(&self, info_hash: InfoHash, delete_data: bool) -> Result<(), ClientError> {
        self.act("/remove", info_hash, delete_data)
    }

    /// Changes what is set for a torrent; gives all about it.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when it is not known, 400 when a value makes no sense.
    pub fn set_options(
        &self,
        info_hash: InfoHash,
        patch: &OptionsPatch,
    ) -> Result<TorrentDetails, ClientError> {
        self.post(&format!("/torrents/{info_hash}/options"), patch)
    }

    /// What holds for all torrents.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn settings(&self) -> Result<SessionSettings, ClientError> {
        self.get("/settings")
    }

    /// Changes what holds for all torrents, until the daemon ends.
    ///
    /// # Errors
    /// [`ClientError`]; 400 when a value makes no sense.
    pub fn set_settings(&self, patch: &SettingsPatch) -> Result<SessionSettings, ClientError> {
        self.post("/settings", patch)
    }

    fn act(&self, path: &str, info_hash: InfoHash, delete_data: bool) -> Result<(), ClientError> {
        self.post(path, &TorrentRequest { info_hash, delete_data }).map(|_: serde_json::Value| ())
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.agent.get(self.url(path)).call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Refused {
            status: 400,
            message: format!("the request cannot be written as JSON: {error} (is a path not UTF-8?)"),
        })?;
        self.read(self.agent.post(self.url(path)).content_type("application/json").send(&body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let mut answer = answer.map_err(|error| self.error(error))?;
        let status = answer.status().as_u16();
        let body = read_body(answer.body_mut(), ANSWER_MAX).map_err(|error| self.error(error))?;
        let stranger = |detail: String| ClientError::Stranger { port: self.port, detail };
        if status == 200 {
            return serde_json::from_slice(&body).map_err(|error| stranger(error.to_string()));
        }
        match serde_json::from_slice::<ApiError>(&body) {
            Ok(refusal) => Err(ClientError::Refused { status, message: tame(&refusal.error, 1000) }),
            Err(_) => Err(stranger(format!("HTTP status {status}"))),
        }
    }

    fn error(&self, error: ureq::Error) -> ClientError {
        use std::io::ErrorKind;
        let port = self.port;
        match error {
            ureq::Error::ConnectionFailed => ClientError::NotRunning(port),
            ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(port)
            }
            ureq::Error::Timeout(_) => ClientError::Timeout(port),
            ureq::Error::Io(error) => ClientError::Broken { port, detail: error.to_string() },
            other => ClientError::Stranger { port, detail: escape_for_log(&other.to_string(), 200) },
        }
    }
}
