//! Payload on disk: where each byte goes, positioned reads and writes, the open-file cache, the disk threads, checking.
//!
//! The download folder itself is the user's choice and links in it are followed; below it none is (promise 4). What is
//! on disk is never trusted: a file that is missing, short, a link or not a file at all is a [`StorageError`].

mod alike;
pub mod backend;
pub mod blocks;
pub mod cache;
pub mod check;
pub mod device;
pub mod disk;
mod error;
pub mod files;
mod judge;
mod lanes;
pub mod layout;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test payloads are small")]
pub(crate) mod lossy;
pub mod mounts;
pub mod part;
mod prepare;
mod remove;
pub mod room;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test payloads are small")]
pub(crate) mod testing;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test payloads are small")]
mod tests;
mod tree;
mod watch;
pub(crate) mod writing;

pub use error::StorageError;
pub use tree::Stamp;
