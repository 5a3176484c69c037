//! What the tests of whole programs share: it builds and starts the tracker, the daemon and the commands in fresh
//! folders on ports the system chooses, talks to them as a user would, and sees to it that nothing is left behind.
//!
//! Everything here panics when something is not as it should be: that is how a test reports.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a harness reports by panicking, and its inputs are its own"
)]

pub mod bencode;
pub mod command;
pub mod daemon;
pub mod failing_disk;
pub mod fuzz;
pub mod hostile;
pub mod http;
pub mod mounts;
pub mod network;
pub mod payload;
pub mod process;
pub mod programs;
pub mod room;
pub mod scripted;
pub mod torrents;
pub mod tracker;
pub mod wait;
