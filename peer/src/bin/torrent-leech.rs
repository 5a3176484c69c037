//! torrent-leech
fn main() {}
