//! What is to be sent: messages, then payload, file to socket.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;

use rustix::net::SendFlags;
use torrent_common::geometry::Span;
use torrent_common::wire::Message;
use torrent_common::wire::message::{RawBlock, piece_header};

use super::{End, Violation};
use crate::storage::StorageError;
use crate::storage::files::{Source, Storage};

/// Requests of a peer that may wait here: told to it as `reqq` (BEP 10).
pub const MAX_QUEUED_REQUESTS: usize = 1024;
/// Message bytes that may wait for a peer that does not read.
const MAX_QUEUED_BYTES: usize = 1 << 20;
/// Message bytes that were sent and may stay in memory while others wait behind them.
const COMPACT_LEN: usize = 64 << 10;
/// Payload bytes sent before the socket is read again.
const TURN_LEN: u64 = 1 << 20;
/// Payload that may go beyond an allowance so that a message need not wait: the rest of a usual block.
const END_LEN: u64 = 16 << 10;
const ZEROS: [u8; 4096] = [0; 4096];

/// The queue of one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    messages: Vec<u8>,
    sent: usize,
    uploads: VecDeque<Span>,
    current: Option<Upload>,
}

/// A block being sent.
#[derive(Debug)]
struct Upload {
    header: [u8; 13],
    header_sent: usize,
    /// Bytes of payload to send.
    left: u64,
    sources: VecDeque<Source>,
}

/// What one turn of sending did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of any kind.
    pub any: bool,
    /// Bytes of payload.
    pub payload: u64,
    /// The socket took all it could: wait until it takes more.
    pub blocked: bool,
    /// Payload waits for an allowance.
    pub held: bool,
}

impl Outbox {
    /// Queues a message.
    pub fn push(&mut self, message: &Message) {
        message.encode(&mut self.messages);
    }

    /// Queues a block to upload.
    ///
    /// # Errors
    /// [`Violation::TooManyRequests`].
    pub fn upload(&mut self, span: Span) -> Result<(), Violation> {
        if self.uploads.len() >= MAX_QUEUED_REQUESTS {
            return Err(Violation::TooManyRequests);
        }
        self.uploads.push_back(span);
        Ok(())
    }

    /// Takes an upload back, unless it has begun; true if it was there.
    pub fn cancel(&mut self, span: Span) -> bool {
        let found = self.uploads.iter().position(|&queued| queued == span);
        found.and_then(|at| self.uploads.remove(at)).is_some()
    }

    /// Takes all uploads back but the one that has begun.
    pub fn cancel_all(&mut self) -> impl Iterator<Item = Span> + use<> {
        std::mem::take(&mut self.uploads).into_iter()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sent == self.messages.len() && self.current.is_none() && self.uploads.is_empty()
    }

    /// Messages pile up: the peer does not read.
    pub const fn is_overfull(&self) -> bool {
        self.messages.len() - self.sent > MAX_QUEUED_BYTES
    }

    /// Payload waits to be sent, or is being sent.
    pub fn has_uploads(&self) -> bool {
        self.current.is_some() || !self.uploads.is_empty()
    }

    /// Sends until there is nothing more, the socket takes no more, or a turn's worth has gone. Of payload it sends
    /// `allowance` bytes at the most, but for the last [`END_LEN`] of a block that stands in the way of messages: they wait
    /// for no limit, but behind a longer run for the beginning of that.
    ///
    /// # Errors
    /// [`End`]: the network's, or the disk's.
    pub fn send(&mut self, stream: &TcpStream, storage: &Storage, allowance: u64) -> Result<Sent, End> {
        let mut sent = Sent::default();
        while !self.is_empty() && sent.payload < TURN_LEN {
            let (left, urgent) = (allowance.saturating_sub(sent.payload), self.sent < self.messages.len());
            let ends = urgent && self.current.as_ref().is_some_and(|upload| upload.left <= END_LEN);
            let step = if self.current.is_some() && (ends || left > 0) {
                self.send_upload(stream, &mut sent, if ends { u64::MAX } else { left })
            } else if urgent && self.current.is_none() {
                self.send_messages(stream, left > 0, &mut sent)
            } else if left == 0 {
                sent.held = true;
                return Ok(sent);
            } else {
                self.begin_upload(storage)?;
                Ok(())
            };
            match step {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sent.blocked = true;
                    return Ok(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(self.fault_of_disk(&error, storage).unwrap_or_else(|| error.into()));
                }
            }
        }
        Ok(sent)
    }

