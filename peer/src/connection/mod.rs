//! Connections to peers: one thread each.
