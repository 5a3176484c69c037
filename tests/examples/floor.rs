//! The floor of `scripts/bench.sh`: what the kernel and SHA-1 alone cost, without BitTorrent.
//!
//! - `floor send FILE ADDRESS`: listens there and gives the first who comes the file, by sendfile.
//! - `floor receive ADDRESS FILE PIECE-LENGTH`: receives, hashes each piece and writes it, in one thread.
//! - `floor hash FILE PIECE-LENGTH`: reads and hashes each piece, in one thread.
//!
//! Prints `ready` when it listens and `done` when all is sent, received or hashed; then it waits to be ended, so that
//! what it has used can be read (`hash` does not).

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use sha1::{Digest, Sha1};

/// Bytes that are read at once while hashing: they stay in the processor's second cache.
const READ_LEN: usize = 128 << 10;
/// Bytes given to one call of sendfile.
const SEND_LEN: usize = 1 << 20;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["send", file, address] => send(file, address),
        ["receive", address, file, piece] => receive(address, file, length(piece)?),
        ["hash", file, piece] => hash(file, length(piece)?),
        _ => Err(invalid(
            "floor send FILE ADDRESS | receive ADDRESS FILE PIECE-LENGTH | hash FILE PIECE-LENGTH",
        )),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// A piece length in bytes.
fn length(text: &str) -> io::Result<usize> {
    text.parse().ok().filter(|&len| len > 0).ok_or_else(|| invalid("a piece length is a number of bytes"))
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{word}")?;
    out.flush()
}

/// Waits for a signal.
fn stay() -> ! {
    loop {
        std::thread::park();
    }
}

fn send(file: &str, address: &str) -> io::Result<()> {
    let file = File::open(file)?;
    let listener = TcpListener::bind(address)?;
    say("ready")?;
    let (peer, _) = listener.accept()?;
    let (mut offset, len) = (0, file.metadata()?.len());
    while offset < len {
        // It counts the offset on.
        if rustix::fs::sendfile(&peer, &file, Some(&mut offset), SEND_LEN)? == 0 {
            return Err(invalid("the file became shorter"));
        }
    }
    peer.shutdown(std::net::Shutdown::Write)?;
    say("done")?;
    stay()
}

fn receive(address: &str, file: &str, piece_len: usize) -> io::Result<()> {
    let mut out = File::create(file)?;
    let mut peer = TcpStream::connect(address)?;
    let mut piece = vec![0; piece_len];
    loop {
        let len = fill(&mut peer, &mut piece)?;
        let part = piece.get(..len).unwrap_or_default();
        std::hint::black_box(Sha1::digest(part));
        out.write_all(part)?;
        if len < piece_len {
            break;
        }
    }
    say("done")?;
    stay()
}

/// Reads until the buffer is full or the other side has ended. How many bytes came.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while let Some(rest) = buffer.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

fn hash(file: &str, piece_len: usize) -> io::Result<()> {
    let mut file = File::open(file)?;
    let mut buffer = vec![0; READ_LEN.min(piece_len)];
    let (mut hasher, mut rest) = (Sha1::new(), piece_len);
    loop {
        let wanted = buffer.len().min(rest);
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let len = fill(&mut file, part)?;
        hasher.update(part.get(..len).unwrap_or_default());
        rest -= len;
        if rest == 0 {
            std::hint::black_box(hasher.finalize_reset());
            rest = piece_len;
        }
        if len < wanted {
            std::hint::black_box(hasher.finalize());
            return say("done");
        }
    }
}
