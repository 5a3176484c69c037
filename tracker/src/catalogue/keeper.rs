//! What is done to the catalogue in the background, by one thread that sleeps while all is well: torrent files without a row
//! are taken in, rows of older versions get into the index of words, completed downloads are added, and whatever failed is
//! tried again every few seconds until it works.

use std::cmp::Reverse;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, after, never, select};
use rusqlite::{Connection, OpenFlags};
use torrent_common::ids::InfoHash;
use torrent_common::metainfo::Metainfo;

use super::rows::{self, unsigned};
use super::text::{clip, printable};
use super::{
    BATCH, Catalogue, CatalogueError, MAX_DESCRIPTION_LEN, MAX_TORRENTS, MAX_TOTAL_LEN, Publication, held,
    metainfo_limits,
};
use crate::health::Part;

/// Between two tries.
const RETRY: Duration = Duration::from_secs(5);
/// Torrents in one transaction: others who write wait for it.
const CHUNK: usize = 32;
/// The same in bytes of torrent files, one of them more or less.
const CHUNK_LEN: usize = 4 << 20;
/// Torrents whose completed downloads wait for the database at most; those of more are not counted.
const MAX_WAITING: usize = 1 << 16;

impl Catalogue {
    /// Keeps the catalogue until the channel is closed.
    pub(crate) fn keep(&self, stop: &Receiver<()>) {
        let mut is_well = self.put_right(stop);
        loop {
            let (rings, retry) =
                if is_well { (self.rings.clone(), never()) } else { (never(), after(RETRY)) };
            select! {
                recv(stop) -> _ => return self.add_waiting_downloads(),
                recv(rings) -> _ => is_well = !self.is_to_wait() && self.put_right(stop),
                recv(retry) -> _ => is_well = self.put_right(stop),
            }
        }
    }

    /// Whether a visitor has just met with trouble, so that trying at once would most likely fail too. What a small write
    /// of ours shows need not help a large one of theirs: who asks meanwhile is told of the trouble for a while, and
    /// the log does not go to and fro with every one of their tries.
    fn is_to_wait(&self) -> bool {
        !self.is_damaged.load(Ordering::Relaxed) && !self.disk_is_well()
    }

    fn disk_is_well(&self) -> bool {
        [Part::Catalogue, Part::Uploads].iter().all(|&part| self.health.of(part).is_none())
    }

    /// Adds to the completed downloads of those of the torrents that are published: soon, and as soon as that works.
    pub fn add_completed(&self, downloads: &[(InfoHash, u32)]) {
        let mut waiting = held(&self.completed);
        for (info_hash, count) in downloads {
            if waiting.len() < MAX_WAITING || waiting.contains_key(info_hash) {
                let sum = waiting.entry(*info_hash).or_default();
                *sum = sum.saturating_add((*count).into());
            }
        }
        if !waiting.is_empty() {
            self.ring();
        }
    }

    /// Adds the completed downloads that wait, now; if that fails they go on waiting.
    pub fn add_waiting_downloads(&self) {
        let waiting = std::mem::take(&mut *held(&self.completed));
        if waiting.is_empty() {
            return;
        }
        let added = self.database.write(|transaction| {
            rows::add_completed(transaction, waiting.iter().map(|(info_hash, count)| (*info_hash, *count)))
        });
        if self.complain(Part::Uploads, added).is_err() {
            let mut newer = held(&self.completed);
            for (info_hash, count) in waiting {
                let sum = newer.entry(info_hash).or_default();
                *sum = sum.saturating_add(count);
            }
        }
    }

    /// One round. Whether all is well now; if not another round may help.
    pub(super) fn put_right(&self, stop: &Receiver<()>) -> bool {
        let part = if self.database.can_be_read() { Part::Uploads } else { Part::Catalogue };
        let is_open = self.complain(part, self.reopen_if_lost()).is_ok();
        let is_done = is_open && {
            let done = self.adopt(stop).and_then(|()| self.index(stop));
            self.report(Part::Search, done).is_ok()
        };
        self.add_waiting_downloads();
        if self.health.of(Part::Uploads).is_some() {
            let _ = self.report(Part::Uploads, self.probe());
        }
        if self.health.of(Part::Catalogue).is_some() {
            let _ = self.report(Part::Catalogue, self.database.read(|connection| rows::sums(connection)));
        }
        // What was rung by our own reports is heard already.
        let _ = self.rings.try_recv();
        is_done && self.disk_is_well() && held(&self.completed).is_empty()
    }

