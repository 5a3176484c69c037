//! A scrape of everything (FULL_SCRAPE), written as it is sent: what is kept of it are 36 bytes a torrent, not the 100 or so
//! that the answer has. At most as many at a time as the lane has threads.

use std::io::{self, Read};

use torrent_common::announce::ScrapedTorrent;
use torrent_common::announce::http::{SCRAPE_HEAD, SCRAPE_TAIL, encode_scraped};

use crate::swarm::{PARTS, Swarms};

/// The swarms as they were, in the order of their info-hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FullScrape {
    torrents: Vec<ScrapedTorrent>,
    len_bytes: usize,
}

/// The answer, bencoded.
pub(super) struct Reader {
    torrents: std::vec::IntoIter<ScrapedTorrent>,
    /// Written and not read yet, from `at` on.
    buffer: Vec<u8>,
    at: usize,
    is_over: bool,
}

impl FullScrape {
    /// Of all swarms: one part after the other, so that no announce waits for all of it.
    pub(super) fn of(swarms: &Swarms, now_s: u32) -> Self {
        let mut torrents = Vec::new();
        for part in 0..PARTS {
            swarms.each_scraped(part, now_s, |torrent| torrents.push(torrent));
        }
        Self::new(torrents)
    }

    fn new(mut torrents: Vec<ScrapedTorrent>) -> Self {
        torrents.sort_unstable_by_key(|torrent| torrent.info_hash);
        let mut buffer = Vec::new();
        let lens = torrents.iter().map(|torrent| {
            buffer.clear();
            encode_scraped(torrent, &mut buffer);
            buffer.len()
        });
        let len_bytes = SCRAPE_HEAD.len() + lens.sum::<usize>() + SCRAPE_TAIL.len();
        Self { torrents, len_bytes }
    }

    /// Bytes of the answer.
    pub(super) const fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(super) fn into_reader(self) -> Reader {
        Reader { torrents: self.torrents.into_iter(), buffer: SCRAPE_HEAD.to_vec(), at: 0, is_over: false }
    }
}

impl Reader {
    /// Bytes of memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.torrents.len().saturating_mul(size_of::<ScrapedTorrent>()).saturating_add(self.buffer.capacity())
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
            match self.torrents.next() {
                Some(torrent) => encode_scraped(&torrent, &mut self.buffer),
                None if !self.is_over => {
                    self.is_over = true;
                    self.buffer.extend_from_slice(SCRAPE_TAIL);
                }
                None => {}
            }
        }
        let mut rest = self.buffer.get(self.at..).unwrap_or_default();
        let len = rest.read(out)?;
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::announce::ScrapeEntry;
    use torrent_common::announce::http::encode_scrape;
    use torrent_common::ids::InfoHash;

    use super::*;

    #[test]
    fn it_is_the_scrape_of_all_that_were_named() {
        for count in [0, 1, 2, 500_u32] {
            let torrent = |n: u32| ScrapedTorrent {
                info_hash: InfoHash::of(&n.to_be_bytes()),
                counts: ScrapeEntry { complete: n, downloaded: 7 * n, incomplete: n / 3 },
                downloaders: n / 5,
            };
            let torrents: Vec<_> = (0..count).map(torrent).collect();
            let mut named = Vec::new();
            encode_scrape(&torrents, &mut named);
            let scrape = FullScrape::new(torrents);
            assert_eq!(scrape.len_bytes(), named.len());
            let mut all = Vec::new();
            let mut reader = scrape.into_reader();
            let mut part = [0; 7];
            while let len @ 1.. = reader.read(&mut part).unwrap() {
                all.extend_from_slice(&part[..len]);
            }
            assert_eq!(all.escape_ascii().to_string(), named.escape_ascii().to_string());
        }
    }
}
