//! torrent-seed
fn main() {}
