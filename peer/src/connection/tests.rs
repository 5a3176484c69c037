//! A connection against a peer that the test plays by hand, over loopback.

mod flood;
mod limits;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::BlockRef;
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::metainfo::Metainfo;
use torrent_common::wire::message::{RawBlock, piece_header};
use torrent_common::wire::{Decoded, Decoder, Handshake, Message};

use super::link::{ConnectionHandle, Directory, Timeouts, TorrentLink};
use super::registry::{Connections, Origin};
use super::{dial, incoming};
use crate::limits::TorrentLimits;
use crate::queue::{self, Receiver};
use crate::storage::StorageError;
use crate::storage::blocks::BlockPool;
use crate::storage::cache::FileCache;
use crate::storage::files::Storage;
use crate::storage::testing::{BLOCK_LEN, TestFile, payload, torrent};
use crate::torrent::event::{CloseReason, Command, Direction, PeerEvent};
use crate::torrent::have::Have;
use crate::torrent::input::Input;

const OURS: Origin = Origin::Ours { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), dialling: 0 };
const PATIENCE: Duration = Duration::from_secs(20);
const OWN: PeerId = PeerId::new(*b"-TF0100-aaaaaaaaaaaa");
const THEIRS: PeerId = PeerId::new(*b"-XX0001-bbbbbbbbbbbb");

/// Our side: a torrent whose thread the test plays as well.
struct World {
    metainfo: Arc<Metainfo>,
    bytes: Vec<u8>,
    link: Arc<TorrentLink>,
    inputs: Receiver<Input>,
    connections: Arc<Connections>,
    _folder: TempDir,
}

/// The peer's side.
struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct One(Arc<TorrentLink>);

impl Directory for One {
    fn find(&self, info_hash: &InfoHash) -> Option<Arc<TorrentLink>> {
        (*info_hash == self.0.info_hash).then(|| Arc::clone(&self.0))
    }
}

#[derive(Debug, PartialEq)]
enum Heard {
    Message(Message),
    Piece(u32, u32, Vec<u8>),
    Closed,
}

impl World {
    fn new(had: bool) -> Self {
        Self::with(had, [40, 41], 32)
    }

    /// Two files of so many bytes.
    fn with(had: bool, [a, b]: [u64; 2], piece_len: u64) -> Self {
        let files = TestFile::list(&[("a", a), ("empty", 0), ("d/b", b)]);
        let metainfo = torrent("t", &files, piece_len, None);
        let bytes = payload(&files);
        let middle = usize::try_from(a).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("t/d")).unwrap();
        fs::write(folder.path().join("t/a"), &bytes[..middle]).unwrap();
        fs::write(folder.path().join("t/d/b"), &bytes[middle..]).unwrap();
        let geometry = metainfo.geometry;
        let bits = if had { Bitfield::full(&geometry) } else { Bitfield::empty(&geometry) };
        let (sender, inputs) = queue::bounded(64);
        let storage = Storage::new(Arc::clone(&metainfo), folder.path(), None, FileCache::new(4)).unwrap();
        let link = Arc::new(TorrentLink {
            info_hash: metainfo.info_hash,
            own_peer_id: OWN,
            geometry,
            have: Arc::new(Have::new(geometry, &bits)),
            storage,
            pool: BlockPool::new(BLOCK_LEN, 1 << 16),
            inputs: sender,
            timeouts: Timeouts { connect: PATIENCE, silence: PATIENCE, stall: PATIENCE },
            limits: TorrentLimits::default(),
        });
        Self { metainfo, bytes, link, inputs, connections: Connections::new(4, 4), _folder: folder }
    }

    /// A peer dials us, with these feature bits.
    fn accept(&self, reserved: [u8; 8]) -> (Peer, ConnectionHandle) {
        let (stream, ours, address) = pair();
        let directory = One(Arc::clone(&self.link));
        self.connections
            .spawn(Origin::Stranger(address.ip()), move |lease| {
                incoming::run(lease, ours, address, &directory, PATIENCE);
            })
            .unwrap();
        let mut peer = Peer { stream, buffer: Vec::new() };
        peer.greet(reserved, self.metainfo.info_hash);
        let handle = self.opened(Direction::Incoming);
        (peer, handle)
    }

    fn opened(&self, direction: Direction) -> ConnectionHandle {
        match self.next() {
            Input::Opened(_, info, handle) => {
                assert_eq!((info.peer_id, info.direction), (THEIRS, direction));
                handle
            }
            other => panic!("{other:?}"),
        }
    }

    fn next(&self) -> Input {
        self.inputs.recv_timeout(PATIENCE).unwrap()
    }

    fn block(&self, piece: u32, index: u32) -> BlockRef {
        let geometry = &self.metainfo.geometry;
        geometry.block(geometry.piece(piece).unwrap(), index).unwrap()
    }

    fn finish(self) {
        self.connections.stop();
        assert_eq!(self.connections.count(), 0);
    }
}

