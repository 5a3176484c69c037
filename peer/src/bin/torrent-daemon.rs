//! torrent-daemon
fn main() {}
