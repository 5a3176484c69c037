//! The swarm of one torrent. [`core`] decides and is pure; [`thread`] runs it and carries out what it decided.

pub mod assembly;
pub mod choker;
pub mod core;
pub mod event;
pub mod have;
pub mod input;
pub mod picker;
pub mod requests;
pub mod stats;
pub mod thread;
