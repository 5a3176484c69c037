//! The wire decoder (BEP 3, BEP 6): what one connection's incoming bytes cost before anybody acts on them.
//! `cargo bench -p torrent-common --bench decoder`

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use torrent_common::geometry::DEFAULT_BLOCK_LEN;
use torrent_common::wire::decoder::{Decoded, Decoder, PIECE_HEADER_LEN};
use torrent_common::wire::message::{Message, RawBlock, piece_header};

/// As many items as a busy connection has waiting for it.
const ITEMS: u32 = 1000;
const DECODER: Decoder = Decoder { max_message_len: 1 << 20, max_block_len: DEFAULT_BLOCK_LEN };

fn main() {
    divan::main();
}

/// A stream of messages, one for each number.
fn stream(message: impl Fn(u32) -> Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..ITEMS).for_each(|number| message(number).encode(&mut bytes));
    bytes
}

fn request(number: u32) -> RawBlock {
    RawBlock { index: number / 64, begin: number % 64 * DEFAULT_BLOCK_LEN, len: DEFAULT_BLOCK_LEN }
}

/// Decodes to the end. The number of items; what is left over means that the benchmark is wrong.
fn decode_all(mut input: &[u8]) -> u32 {
    let mut items = 0;
    while let Ok(decoded) = DECODER.decode(input) {
        let consumed = match &decoded {
            Decoded::Need(_) => break,
            Decoded::Message { consumed, .. } => *consumed,
            // The payload never comes past the decoder: the connection receives it into a block's buffer.
            Decoded::Piece { .. } => PIECE_HEADER_LEN,
        };
        black_box(decoded);
        input = input.get(consumed..).unwrap_or_default();
        items += 1;
    }
    assert!(input.is_empty(), "{} bytes were not understood", input.len());
    items
}

/// What a seeder reads while it uploads.
#[divan::bench]
fn requests(bencher: Bencher<'_, '_>) {
    let bytes = stream(|number| Message::Request(request(number)));
    bencher.counter(ItemsCount::new(ITEMS)).bench(|| decode_all(black_box(&bytes)));
}

/// What everybody reads from a large swarm.
#[divan::bench]
fn haves(bencher: Bencher<'_, '_>) {
    let bytes = stream(Message::Have);
    bencher.counter(ItemsCount::new(ITEMS)).bench(|| decode_all(black_box(&bytes)));
}

/// What a leecher reads besides the payload.
#[divan::bench]
fn piece_headers(bencher: Bencher<'_, '_>) {
    let block = |number| {
        let RawBlock { index, begin, len } = request(number);
        piece_header(index, begin, len)
    };
    let bytes: Vec<u8> = (0..ITEMS).flat_map(block).collect();
    bencher.counter(ItemsCount::new(ITEMS)).bench(|| decode_all(black_box(&bytes)));
}

/// The first message of a peer, for a torrent of a million pieces.
#[divan::bench]
fn bitfield_of_a_million(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    Message::Bitfield(vec![0x55; 125_000].into()).encode(&mut bytes);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| decode_all(black_box(&bytes)));
}
