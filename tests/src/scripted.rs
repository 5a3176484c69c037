//! Peers that do as a test says: a seed that serves slowly, or lies, and a bare connection to send anything over.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use torrent_common::announce::AnnounceRequest;
use torrent_common::bitfield::Bitfield;
use torrent_common::ids::{InfoHash, PeerId};
use torrent_common::metainfo::Metainfo;
use torrent_common::wire::handshake::HANDSHAKE_LEN;
use torrent_common::wire::message::{RawBlock, piece_header};
use torrent_common::wire::{Decoded, Decoder, Handshake, Message};

use crate::tracker::{Tracker, request};

/// How long a connection waits for the other side, unless told otherwise.
const LINK_LIMIT: Duration = Duration::from_secs(30);

/// A connection to a peer, after TCP and before anything else.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came over a [`Link`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// Any message but `piece`.
    Message(Message),
    /// A block of payload.
    Block {
        /// Where it is.
        block: RawBlock,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl Link {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn connect(to: SocketAddr) -> Self {
        let stream =
            TcpStream::connect_timeout(&to, LINK_LIMIT).unwrap_or_else(|error| panic!("{to}: {error}"));
        Self::new(stream)
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LINK_LIMIT)).unwrap();
        stream.set_write_timeout(Some(LINK_LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends our handshake, without any extension, and reads the other's.
    ///
    /// # Errors
    /// If the other side hangs up or speaks something else.
    pub fn handshake(&mut self, info_hash: InfoHash, peer_id: PeerId) -> io::Result<Handshake> {
        self.send(&Handshake { reserved: [0; 8], info_hash, peer_id }.encode())?;
        self.read_handshake()
    }

    pub(crate) fn read_handshake(&mut self) -> io::Result<Handshake> {
        let mut bytes = [0; HANDSHAKE_LEN];
        self.stream.read_exact(&mut bytes)?;
        Handshake::decode(&bytes).map_err(io::Error::other)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// If the other side has hung up.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the other side has hung up.
    pub fn tell(&mut self, message: &Message) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send(&bytes)
    }

    /// The next message.
    ///
    /// # Errors
    /// If the other side hangs up, is silent for too long, or sends nonsense.
    pub fn receive(&mut self) -> io::Result<Received> {
        let decoder = Decoder { max_message_len: 1 << 20, max_block_len: 1 << 20 };
        loop {
            match decoder.decode(&self.buffer).map_err(io::Error::other)? {
                Decoded::Need(_) => self.read_more()?,
                Decoded::Message { consumed, message } => {
                    self.buffer.drain(..consumed);
                    return Ok(Received::Message(message));
                }
                Decoded::Piece { index, begin, len } => {
                    let end = 13 + len as usize;
                    while self.buffer.len() < end {
                        self.read_more()?;
                    }
                    let bytes = self.buffer.drain(..end).skip(13).collect();
                    return Ok(Received::Block { block: RawBlock { index, begin, len }, bytes });
                }
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut part = [0; 1 << 14];
        let got = self.stream.read(&mut part)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&part[..got]);
        Ok(())
    }

    /// Reads whatever comes until the other side hangs up.
    ///
    /// # Errors
    /// If it has not within `limit`.
    pub fn wait_closed(&mut self, limit: Duration) -> io::Result<()> {
        let deadline = std::time::Instant::now() + limit;
        loop {
            let rest =
                deadline.saturating_duration_since(std::time::Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(rest))?;
            match self.read_more() {
                Ok(()) if std::time::Instant::now() < deadline => self.buffer.clear(),
                Ok(()) => return Err(io::ErrorKind::TimedOut.into()),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                Err(_) => return Ok(()),
            }
        }
    }
}

/// How a [`Seed`] serves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Every byte is wrong.
    pub corrupt: bool,
    /// The time each block takes: a slow uplink.
    pub pace: Duration,
}

/// A peer that says it has everything, unchokes everyone, and notes what it is asked for.
#[derive(Debug)]
pub struct Seed {
    address: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    metainfo: Metainfo,
    payload: Vec<u8>,
    peer_id: PeerId,
    manner: Manner,
    stop: AtomicBool,
    log: Mutex<Log>,
}

/// What happened so far.
#[derive(Debug, Default)]
struct Log {
    blocks: u64,
    pieces: BTreeSet<u32>,
    open: Vec<TcpStream>,
    connections: u64,
    closed: u64,
}

impl Seed {
    /// Listens on `address` (127.0.0.2 differs from our daemons', so that a ban strikes nobody else) and serves the
    /// payload below `folder`.
    ///
    /// # Panics
    /// If it cannot listen, or the payload is not there.
    pub fn start(address: impl Into<IpAddr>, metainfo: &Metainfo, folder: &Path, manner: Manner) -> Self {
        let listener = TcpListener::bind((address.into(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            metainfo: metainfo.clone(),
            payload: crate::torrents::payload(metainfo, folder),
            peer_id: PeerId::generate(&mut fastrand::Rng::new()),
            manner,
            stop: AtomicBool::new(false),
            log: Mutex::default(),
        });
        let for_acceptor = Arc::clone(&state);
        let acceptor = std::thread::spawn(move || accept(&listener, &for_acceptor));
        Self { address, state, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Announces itself as a seeder.
    ///
    /// # Panics
    /// If the tracker refuses.
    pub fn announce(&self, tracker: &Tracker) {
        let request = request(self.state.metainfo.info_hash, self.state.peer_id, self.address.port(), 0);
        tracker.announce(&AnnounceRequest { ip: Some(self.address.ip()), ..request }).unwrap();
    }

    /// Blocks served so far.
    pub fn blocks_served(&self) -> u64 {
        self.state.log.lock().unwrap().blocks
    }

    /// Pieces of which blocks were served.
    pub fn pieces_served(&self) -> BTreeSet<u32> {
        self.state.log.lock().unwrap().pieces.clone()
    }

    /// Connections taken and still open.
    pub fn open_connections(&self) -> u64 {
        let log = self.state.log.lock().unwrap();
        log.connections - log.closed
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        // Under the lock: the acceptor either sees it, or its connection is in the list.
        if let Ok(log) = self.state.log.lock() {
            self.state.stop.store(true, Ordering::Release);
            for stream in &log.open {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        // Wakes the acceptor, which joins the rest.
        let _ = TcpStream::connect(self.address);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let mut log = state.log.lock().unwrap();
            if state.stop.load(Ordering::Acquire) {
                return;
            }
            let Ok(stream) = stream else { continue };
            log.connections += 1;
            log.open.extend(stream.try_clone());
            drop(log);
            scope.spawn(move || {
                // An error here is the other side's hanging up, which is its right.
                let _ = serve(Link::new(stream), state);
                state.log.lock().unwrap().closed += 1;
            });
        }
    });
}

fn serve(mut link: Link, state: &State) -> io::Result<()> {
    let theirs = link.read_handshake()?;
    if theirs.info_hash != state.metainfo.info_hash {
        return Ok(());
    }
    let ours = Handshake { reserved: [0; 8], info_hash: theirs.info_hash, peer_id: state.peer_id };
    link.send(&ours.encode())?;
    link.tell(&Message::Bitfield(Bitfield::full(&state.metainfo.geometry).as_bytes().into()))?;
    while !state.stop.load(Ordering::Acquire) {
        match link.receive()? {
            Received::Message(Message::Interested) => link.tell(&Message::Unchoke)?,
            Received::Message(Message::Request(block)) => answer(&mut link, state, block)?,
            _ => {}
        }
    }
    Ok(())
}

fn answer(link: &mut Link, state: &State, block: RawBlock) -> io::Result<()> {
    let geometry = &state.metainfo.geometry;
    let span = geometry.span(block.index, block.begin, block.len).expect("our daemon asks for what exists");
    let begin = usize::try_from(geometry.offset(span.piece())).unwrap() + block.begin as usize;
    let mut bytes = state.payload[begin..begin + block.len as usize].to_vec();
    if state.manner.corrupt {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    std::thread::sleep(state.manner.pace);
    let mut message = piece_header(block.index, block.begin, block.len).to_vec();
    message.extend(bytes);
    link.send(&message)?;
    let mut log = state.log.lock().unwrap();
    log.blocks += 1;
    log.pieces.insert(block.index);
    Ok(())
}
