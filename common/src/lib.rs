//! What the tracker and the peer share: identifiers, bencode, metainfo, piece geometry, the wire and announce
//! formats, and configuration. Bytes in, values out: only [`metainfo::create`] and [`regular`] open
//! files, and nothing here a socket.

pub mod announce;
pub mod bencode;
pub mod bitfield;
pub mod config;
pub mod geometry;
pub mod hash;
pub mod ids;
pub mod metainfo;
pub mod network;
pub mod patient;
pub mod regular;
pub mod secret;
pub mod wire;
pub mod worker;
