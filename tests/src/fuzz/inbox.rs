//! What a peer sends, through the receiving side of a connection: however the network cuts it, the same is heard.

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use torrent_common::geometry::{BlockRef, Geometry};
use torrent_common::wire::message::RawBlock;
use torrent_common::wire::{Decoder, Message};
use torrent_peer::connection::Violation;
use torrent_peer::connection::asked::{Asked, Run};
use torrent_peer::connection::inbox::{Inbox, Receiver};
use torrent_peer::storage::blocks::{BlockBuf, BlockPool};

use super::choice;

const BLOCK_LEN: u32 = 32;
const DECODER: Decoder = Decoder { max_message_len: 1 << 10, max_block_len: 4 * BLOCK_LEN };
/// Longer than any buffer of a socket would hold at once.
const MAX_LEN: usize = 1 << 15;

/// The first byte says how the rest is cut, the second what was asked for before.
pub fn inbox(input: &[u8]) {
    let (cut, rest) = choice(input);
    let (asked, bytes) = choice(rest);
    let bytes = &bytes[..bytes.len().min(MAX_LEN)];
    let whole = hear(asked, &[bytes]);
    let mut random = fastrand::Rng::with_seed(cut.into());
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let longest = if cut < 128 { 8 } else { 200 };
        let (part, after) = rest.split_at(random.usize(1..=longest).min(rest.len()));
        parts.push(part);
        rest = after;
    }
    assert_eq!(hear(asked, &parts), whole);
}

/// All that was heard of what came in these parts, and what made it the last.
fn hear(asked: u8, parts: &[&[u8]]) -> (Vec<Heard>, Option<String>) {
    let geometry = Geometry::new(1000, 200, BLOCK_LEN).unwrap();
    let blocks: Vec<_> = geometry.pieces().flat_map(|piece| geometry.blocks(piece)).collect();
    let mut notes = Notes {
        geometry,
        pool: BlockPool::new(BLOCK_LEN, 1 << 16),
        asked: Asked::new(geometry),
        heard: Vec::new(),
    };
    let (count, longest) = (usize::from(asked >> 2), 1 + usize::from(asked & 3));
    notes.asked.ask(&blocks[..count.min(blocks.len())], longest).for_each(|_| ());
    let (mut peer, stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = TcpStream::from(OwnedFd::from(stream));
    let mut inbox = Inbox::new(DECODER);
    // A message that was for nothing counts as payload when it is whole.
    let (mut bytes, mut payload) = (0, 0);
    for part in parts {
        peer.write_all(part).unwrap();
        loop {
            match inbox.receive(&stream, &mut notes, u64::MAX) {
                Ok(received) if received.bytes == 0 => break,
                Ok(received) => {
                    bytes += received.bytes as u64;
                    payload += received.payload;
                    assert!(payload <= bytes, "{payload} of {bytes}");
                }
                Err(end) => return (notes.heard, Some(end.to_string())),
            }
        }
    }
    (notes.heard, None)
}

#[derive(Debug, PartialEq)]
enum Heard {
    Message(Message, usize),
    Block(BlockRef, Vec<u8>),
    Unasked(u32, u32, u32),
}

/// Writes down what it is told.
struct Notes {
    geometry: Geometry,
    pool: Arc<BlockPool>,
    asked: Asked,
    heard: Vec<Heard>,
}

impl Receiver for Notes {
    fn message(&mut self, message: Message, len: usize) -> Result<(), Violation> {
        self.heard.push(Heard::Message(message, len));
        Ok(())
    }

    fn has_enough(&self) -> bool {
        false
    }

    fn expected(&self, nth: usize) -> Option<Run> {
        self.asked.nth(nth)
    }

    fn begin(&mut self, header: RawBlock) -> Result<Option<Run>, Violation> {
        let run = self.asked.strike(header);
        if let Some(run) = run {
            assert_eq!(
                (run.raw().index, run.raw().begin, run.raw().len),
                (header.index, header.begin, header.len)
            );
            assert!(run.blocks(&self.geometry).count() > 0);
        } else {
            self.heard.push(Heard::Unasked(header.index, header.begin, header.len));
        }
        Ok(run)
    }

    fn buffers(&self, run: Run) -> impl Iterator<Item = (BlockRef, BlockBuf)> {
        self.asked.blocks(run).map(|block| (block, self.pool.take(block.len())))
    }

    fn block(&mut self, block: BlockRef, bytes: BlockBuf) {
        assert_eq!(bytes.len(), block.len() as usize);
        self.heard.push(Heard::Block(block, bytes.to_vec()));
    }
}