impl Peer {
    fn greet(&mut self, reserved: [u8; 8], info_hash: InfoHash) {
        self.stream.write_all(&Handshake { reserved, info_hash, peer_id: THEIRS }.encode()).unwrap();
        let mut answer = [0; 68];
        self.stream.read_exact(&mut answer).unwrap();
        let answer = Handshake::decode(&answer).unwrap();
        assert_eq!((answer.info_hash, answer.peer_id), (info_hash, OWN));
        assert!(answer.supports_fast() && answer.supports_extended());
    }

    fn say(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn say_piece(&mut self, index: u32, begin: u32, payload: &[u8]) {
        let header = piece_header(index, begin, u32::try_from(payload.len()).unwrap());
        self.stream.write_all(&[&header, payload].concat()).unwrap();
    }

    fn hear(&mut self) -> Heard {
        let decoder = Decoder { max_message_len: 1 << 16, max_block_len: 1 << 17 };
        loop {
            match decoder.decode(&self.buffer).unwrap() {
                Decoded::Message { consumed, message } => {
                    self.buffer.drain(..consumed);
                    return Heard::Message(message);
                }
                Decoded::Piece { index, begin, len } if self.buffer.len() >= 13 + len as usize => {
                    let payload = self.buffer.drain(..13 + len as usize).skip(13).collect();
                    return Heard::Piece(index, begin, payload);
                }
                _ => {}
            }
            let mut more = [0; 4096];
            match self.stream.read(&mut more) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing was said, and it is open")
                }
                Ok(0) | Err(_) => return Heard::Closed,
                Ok(read) => self.buffer.extend(&more[..read]),
            }
        }
    }
}

fn pair() -> (TcpStream, TcpStream, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    // Before the connection gives up a silent peer by itself.
    theirs.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    let (ours, address) = listener.accept().unwrap();
    (theirs, ours, address)
}

const PLAIN: [u8; 8] = [0; 8];
const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];

fn raw(index: u32, begin: u32, len: u32) -> RawBlock {
    RawBlock { index, begin, len }
}

#[test]
fn a_seeder_serves_blocks_across_files_when_told_to() {
    let world = World::new(true);
    let (mut peer, handle) = world.accept(PLAIN);
    assert_eq!(peer.hear(), Heard::Message(Message::Bitfield([0xe0].into())));
    peer.say(&Message::Interested);
    assert!(matches!(world.next(), Input::Peer(_, PeerEvent::Interested)));
    assert!(handle.send(Command::Unchoke));
    assert_eq!(peer.hear(), Heard::Message(Message::Unchoke));
    peer.say(&Message::Request(raw(1, 0, 32)));
    peer.say(&Message::Request(raw(2, 10, 7)));
    assert_eq!(peer.hear(), Heard::Piece(1, 0, world.bytes[32..64].to_vec()));
    assert_eq!(peer.hear(), Heard::Piece(2, 10, world.bytes[74..81].to_vec()));
    assert!(matches!(world.next(), Input::Peer(_, PeerEvent::Uploaded(39))));
    world.finish();
}

/// The handle of such a connection is in the torrent's queue, which the connection itself keeps.
#[test]
fn a_connection_ends_with_a_torrent_that_has_not_heard_of_it() {
    let mut world = World::new(true);
    Arc::get_mut(&mut world.link).unwrap().timeouts.silence = PATIENCE * 100;
    let (stream, ours, address) = pair();
    let directory = One(Arc::clone(&world.link));
    let origin = Origin::Stranger(address.ip());
    let connection = move |lease| incoming::run(lease, ours, address, &directory, PATIENCE);
    world.connections.spawn(origin, connection).unwrap();
    let mut peer = Peer { stream, buffer: Vec::new() };
    peer.greet(FAST, world.metainfo.info_hash);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveAll));
    assert_eq!(world.inputs.len(), 1);
    drop(world.inputs);
    assert_eq!(peer.hear(), Heard::Closed);
    world.connections.stop();
}

