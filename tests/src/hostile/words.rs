//! Bytes that no well-meaning peer sends after its handshake, and some that it may send.

use torrent_common::metainfo::Metainfo;
use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;

/// What costs its sender the connection.
///
/// # Panics
/// Never, for torrents that fit into memory.
pub fn nonsense(metainfo: &Metainfo) -> Vec<(&'static str, Vec<u8>)> {
    let pieces = metainfo.geometry.piece_count();
    let bitfield_len = usize::try_from(pieces.div_ceil(8)).unwrap();
    let bitfield = |bits: Vec<u8>| encoded(&Message::Bitfield(bits.into()));
    let request = |index, begin, len| encoded(&Message::Request(RawBlock { index, begin, len }));
    let interested = |bytes: Vec<u8>| [encoded(&Message::Interested), bytes].concat();
    let mut all = vec![
        ("a message of 4 GiB", vec![0xff; 64]),
        ("a bitfield of 1 GiB", vec![0x40, 0, 0, 1, 5]),
        ("an extended message of 512 MiB", vec![0x20, 0, 0, 1, 20, 0]),
        ("a choke with a payload", vec![0, 0, 0, 2, 0, 0]),
        ("a have without a piece", vec![0, 0, 0, 1, 4]),
        ("a have of a piece that does not exist", encoded(&Message::Have(pieces))),
        ("a have of piece 2^32-1", encoded(&Message::Have(u32::MAX))),
        ("a bitfield too short", bitfield(vec![0; bitfield_len - 1])),
        ("a bitfield too long", bitfield(vec![0; bitfield_len + 1])),
        ("a flood of bitfields", bitfield(vec![0; bitfield_len]).repeat(1000)),
        ("a request with 5 bytes", vec![0, 0, 0, 5, 6, 0, 0, 0, 0]),
        ("a request of a piece that does not exist", interested(request(pieces, 0, 16_384))),
        ("a request beyond the piece", interested(request(0, metainfo.geometry.nominal_piece_len(), 16_384))),
        ("a request that overflows", interested(request(0, u32::MAX, 16_384))),
        ("a request of nothing", interested(request(0, 0, 0))),
        ("a request of 1 MiB", interested(request(0, 1, 1 << 20))),
        ("a piece nobody asked for", [&[0, 0, 0, 25, 7, 0, 0, 0, 0, 0, 0, 0, 0][..], &[7; 16]].concat()),
        ("a piece of 1 GiB", vec![0x40, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a piece without a payload", vec![0, 0, 0, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    if !pieces.is_multiple_of(8) {
        all.push(("a bitfield with spare bits", bitfield(vec![0xff; bitfield_len])));
    }
    all
}

/// Sent by well-meaning peers too, or harmless: the connection may live or die.
pub fn oddities() -> Vec<(&'static str, Vec<u8>)> {
    let mut cancels = Vec::new();
    for index in 0..1000 {
        Message::Cancel(RawBlock { index, begin: 1, len: u32::MAX }).encode(&mut cancels);
    }
    vec![
        ("an unknown message", vec![0, 0, 0, 3, 99, 1, 2]),
        ("a thousand keep-alives", vec![0; 4000]),
        ("a thousand cancels", cancels),
        ("an extended handshake of garbage", vec![0, 0, 0, 6, 20, 0, b'd', b'd', b'd', b'd']),
        ("an extended handshake 1000 deep", [&[0, 0, 3, 234, 20, 0][..], &[b'l'; 1000]].concat()),
        ("half a message", vec![0, 0, 0, 13, 6, 0]),
    ]
}

/// A message as it stands on the wire.
pub fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}
