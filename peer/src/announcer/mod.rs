//! Talking to trackers: [`schedule`] decides when and whom (pure), a small fixed pool of threads does it.

pub mod schedule;
