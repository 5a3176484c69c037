//! torrent-test
fn main() {}
