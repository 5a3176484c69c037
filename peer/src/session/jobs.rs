//! Making torrents: one thread per job, a few at a time. The hashing itself runs on the hashing threads.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use torrent_common::metainfo::Metainfo;
use torrent_common::metainfo::create::{self, CreateError, CreateOptions, Created, Progress};
use torrent_common::metainfo::magnet::magnet_link;
use torrent_common::worker::Worker;

use super::Shared;
use super::adopt::NewTorrent;
use crate::catalogue::{CatalogueClient, Publication};
use crate::control::api::{JobStatus, LinksLeftOut, SeedRequest, SeedResult, TorrentState};
use crate::control::engine::Refusal;
use crate::storage::device;
use crate::text::escape_for_log;

/// Jobs that hash at a time.
const MAX_RUNNING: usize = 4;
/// Jobs remembered, those that are over included.
const MAX_KEPT: usize = 64;
/// For talking to the catalogue.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// All jobs of a daemon.
#[derive(Default)]
pub struct Jobs(Mutex<List>);

#[derive(Default)]
struct List {
    last: u64,
    jobs: BTreeMap<u64, Job>,
    stopped: bool,
}

struct Job {
    progress: Arc<Progress>,
    outcome: Option<JobStatus>,
    worker: Option<Worker>,
    /// While it publishes: whom it waits for.
    catalogue: Option<CatalogueClient>,
}

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
enum JobError {
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Session(#[from] Refusal),
}

impl Jobs {
    /// How far a job is.
    pub fn status(&self, number: u64) -> Option<JobStatus> {
        let list = self.lock();
        let job = list.jobs.get(&number)?;
        let (done, total) = job.progress.get();
        Some(job.outcome.clone().unwrap_or(JobStatus::Running { done, total }))
    }

    /// Tells a job to stop; false when there is none of this number.
    pub fn cancel(&self, number: u64) -> bool {
        self.lock().jobs.get(&number).is_some_and(|job| {
            job.progress.cancel.set();
            true
        })
    }

    /// Tells all jobs to stop, waits for none, and takes no more. No catalogue that is slow to answer keeps one.
    pub fn tell_to_stop(&self) {
        let mut list = self.lock();
        list.stopped = true;
        list.jobs.values().for_each(|job| job.progress.cancel.set());
        let catalogues: Vec<_> = list.jobs.values_mut().filter_map(|job| job.catalogue.take()).collect();
        drop(list);
        catalogues.iter().for_each(CatalogueClient::hang_up);
    }

    /// Waits until all have ended.
    pub fn join(&self) {
        let workers: Vec<_> = self.lock().jobs.values_mut().filter_map(|job| job.worker.take()).collect();
        workers.into_iter().for_each(Worker::join);
    }

    /// A job begins to publish. False if there is no time for that any more.
    fn publishes(&self, number: u64, catalogue: &CatalogueClient) -> bool {
        let mut list = self.lock();
        let may = !list.stopped;
        if let Some(job) = list.jobs.get_mut(&number).filter(|_| may) {
            job.catalogue = Some(catalogue.clone());
        }
        may
    }