    /// Opens the database again if it is not open, not there, or damaged.
    fn reopen_if_lost(&self) -> Result<(), CatalogueError> {
        if self.is_damaged.swap(false, Ordering::Relaxed) && self.database.is_open() {
            self.database.give_up()?;
        } else if self.database.is_in_place() {
            return self.settle();
        }
        self.database.reopen()?;
        self.settle()?;
        self.look_through(self.files.list()?.torrents)
    }

    /// Ends the uploads that were interrupted by the end of the process before.
    pub(super) fn settle(&self) -> Result<(), CatalogueError> {
        while self.database.is_open() {
            let Some((info_hash, path)) = held(&self.interrupted).last().cloned() else { break };
            let acknowledged = match info_hash {
                Some(info_hash) if !self.files.has(info_hash)? => {
                    let is_there = self.database.read(|connection| rows::contains(connection, info_hash))?;
                    is_there.then_some(info_hash)
                }
                _ => None,
            };
            self.files.settle(&path, acknowledged)?;
            held(&self.interrupted).pop();
        }
        Ok(())
    }

    /// Notes which of the torrent files have no row, and how many rows there are.
    pub(super) fn look_through(&self, mut torrents: Vec<InfoHash>) -> Result<(), CatalogueError> {
        let (count, _) = self.database.read(|connection| rows::sums(connection))?;
        self.count.store(usize::try_from(count).unwrap_or(usize::MAX), Ordering::Relaxed);
        torrents.sort_unstable();
        let mut unlisted = Vec::new();
        let mut rest = torrents.as_slice();
        let mut last = None;
        loop {
            let rows = self.database.read(|connection| rows::after(connection, last, BATCH))?;
            let Some(&(end, _)) = rows.last() else { break };
            last = Some(end);
            for (info_hash, _) in rows {
                let before = rest.partition_point(|torrent| *torrent < info_hash);
                let (without_row, others) = rest.split_at(before);
                unlisted.extend_from_slice(without_row);
                rest = others.strip_prefix(&[info_hash]).unwrap_or(others);
            }
        }
        unlisted.extend_from_slice(rest);
        *held(&self.unlisted) = unlisted;
        Ok(())
    }

    /// Takes in the torrent files without a row, if they are valid, public, and named by their info-hash.
    fn adopt(&self, stop: &Receiver<()>) -> Result<(), CatalogueError> {
        let mut unlisted = std::mem::take(&mut *held(&self.unlisted));
        if unlisted.is_empty() {
            return Ok(());
        }
        let before = self.count();
        let older = self.open_older();
        // Rows are numbered in the order of publishing, the oldest first: they are taken from the end.
        unlisted.sort_by_cached_key(|&info_hash| {
            let known = older.iter().find_map(|older| known_before(older, info_hash));
            Reverse(known.map_or_else(|| self.written_s(info_hash), |known| known.created_s))
        });
        while !unlisted.is_empty() && stop.try_recv() == Err(TryRecvError::Empty) {
            let done = self.database.write(|transaction| {
                let mut budget = CHUNK_LEN;
                let mut done = 0;
                for &info_hash in unlisted.iter().rev().take(CHUNK) {
                    done += 1;
                    budget = budget.saturating_sub(self.adopt_one(transaction, info_hash, &older)?);
                    if budget == 0 {
                        break;
                    }
                }
                Ok((done, rows::sums(transaction)?.0))
            });
            match done {
                Ok((done, count)) => {
                    unlisted.truncate(unlisted.len().saturating_sub(done));
                    self.count.store(usize::try_from(count).unwrap_or(usize::MAX), Ordering::Relaxed);
                }
                Err(error) => {
                    *held(&self.unlisted) = unlisted;
                    return Err(error);
                }
            }
        }
        let taken = self.count().saturating_sub(before);
        if taken > 0 {
            log::info!("about {taken} torrent files were taken into the catalogue");
        }
        Ok(())
    }

