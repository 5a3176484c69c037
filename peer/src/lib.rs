//! The peer: seeds and leeches many torrents with one thread per connection and one per active torrent.
//! ARCHITECTURE.md has the picture of threads and channels.
#![forbid(unsafe_code)]

pub mod announcer;
pub mod catalogue;
pub mod cli;
pub mod connection;
pub mod control;
pub mod daemon;
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod limits;
pub mod listen;
#[cfg(test)]
mod model;
pub mod object;
pub mod options;
pub mod queue;
pub mod resume;
pub mod session;
pub mod settings;
pub mod storage;
pub mod text;
pub mod torrent;
pub mod wake;

pub use daemon::{Daemon, Running, StartError};
