//! config.ini, as the commands use it: where the daemon and the tracker are.

use std::path::{Path, PathBuf};

use torrent_common::config::{Config, PeerConfig};
use torrent_common::regular;

use super::Failure;
use crate::control::ControlClient;

/// Reads the `[peer]` section of the configuration: of `config` if given, else of the usual places.
///
/// # Errors
/// [`Failure::Failed`] names the file and the line.
pub fn load(config: Option<&Path>) -> Result<PeerConfig, Failure> {
    let env = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (config, _) = Config::load(config, env, regular::read_to_string)
        .map_err(|error| Failure::failed(error.to_string()))?;
    Ok(config.peer)
}

/// A client of the daemon at `port` if given, else at the configured port.
///
/// # Errors
/// [`Failure::Failed`] when the configuration leaves the port to the system.
pub fn client(config: &PeerConfig, port: Option<u16>) -> Result<ControlClient, Failure> {
    match port.unwrap_or(config.port) {
        0 => Err(Failure::failed(
            "PORT is 0 in the configuration, so only torrent-daemon knows it: say --port",
        )),
        port => Ok(ControlClient::new(port)),
    }
}

/// `path` from the root: the daemon has a working folder of its own.
///
/// # Errors
/// [`Failure::Failed`] when the working folder is gone.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::failed(format!("cannot find {}: {error}", path.display())))
}
