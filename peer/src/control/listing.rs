//! The list of all torrents as JSON, made as it is read, a page at a time: ten thousand torrents cost the memory of a few
//! hundred, and no lock is held for longer than a page takes.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::api::{Status, TorrentStatus};
use super::engine::Engine;

/// Bytes of JSON made at a time, a little more or less.
const PAGE_LEN: usize = 64 << 10;
/// Torrents asked of the engine at a time.
pub const PAGE_TORRENTS: usize = 128;

/// Some of the torrents, as they were added.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Briefly.
    pub torrents: Vec<TorrentStatus>,
    /// What to ask for next; `None`: these were the last.
    pub next: Option<u64>,
}

/// What GET /status or GET /torrents answers: to be read once.
pub struct Listing {
    engine: Arc<dyn Engine>,
    with_sums: bool,
    /// What is made and not yet read begins here.
    at: usize,
    made: Vec<u8>,
    /// The next page; `None` when all is made.
    next: Option<u64>,
    any: bool,
    sums: Status,
}

impl Listing {
    /// Everything that [`Status`] has, the sums of all torrents included.
    pub fn status(engine: Arc<dyn Engine>) -> Self {
        Self::new(engine, true)
    }

    /// The torrents alone.
    pub fn torrents(engine: Arc<dyn Engine>) -> Self {
        Self::new(engine, false)
    }

    fn new(engine: Arc<dyn Engine>, with_sums: bool) -> Self {
        let sums = Status { torrents: Vec::new(), download_rate: 0, upload_rate: 0, peers: 0 };
        let made = b"{\"torrents\":[".to_vec();
        Self { engine, with_sums, at: 0, made, next: Some(0), any: false, sums }
    }

    fn make_more(&mut self) -> io::Result<()> {
        (self.at, self.made) = (0, Vec::with_capacity(PAGE_LEN + PAGE_LEN / 2));
        while self.made.len() < PAGE_LEN
            && let Some(from) = self.next
        {
            let Page { torrents, next } = self.engine.page(from);
            for torrent in torrents {
                self.put(torrent)?;
            }
            self.next = next;
            if next.is_none() {
                self.end();
            }
        }
        Ok(())
    }

    fn put(&mut self, mut torrent: TorrentStatus) -> io::Result<()> {
        if std::mem::replace(&mut self.any, true) {
            self.made.push(b',');
        }
        self.sums.download_rate = self.sums.download_rate.saturating_add(torrent.download_rate);
        self.sums.upload_rate = self.sums.upload_rate.saturating_add(torrent.upload_rate);
        self.sums.peers = self.sums.peers.saturating_add(torrent.peers);
        if torrent.output.to_str().is_none() {
            // JSON is Unicode, paths need not be: one of them does not hide all torrents.
            torrent.output = PathBuf::from(torrent.output.to_string_lossy().into_owned());
        }
        serde_json::to_writer(&mut self.made, &torrent).map_err(io::Error::from)
    }

    fn end(&mut self) {
        let Status { download_rate, upload_rate, peers, .. } = self.sums;
        let end = if self.with_sums {
            format!("],\"download_rate\":{download_rate},\"upload_rate\":{upload_rate},\"peers\":{peers}}}")
        } else {
            "]}".into()
        };
        self.made.extend(end.into_bytes());
    }
}

impl Read for Listing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.made.len() && self.next.is_some() {
            self.make_more()?;
        }
        let rest = self.made.get(self.at..).unwrap_or_default();
        let len = rest.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..len), rest.get(..len)) {
            to.copy_from_slice(from);
        }
        self.at += len;
        Ok(len)
    }
}
