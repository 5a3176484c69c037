//! When one torrent announces, to whom, and what.
