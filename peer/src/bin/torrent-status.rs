//! torrent-status
fn main() {}