    /// Takes in one torrent file, unless it cannot be: then it stays where it is. Returns what was read, in bytes.
    fn adopt_one(
        &self,
        transaction: &Connection,
        info_hash: InfoHash,
        older: &[Connection],
    ) -> rusqlite::Result<usize> {
        let Some(bytes) = self.read_file(info_hash) else { return Ok(0) };
        let metainfo = match Metainfo::parse(&bytes, &metainfo_limits(self.max_torrent_len)) {
            Ok(metainfo) if metainfo.info_hash == info_hash && !metainfo.private => metainfo,
            Ok(_) => {
                log::warn!(
                    "{info_hash}.torrent is private or another torrent than its name says: not listed"
                );
                return Ok(bytes.len());
            }
            Err(error) => {
                log::warn!("{info_hash}.torrent is not valid, so not listed: {error}");
                return Ok(bytes.len());
            }
        };
        let (count, total_len) = rows::sums(transaction)?;
        let is_full = count >= MAX_TORRENTS || total_len.saturating_add(bytes.len() as u64) > MAX_TOTAL_LEN;
        if is_full || rows::contains(transaction, info_hash)? {
            return Ok(bytes.len());
        }
        let known = older.iter().find_map(|older| known_before(older, info_hash));
        let known = known.unwrap_or_else(|| KnownBefore {
            name: printable(&metainfo.name),
            description: String::new(),
            created_s: self.written_s(info_hash),
            completed: 0,
        });
        let publication = Publication {
            bytes: &bytes,
            metainfo: &metainfo,
            name: &known.name,
            description: &known.description,
            created_s: known.created_s,
            completed: known.completed,
        };
        rows::insert(transaction, &publication)?;
        log::debug!("took {info_hash}.torrent into the catalogue");
        Ok(bytes.len())
    }

    /// When a torrent file was written: not in the future.
    fn written_s(&self, info_hash: InfoHash) -> i64 {
        self.files.written_s(info_hash).unwrap_or(self.opened_s).min(self.opened_s)
    }

    /// A torrent file, if it can be read and is not too long.
    fn read_file(&self, info_hash: InfoHash) -> Option<Vec<u8>> {
        match self.files.read_up_to(info_hash, self.max_torrent_len) {
            Ok(bytes) => bytes,
            Err(error) => {
                log::warn!("{error}");
                None
            }
        }
    }

    /// The databases that were set aside, the latest first.
    fn open_older(&self) -> Vec<Connection> {
        // Only what is there already is opened; writing is for its log.
        let open = |path| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
        self.database.aside().into_iter().filter_map(open).collect()
    }

    /// Enters the words of those rows that have none in the index.
    fn index(&self, stop: &Receiver<()>) -> Result<(), CatalogueError> {
        while stop.try_recv() == Err(TryRecvError::Empty) {
            let limit = u32::try_from(CHUNK).unwrap_or(u32::MAX);
            let rows = self.database.read(|connection| rows::not_indexed(connection, limit))?;
            if rows.is_empty() {
                break;
            }
            if rows.len() == CHUNK {
                self.health.trouble(Part::Search, "not all torrents have been looked through yet");
            }
            self.database.write(|transaction| {
                let mut budget = CHUNK_LEN;
                for row in &rows {
                    let bytes = self.read_file(row.info_hash).unwrap_or_default();
                    let metainfo = Metainfo::parse(&bytes, &metainfo_limits(self.max_torrent_len));
                    let files = metainfo.map(|metainfo| rows::file_words(&metainfo)).unwrap_or_default();
                    rows::index_late(transaction, row, &files)?;
                    budget = budget.saturating_sub(bytes.len());
                    if budget == 0 {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Shows that publishing works, by as little of it as shows it.
    fn probe(&self) -> Result<(), CatalogueError> {
        let (count, total_len) = self.database.write(|transaction| {
            rows::touch(transaction)?;
            rows::sums(transaction)
        })?;
        if count >= MAX_TORRENTS || total_len >= MAX_TOTAL_LEN {
            return Err(CatalogueError::Full);
        }
        self.files.probe()
    }
}

/// What only the database knows of a torrent.
struct KnownBefore {
    name: String,
    description: String,
    created_s: i64,
    completed: u64,
}

/// What a damaged database still tells of a torrent.
fn known_before(older: &Connection, info_hash: InfoHash) -> Option<KnownBefore> {
    let mut statement = older
        .prepare_cached("SELECT name, description, created, completed FROM torrents WHERE info_hash = ?")
        .ok()?;
    let found = statement.query_row([info_hash.as_bytes()], |row| {
        let (name, description): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(KnownBefore {
            name: printable(&name),
            description: clip(&description, MAX_DESCRIPTION_LEN).to_owned(),
            created_s: row.get(2)?,
            completed: unsigned(row.get(3)?),
        })
    });
    found.ok()
}
