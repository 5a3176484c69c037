//! A fresh folder per test, and where a test's programs run: on this machine's own network or on a host of a test network.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::network::Host;

/// A folder of one test, deleted when the test is over. `TORRENT_TEST_KEEP=1` keeps it.
#[derive(Debug)]
pub struct Room {
    folder: TempDir,
}

/// Where programs run and from where they are talked to.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// This machine's own network: tests use loopback alone.
    #[default]
    Here,
    /// A host of a test network.
    Host(Host),
}

impl Room {
    /// A folder with the test's name in its own.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn new(test: &str) -> Self {
        let mut folder = tempfile::Builder::new().prefix(&format!("torrent-test-{test}-")).tempdir().unwrap();
        if std::env::var_os("TORRENT_TEST_KEEP").is_some() {
            folder.disable_cleanup(true);
            eprintln!("this test's files stay in {}", folder.path().display());
        }
        Self { folder }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder in it, made if need be.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Place {
    /// Runs `f` on a thread in this place: sockets it makes and programs it starts belong there.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Here => f(),
            Self::Host(host) => host.run(f),
        }
    }

    /// The address under which programs here are reached by those in the same network.
    pub fn address(&self) -> std::net::Ipv4Addr {
        match self {
            Self::Here => std::net::Ipv4Addr::LOCALHOST,
            Self::Host(host) => host.address(),
        }
    }
}
