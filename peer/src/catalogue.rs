//! The tracker's catalogue, from outside: list and search it, take torrents from it, publish to it.

use std::time::Duration;

use serde::Deserialize;
use torrent_common::ids::{InfoHash, PeerId};

/// One published torrent. Texts are strangers': escape them for the medium.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Entry {
    /// Which.
    pub info_hash: InfoHash,
    /// Its name.
    pub name: String,
    /// What its publisher says of it.
    #[serde(default)]
    pub description: String,
    /// Bytes of payload.
    #[serde(default)]
    pub size: u64,
    /// How many files.
    #[serde(default)]
    pub files: u64,
    /// Peers that have all of it.
    #[serde(default)]
    pub seeders: u32,
    /// Peers that have not.
    #[serde(default)]
    pub leechers: u32,
    /// Downloads completed.
    #[serde(default)]
    pub completed: u64,
    /// When it was published, in seconds since 1970.
    #[serde(default)]
    pub created: i64,
}

/// A part of what was searched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Page {
    /// How many there are in all.
    #[serde(default)]
    pub total: u64,
    /// Those of this page.
    pub torrents: Vec<Entry>,
}

/// GET /: who answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TrackerInfo {
    /// The program's name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Torrents with peers.
    #[serde(default)]
    pub torrents: u64,
    /// Peers.
    #[serde(default)]
    pub peers: u64,
}

/// What to publish, and the announce that goes with it.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// The torrent file.
    pub torrent: &'a [u8],
    /// Which torrent that is.
    pub info_hash: InfoHash,
    /// The name to list it under.
    pub name: &'a str,
    /// Free text.
    pub description: &'a str,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where peers reach us.
    pub port: u16,
    /// Proves our identity when our address changes.
    pub key: u32,
    /// Bytes we lack ourselves: 0 for a seeder.
    pub left: u64,
}

/// Publishing led to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Something the tracker wants the user to read: a stranger's text.
    pub warning: Option<String>,
}

/// Why the catalogue did not do as asked, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The configured address is none.
    #[error(
        "{0:?} is not a tracker's address: it should look like http://host:8000/announce (TRACKER_URL in config.ini)"
    )]
    BadUrl(String),
}

/// A client of one tracker's catalogue. Each call blocks for at most the timeout.
#[derive(Debug, Clone)]
pub struct CatalogueClient {}

impl CatalogueClient {
    /// For the tracker that announces go to at `tracker_url`.
    ///
    /// # Errors
    /// [`CatalogueError::BadUrl`].
    pub fn new(tracker_url: &str, timeout: Duration) -> Result<Self, CatalogueError> {
        let _ = timeout;
        Err(CatalogueError::BadUrl(tracker_url.into()))
    }

    /// Whether the tracker is there, and what it says of itself.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn ping(&self) -> Result<TrackerInfo, CatalogueError> {
        todo!("catalogue")
    }

    /// Published torrents, those that match `query` if there is one, from number `offset` on.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn search(&self, query: Option<&str>, offset: u64, limit: u32) -> Result<Page, CatalogueError> {
        let _ = (query, offset, limit);
        todo!("catalogue")
    }

    /// The torrent file of a published torrent: parsed, and the right one.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn fetch(&self, info_hash: InfoHash) -> Result<Vec<u8>, CatalogueError> {
        let _ = info_hash;
        todo!("catalogue")
    }

    /// Publishes a torrent and announces it.
    ///
    /// # Errors
    /// [`CatalogueError`], in words for the user.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Published, CatalogueError> {
        let _ = publication;
        todo!("catalogue")
    }
}