#[test]
fn a_file_cut_short_while_it_is_open_is_told_to_the_torrent() {
    let world = World::new(true);
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveAll));
    assert!(handle.send(Command::Unchoke));
    assert_eq!(peer.hear(), Heard::Message(Message::Unchoke));
    peer.say(&Message::Request(raw(0, 0, 16)));
    assert_eq!(peer.hear(), Heard::Piece(0, 0, world.bytes[..16].to_vec()));
    fs::File::options().write(true).open(world.link.storage.path(0)).unwrap().set_len(20).unwrap();
    peer.say(&Message::Request(raw(0, 16, 16)));
    assert_eq!(peer.hear(), Heard::Closed);
    let told = std::iter::repeat_with(|| world.next()).take(3).find_map(|input| match input {
        Input::ReadFailed(error) => Some(error),
        _ => None,
    });
    assert!(matches!(told, Some(StorageError::Short { .. })), "{told:?}");
    world.finish();
}

#[test]
fn requests_while_choked_are_rejected_to_those_who_understand() {
    let world = World::new(true);
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveAll));
    peer.say(&Message::Request(raw(0, 0, 16)));
    assert_eq!(peer.hear(), Heard::Message(Message::Reject(raw(0, 0, 16))));
    assert!(handle.send(Command::Close(CloseReason::Stopped)));
    assert_eq!(peer.hear(), Heard::Closed);
    assert!(matches!(world.next(), Input::Gone(_)));
    world.finish();
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    let unasked = |peer: &mut Peer| peer.say_piece(0, 0, &[0; 16]);
    type Deed<'a> = (&'a str, [u8; 8], bool, &'a dyn Fn(&mut Peer));
    let table: [Deed<'_>; 8] = [
        ("a request beyond the end", PLAIN, true, &|peer| peer.say(&Message::Request(raw(2, 16, 2)))),
        ("a request for nothing", PLAIN, true, &|peer| peer.say(&Message::Request(raw(0, 0, 0)))),
        ("a piece that does not exist", PLAIN, true, &|peer| peer.say(&Message::Have(3))),
        ("a block nobody asked for", PLAIN, false, &unasked),
        ("spare bits", PLAIN, true, &|peer| peer.say(&Message::Bitfield([0xf0].into()))),
        ("have-all without BEP 6", PLAIN, true, &|peer| peer.say(&Message::HaveAll)),
        ("an extension without BEP 10", FAST, true, &|peer| {
            peer.say(&Message::Extended { id: 0, payload: (*b"de").into() });
        }),
        ("an endless message", PLAIN, true, &|peer| peer.stream.write_all(&[0xff; 5]).unwrap()),
    ];
    for (what, reserved, had, act) in table {
        let world = World::new(had);
        let (mut peer, _handle) = world.accept(reserved);
        act(&mut peer);
        let over = std::iter::repeat_with(|| peer.hear()).take(4).any(|heard| heard == Heard::Closed);
        assert!(over, "{what}");
        let gone =
            std::iter::repeat_with(|| world.next()).take(4).any(|input| matches!(input, Input::Gone(_)));
        assert!(gone, "{what}");
        world.finish();
    }
}

#[test]
fn late_bitfields_are_told_and_floods_of_them_end_the_connection() {
    let world = World::new(true);
    let (mut peer, _handle) = world.accept(PLAIN);
    peer.stream.write_all(&[0, 0, 0, 2, 5, 0x20].repeat(100)).unwrap();
    let told = std::iter::repeat_with(|| world.next())
        .take_while(|input| matches!(input, Input::Peer(_, PeerEvent::Bitfield(_))))
        .count();
    // The one after these was the end.
    assert_eq!(told, 80);
    world.finish();
}

#[test]
fn a_request_for_what_is_not_had_ends_the_connection() {
    let world = World::new(false);
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveNone));
    assert!(handle.send(Command::Unchoke));
    assert_eq!(peer.hear(), Heard::Message(Message::Unchoke));
    peer.say(&Message::Request(raw(0, 0, 16)));
    assert_eq!(peer.hear(), Heard::Closed);
    world.finish();
}

