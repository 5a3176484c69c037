//! Payload on disk: where each byte goes, positioned reads and writes, the open-file cache, the disk threads, checking.
//!
//! The download folder itself is the user's choice and links in it are followed; below it none is (promise 4).

pub mod blocks;
pub mod check;
pub mod disk;
pub mod files;
pub mod layout;
