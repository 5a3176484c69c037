//! End to end: real processes, each in a fresh folder, on ports that the system chooses. Clients on one machine reach each
//! other over loopback; how other programs' clients do, between network namespaces, is in `interop`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests report by panicking"
)]

mod commands;
mod control;
mod floods;
mod hostile_peers;
mod hostile_torrents;
mod hostile_trackers;
mod kept;
mod limits;
mod names;
mod options;
mod restart;
mod selection;
mod sharing;
mod siege;
mod trackers;
