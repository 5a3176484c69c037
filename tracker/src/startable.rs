//! Whether the tracker could start with a configuration, asked while it runs: before it begins anew nothing may be stopped
//! that could not be started again. What may pass by itself keeps no tracker from starting, and so is no error here.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use torrent_common::config::TrackerConfig;

use crate::access::Access;
use crate::health::Part;
use crate::snapshot::{self, SnapshotError};
use crate::{Clock, Running, StartError, lock, udp};

impl Running {
    /// Looks at everything that [`crate::Tracker::start`] needs, but for the port, which is ours. Folders are made.
    ///
    /// # Errors
    /// What the start would say.
    pub fn check(&self, config: &TrackerConfig) -> Result<(), StartError> {
        Access::load(config)?;
        if !self.has_folder(&config.torrent_dir) {
            lock(&config.torrent_dir)?;
        }
        self.shared.catalogue.check(&config.torrent_file, &config.torrent_dir)?;
        snapshot::check(&config.peer_file)?;
        if config.udp && self.shared.udp_port.is_none() {
            check_udp(self.address)?;
        }
        Ok(())
    }

    /// Saves the swarms now.
    ///
    /// # Errors
    /// [`SnapshotError`]; then what was saved before is still there.
    pub fn save(&self) -> Result<(), SnapshotError> {
        let now_s = self.shared.clock.now_s();
        let saved = snapshot::save(self.shared.desk.swarms(), &self.peer_file, now_s, Clock::wall_s());
        match &saved {
            Ok(()) => self.shared.health.well(Part::Swarms),
            Err(error) => {
                self.shared.health.trouble(Part::Swarms, error.trouble());
            }
        }
        saved
    }

    /// Whether that is the folder that this tracker has for itself.
    fn has_folder(&self, folder: &Path) -> bool {
        let own = self.lock.as_ref().and_then(|file| file.metadata().ok());
        own.zip(folder.metadata().ok())
            .is_some_and(|(own, found)| (own.dev(), own.ino()) == (found.dev(), found.ino()))
    }
}

fn check_udp(address: SocketAddr) -> Result<(), StartError> {
    udp::listen(address, 1).map(drop).map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::UdpInUse(address),
        _ => StartError::Udp { address, source },
    })
}