    /// What is wrong with the file that is sent, if it is not the network's fault: the torrent must know of it. sendfile(2)
    /// does not say which of the two it was; so the byte that it came to is read once more.
    fn fault_of_disk(&self, error: &io::Error, storage: &Storage) -> Option<End> {
        let Source::File { file, index, offset, .. } = self.current.as_ref()?.sources.front()? else {
            return None;
        };
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Some(StorageError::Short { path: storage.path(*index) }.into());
        }
        storage.probe(*index, file, *offset).err().map(Into::into)
    }

    /// `may_upload`: payload follows at once, if there is any.
    fn send_messages(&mut self, stream: &TcpStream, may_upload: bool, sent: &mut Sent) -> io::Result<()> {
        let rest = self.messages.get(self.sent..).unwrap_or_default();
        let more = may_upload && !self.uploads.is_empty();
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        self.sent += rustix::net::send(stream, rest, flags)?;
        sent.any = true;
        if self.sent == self.messages.len() {
            self.messages.clear();
            self.sent = 0;
            // A bitfield is long and sent once: do not keep its room for ever.
            self.messages.shrink_to(4096);
        } else if self.sent >= COMPACT_LEN && self.sent >= self.messages.len() / 2 {
            // A peer that always leaves some unread would have us keep all that it ever was sent. Each byte kept is moved
            // at most once for one that was sent.
            self.messages.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    fn begin_upload(&mut self, storage: &Storage) -> Result<(), End> {
        let Some(span) = self.uploads.pop_front() else { return Ok(()) };
        let sources = storage
            .layout()
            .segments(span)
            .map(|segment| storage.source(segment))
            .collect::<Result<_, _>>()?;
        let header = piece_header(span.piece().get(), span.begin(), span.len());
        self.current = Some(Upload { header, header_sent: 0, left: span.len().into(), sources });
        Ok(())
    }

    /// Sends some of the current block, `most` bytes of payload at the most.
    fn send_upload(&mut self, stream: &TcpStream, sent: &mut Sent, most: u64) -> io::Result<()> {
        let Some(upload) = &mut self.current else { return Ok(()) };
        if let Some(rest) = upload.header.get(upload.header_sent..).filter(|rest| !rest.is_empty()) {
            upload.header_sent += rustix::net::send(stream, rest, SendFlags::NOSIGNAL | SendFlags::MORE)?;
            sent.any = true;
            return Ok(());
        }
        let Some(source) = upload.sources.front_mut() else {
            self.current = None;
            return Ok(());
        };
        let (moved, left) = send_some(stream, source, most)?;
        sent.any = true;
        sent.payload += moved;
        upload.left = upload.left.saturating_sub(moved);
        if left == 0 {
            upload.sources.pop_front();
        }
        if upload.sources.is_empty() {
            self.current = None;
        }
        Ok(())
    }
}

/// Moves what the socket takes of `source`, `most` bytes at the most: bytes moved, and bytes left.
fn send_some(stream: &TcpStream, source: &mut Source, most: u64) -> io::Result<(u64, u64)> {
    match source {
        Source::File { file, offset, len, .. } => {
            let want = usize::try_from(most.min(*len)).unwrap_or(usize::MAX);
            let moved = rustix::fs::sendfile(stream, &**file, Some(offset), want)? as u64;
            if moved == 0 {
                // Shorter than when it was opened: the peer was promised these bytes.
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "a payload file was cut while it was sent",
                ));
            }
            *len = len.saturating_sub(moved);
            Ok((moved, *len))
        }
        Source::Zeros(len) => {
            let want = usize::try_from(most.min(*len)).unwrap_or(usize::MAX).min(ZEROS.len());
            let moved =
                rustix::net::send(stream, ZEROS.get(..want).unwrap_or_default(), SendFlags::NOSIGNAL)? as u64;
            *len = len.saturating_sub(moved);
            Ok((moved, *len))
        }
    }
}

/// A span as it stands on the wire.
pub const fn raw(span: Span) -> RawBlock {
    RawBlock { index: span.piece().get(), begin: span.begin(), len: span.len() }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_peer_that_never_reads_everything_costs_bounded_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut outbox = Outbox::default();
        let mut sent = Sent::default();
        let mut buffer = vec![0; 256 << 10];
        let mut most = 0;
        let (mut written, mut read) = (0u64, 0u64);
        for _ in 0..60 {
            // There is always more than the socket takes, and never so much that the peer is dropped for it.
            while outbox.messages.len() - outbox.sent < 512 << 10 {
                outbox.push(&Message::Have(u32::try_from(written / 9).unwrap()));
                written += 9;
            }
            while outbox.send_messages(&stream, false, &mut sent).is_ok() && !outbox.is_empty() {}
            assert!(!outbox.is_overfull());
            most = most.max(outbox.messages.capacity());
            let got = peer.read(&mut buffer).unwrap();
            for byte in (0..got).filter(|at| (read + *at as u64) % 9 == 8) {
                // The last byte of a message's piece number: nothing is lost, doubled or moved about.
                let number = (read + byte as u64) / 9;
                assert_eq!(u64::from(buffer.get(byte).copied().unwrap()), number % 256);
            }
            read += got as u64;
        }
        assert!(written > 6 << 20, "{written}");
        assert!(most <= 3 << 20, "{most}");
    }
}
