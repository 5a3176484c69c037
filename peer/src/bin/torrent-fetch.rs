//! torrent-fetch
fn main() {}