    /// Begins a job, and gives its number.
    pub(super) fn start(shared: &Arc<Shared>, request: SeedRequest) -> Result<u64, Refusal> {
        let progress = Arc::new(Progress::default());
        let mut list = shared.jobs.lock();
        let running = list.jobs.values().filter(|job| job.outcome.is_none()).count();
        if list.stopped || running >= MAX_RUNNING {
            return Err(Refusal::Unavailable(format!(
                "{running} torrents are being made already: try again later"
            )));
        }
        while list.jobs.len() >= MAX_KEPT
            && let Some(oldest) =
                list.jobs.iter().find(|(_, job)| job.outcome.is_some()).map(|(&number, _)| number)
        {
            list.jobs.remove(&oldest);
        }
        list.last += 1;
        let number = list.last;
        let (worker_shared, worker_progress) = (Arc::clone(shared), Arc::clone(&progress));
        let worker = Worker::spawn(format!("make-{number}"), move || {
            let outcome = run(&worker_shared, number, request, &worker_progress)
                .map_or_else(|error| JobStatus::Failed { error: error.to_string() }, JobStatus::Done);
            if let Some(job) = worker_shared.jobs.lock().jobs.get_mut(&number) {
                job.outcome = Some(outcome);
                job.catalogue = None;
            }
        });
        let worker =
            worker.map_err(|error| Refusal::Internal(format!("no room for another thread: {error}")))?;
        list.jobs.insert(number, Job { progress, outcome: None, worker: Some(worker), catalogue: None });
        Ok(number)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(
    shared: &Arc<Shared>,
    number: u64,
    request: SeedRequest,
    progress: &Progress,
) -> Result<SeedResult, JobError> {
    let configured = std::slice::from_ref(&shared.config.tracker_url);
    let trackers = if request.trackers.is_empty() { configured } else { &request.trackers };
    let options = CreateOptions {
        input: request.path.clone(),
        name: request.name.clone(),
        piece_len: request.piece_length,
        private: request.private,
        trackers: trackers.iter().map(|url| vec![url.clone()]).collect(),
        comment: None,
        creation_date_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok()),
        order: device::read_order(shared.config.check_reads, &request.path),
        limits: shared.limits(),
    };
    let created = shared.room.checkers.install(|| create::create(&options, progress))?;
    let links_left_out = created.left_out.as_ref().map(left_out);
    let torrent_path = keep_torrent_file(&shared.config.torrent_dir, &created.metainfo, &created.bytes)?;
    let before = shared.table().entries.get(&created.metainfo.info_hash).map(|entry| entry.stats.state());
    let (metainfo, published) = add_and_publish(shared, number, &request, created)?;
    let stood_still = |state: &TorrentState| {
        matches!(state, TorrentState::Paused | TorrentState::Finished | TorrentState::Error)
    };
    Ok(SeedResult {
        info_hash: metainfo.info_hash,
        name: metainfo.name.clone(),
        torrent_path,
        magnet: magnet_link(&metainfo),
        published: !request.private && published.is_ok(),
        publish_error: published.err(),
        started_again: before.filter(stood_still),
        links_left_out,
    })
}

/// One line for all of them: there can be as many as files.
fn left_out(links: &create::LinksLeftOut) -> LinksLeftOut {
    let (count, first) = (links.count, links.first.to_string_lossy().into_owned());
    log::info!(
        "left out, since links are not followed: {count}, the first is {}",
        escape_for_log(&first, 300)
    );
    LinksLeftOut { count, first }
}

/// The torrent, and the catalogue's answer: a torrent that could not be published is seeded all the same.
fn add_and_publish(
    shared: &Arc<Shared>,
    number: u64,
    request: &SeedRequest,
    created: Created,
) -> Result<(Arc<Metainfo>, Result<(), String>), JobError> {
    let to_publish = (!request.private).then(|| created.bytes.clone());
    let new = NewTorrent::seeding(created, &request.path, request.options.clone()).ok_or_else(|| {
        Refusal::BadRequest(format!("{} has no parent folder to seed from", request.path.display()))
    })?;
    let metainfo = Arc::clone(&new.metainfo);
    shared.add(new)?;
    let description = request.description.as_deref().unwrap_or_default();
    let published =
        to_publish.map_or(Ok(()), |bytes| publish(shared, number, &metainfo, &bytes, description));
    Ok((metainfo, published))
}

fn publish(
    shared: &Shared,
    number: u64,
    metainfo: &Metainfo,
    torrent: &[u8],
    description: &str,
) -> Result<(), String> {
    let client = CatalogueClient::new(&shared.config.tracker_url, PUBLISH_TIMEOUT)
        .map_err(|error| error.to_string())?;
    if !shared.jobs.publishes(number, &client) {
        return Err("torrent-daemon is stopping".into());
    }
    let publication = Publication {
        torrent,
        info_hash: metainfo.info_hash,
        name: &metainfo.name,
        description,
        peer_id: shared.own_peer_id,
        port: shared.peer_port.get().copied().unwrap_or_default(),
        key: shared.key,
        left: 0,
        token: shared.config.upload_token.as_ref(),
    };
    let published = client.publish(&publication).map_err(|error| error.to_string())?;
    if let Some(warning) = published.warning {
        log::warn!("the tracker says: {}", escape_for_log(&warning, 200));
    }
    Ok(())
}

/// Puts the torrent file where the user finds it: by temporary file and rename, so that a watcher never sees half of it.
fn keep_torrent_file(folder: &Path, metainfo: &Metainfo, bytes: &[u8]) -> Result<PathBuf, JobError> {
    let hash = metainfo.info_hash.to_string();
    let short = hash.get(..8).unwrap_or_default();
    let stem: String = metainfo.root.to_string().chars().take(60).collect();
    let path = folder.join(format!("{stem}-{short}.torrent"));
    let write = || {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| JobError::Write { path: path.clone(), source })?;
    Ok(path)
}
