//! Serves a file system that fails on demand: a test starts it in front of the daemon that is to use it
//! (`torrent_tests::failing_disk`). Standard input is `/dev/fuse`; the arguments are the folder that has the files, and
//! the file that says what fails.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "a test's own program reports by panicking")]

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(std::path::PathBuf::from);
    let backing = arguments.next().expect("the folder that has the files");
    let faults = arguments.next().expect("the file that says what fails");
    torrent_tests::failing_disk::serve(&backing, &faults);
}
