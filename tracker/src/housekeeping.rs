//! One thread that sweeps the swarms and takes snapshots, so that nobody who announces has to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::catalogue::Catalogue;
use crate::clock::Clock;
use crate::health::Part;
use crate::shared::Shared;
use crate::snapshot;
use crate::swarm::{Retired, SHARDS, Totals};

/// Until a snapshot that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// What the thread works with.
pub(crate) struct Housekeeping {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer_file: PathBuf,
    pub(crate) snapshot_interval: Duration,
    pub(crate) sweep_interval: Duration,
}

impl Housekeeping {
    /// Runs until the channel is closed; then takes a last snapshot.
    pub(crate) fn run(self, stop: &Receiver<()>) {
        let mut next_sweep = Instant::now() + self.sweep_interval;
        let mut next_snapshot = self.next_snapshot();
        let mut snapshot_has_peers = true;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_deadline(next_sweep.min(next_snapshot)) {
            if Instant::now() >= next_sweep {
                self.sweep();
                next_sweep = Instant::now() + self.sweep_interval;
            }
            if Instant::now() >= next_snapshot {
                let has_peers = self.shared.desk.swarms().totals() != Totals::default();
                if has_peers || snapshot_has_peers || self.has_failed() {
                    self.snapshot(&self.peer_file);
                }
                snapshot_has_peers = has_peers;
                next_snapshot = self.next_snapshot();
            }
        }
        // A snapshot keeps swarms that have peers: the downloads of the others go to the catalogue first.
        self.sweep();
        self.snapshot(&self.peer_file);
    }

    /// Whether the last snapshot was not saved.
    fn has_failed(&self) -> bool {
        self.shared.health.of(Part::Swarms).is_some()
    }

    fn next_snapshot(&self) -> Instant {
        let wait = if self.has_failed() { RETRY.min(self.snapshot_interval) } else { self.snapshot_interval };
        Instant::now() + wait
    }

    fn sweep(&self) {
        let mut retired = Vec::new();
        let swarms = self.shared.desk.swarms();
        let demands = (0..SHARDS).map(|shard| swarms.sweep(shard, self.shared.clock.now_s(), &mut retired));
        swarms.pace().expect(demands.sum());
        keep_downloads(&self.shared.catalogue, &retired);
    }

    fn snapshot(&self, path: &Path) {
        let swarms = self.shared.desk.swarms();
        match snapshot::save(swarms, path, self.shared.clock.now_s(), Clock::wall_s()) {
            Ok(()) => self.shared.health.well(Part::Swarms),
            Err(error) => {
                log::error!("the swarms were not saved, a restart would begin with older ones: {error}");
                self.shared.health.trouble(Part::Swarms, error.trouble());
            }
        }
    }
}

/// Adds what was counted in swarms that are gone to the catalogue.
pub(crate) fn keep_downloads(catalogue: &Catalogue, retired: &[Retired]) {
    let downloads: Vec<_> = retired.iter().map(|swarm| (swarm.info_hash, swarm.downloaded)).collect();
    catalogue.add_completed(&downloads);
}

/// Half an interval, between 1 and 30 seconds: swarms too large to be swept at every announce show the silent for so much
/// longer, and too many announces are noticed so much later.
pub(crate) fn sweep_interval(interval_s: u32) -> Duration {
    Duration::from_secs((interval_s / 2).clamp(1, 30).into())
}
