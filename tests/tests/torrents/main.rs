//! Torrent files as other programs' test suites think of them, and as chance makes them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests report by panicking"
)]

mod mutations;
mod suites;
