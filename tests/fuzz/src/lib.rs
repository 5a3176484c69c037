//! The fuzz targets, for libFuzzer: the same files that the workspace's tests run the seeds through.

#[path = "../../src/fuzz/mod.rs"]
pub mod targets;