#[test]
fn a_leecher_receives_blocks_in_batches_and_tells_what_it_has() {
    let world = World::new(false);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, link) = (listener.local_addr().unwrap(), Arc::clone(&world.link));
    world.connections.spawn(OURS, move |lease| dial::run(lease, &link, address)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut peer = Peer { stream, buffer: Vec::new() };
    peer.greet(FAST, world.metainfo.info_hash);
    let handle = world.opened(Direction::Outgoing);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveNone));
    peer.say(&Message::HaveAll);
    assert!(matches!(world.next(), Input::Peer(_, PeerEvent::Bitfield(bits)) if bits.is_full()));
    let (first, second) = (world.block(1, 0), world.block(1, 1));
    assert!(handle.send(Command::Request(vec![first, second])));
    assert_eq!(peer.hear(), Heard::Message(Message::Request(raw(1, 0, 16))));
    assert_eq!(peer.hear(), Heard::Message(Message::Request(raw(1, 16, 16))));
    // In another order, and in crumbs.
    peer.say_piece(1, 16, &world.bytes[48..64]);
    for byte in [&piece_header(1, 0, 16)[..], &world.bytes[32..48]].concat() {
        peer.stream.write_all(&[byte]).unwrap();
    }
    let mut blocks = Vec::new();
    while blocks.len() < 2 {
        match world.next() {
            Input::Blocks(_, batch) => blocks.extend(batch),
            other => panic!("{other:?}"),
        }
    }
    let expected = [(second, &world.bytes[48..64]), (first, &world.bytes[32..48])];
    assert!(blocks.iter().map(|(block, bytes)| (*block, &**bytes)).eq(expected));
    world.link.have.insert(first.piece());
    handle.ring();
    assert_eq!(peer.hear(), Heard::Message(Message::Have(1)));
    world.finish();
}

#[test]
fn who_hides_shows_one_piece_at_a_time_and_then_the_rest() {
    let world = World::new(true);
    world.link.have.hide(true);
    let (mut peer, handle) = world.accept(FAST);
    assert_eq!(peer.hear(), Heard::Message(Message::HaveNone));
    let piece = |index| world.link.geometry.piece(index).unwrap();
    handle.send(Command::Show(vec![piece(1)]));
    assert_eq!(peer.hear(), Heard::Message(Message::Have(1)));
    handle.send(Command::Show(vec![piece(1)]));
    handle.send(Command::ShowAll);
    handle.send(Command::ShowAll);
    assert_eq!(peer.hear(), Heard::Message(Message::Have(0)));
    assert_eq!(peer.hear(), Heard::Message(Message::Have(2)));
    handle.send(Command::Unchoke);
    assert_eq!(peer.hear(), Heard::Message(Message::Unchoke), "and nothing twice");
    drop(handle);
    assert!(matches!(world.next(), Input::Gone(_)));
    let (mut plain, handle) = world.accept([0; 8]);
    assert!(matches!(plain.hear(), Heard::Message(Message::Bitfield(_))), "nothing is hidden without BEP 6");
    drop(handle);
    world.finish();
}

#[test]
fn a_block_taken_back_may_still_arrive_once() {
    let world = World::new(false);
    let (mut peer, handle) = world.accept(PLAIN);
    let block = world.block(0, 0);
    assert!(handle.send(Command::Request(vec![block])));
    assert!(handle.send(Command::Cancel(vec![block])));
    assert_eq!(peer.hear(), Heard::Message(Message::Request(raw(0, 0, 16))));
    assert_eq!(peer.hear(), Heard::Message(Message::Cancel(raw(0, 0, 16))));
    peer.say_piece(0, 0, &[1; 16]);
    peer.say(&Message::Interested);
    assert!(matches!(world.next(), Input::Peer(_, PeerEvent::Interested)));
    peer.say_piece(0, 0, &[1; 16]);
    assert_eq!(peer.hear(), Heard::Closed);
    world.finish();
}

#[test]
fn dialling_the_wrong_torrent_or_nobody_is_told() {
    let world = World::new(false);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let link = Arc::clone(&world.link);
    world.connections.spawn(OURS, move |lease| dial::run(lease, &link, address)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&Handshake::new(InfoHash::new([9; 20]), THEIRS).encode()).unwrap();
    assert!(matches!(world.next(), Input::DialFailed(failed) if failed == address));
    drop(listener);
    let link = Arc::clone(&world.link);
    world.connections.spawn(OURS, move |lease| dial::run(lease, &link, address)).unwrap();
    assert!(matches!(world.next(), Input::DialFailed(failed) if failed == address));
    world.finish();
}

#[test]
fn a_stop_ends_a_connection_whose_torrent_lives_on() {
    let world = World::new(true);
    let (mut peer, _handle) = world.accept(PLAIN);
    std::thread::scope(|scope| {
        scope.spawn(|| world.connections.stop());
        while peer.hear() != Heard::Closed {}
    });
    world.finish();
}

#[test]
fn a_dropped_handle_ends_the_connection() {
    let world = World::new(true);
    let (mut peer, handle) = world.accept(PLAIN);
    drop(handle);
    assert!(matches!(peer.hear(), Heard::Message(Message::Bitfield(_)) | Heard::Closed));
    assert_eq!(peer.hear(), Heard::Closed);
    world.finish();
}
