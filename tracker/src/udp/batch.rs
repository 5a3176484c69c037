//! Many packets with one system call: recvmmsg(2) through nix, sendmmsg(2) through rustix, both without unsafe code of
//! ours. Memory for the packets and the answers is taken once; what the calls themselves need, some pointers, is made
//! anew for every batch of several answers.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use torrent_common::announce::udp::MAX_ANSWER_LEN;
use torrent_common::worker::Shutdown;

/// Packets of a batch.
const LEN: usize = 64;
/// Bytes of a packet that are read: a scrape of [`torrent_common::announce::udp::MAX_SCRAPE`] torrents is 1,496 long, an
/// announce with an URL of ordinary length 200. What is longer is cut.
const PACKET_LEN: usize = 1536;

/// A sender's address as the socket's system calls have it.
pub(super) trait Name: SockaddrLike + Copy + Into<SocketAddr> {}
impl Name for SockaddrIn {}
impl Name for SockaddrIn6 {}

/// Packets received together, and the answers to them.
pub(super) struct Batch<S> {
    packets: Box<[[u8; PACKET_LEN]]>,
    headers: MultiHeaders<S>,
    /// The length and the sender of each packet received.
    received: Vec<(usize, SocketAddr)>,
    answers: Vec<u8>,
    /// Where each answer is, and to whom it goes.
    addressed: Vec<(Range<usize>, SocketAddrAny)>,
}

impl<S: Name> Batch<S> {
    pub(super) fn new() -> Self {
        Self {
            packets: vec![[0; PACKET_LEN]; LEN].into(),
            headers: MultiHeaders::preallocate(LEN, None),
            received: Vec::with_capacity(LEN),
            answers: Vec::with_capacity(LEN * MAX_ANSWER_LEN),
            addressed: Vec::with_capacity(LEN),
        }
    }

    /// Waits for a packet, then takes all that have come, as far as there is room. Takes nothing when it is woken to
    /// stop.
    pub(super) fn receive(&mut self, socket: &UdpSocket, stopping: &Shutdown) -> io::Result<()> {
        self.received.clear();
        let Ok(packets) = <&mut [[u8; PACKET_LEN]; LEN]>::try_from(&mut *self.packets) else { return Ok(()) };
        let mut buffers = packets.each_mut().map(|packet| [IoSliceMut::new(packet)]);
        let results = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            buffers.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        // What a socket that was shut down gives has no address.
        if stopping.is_set() {
            return Ok(());
        }
        let named = results.filter_map(|message| Some((message.bytes, message.address?.into())));
        self.received.extend(named);
        Ok(())
    }

    /// Shows every packet received, with its sender, to `answer`, which may append one answer of at most
    /// [`MAX_ANSWER_LEN`] bytes.
    pub(super) fn answer(&mut self, mut answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>)) {
        self.answers.clear();
        self.addressed.clear();
        for (packet, &(len, from)) in self.packets.iter().zip(&self.received) {
            let start = self.answers.len();
            answer(packet.get(..len).unwrap_or(packet), from, &mut self.answers);
            if self.answers.len() > start {
                self.addressed.push((start..self.answers.len(), from.into()));
            }
        }
    }

    /// Sends the answers. What the system has no room for now is lost: whoever misses it asks again.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        let bytes = |range: &Range<usize>| self.answers.get(range.clone()).unwrap_or_default();
        if let [(range, to)] = &*self.addressed {
            if let Err(error) = sendto(socket, bytes(range), SendFlags::DONTWAIT, to) {
                log::debug!("an answer was not sent: {error}");
            }
            return;
        }
        let slices: Vec<_> = self.addressed.iter().map(|(range, _)| [IoSlice::new(bytes(range))]).collect();
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::new(&mut [])).collect();
        let mut messages: Vec<_> = (self.addressed.iter().zip(&slices).zip(&mut controls))
            .map(|(((_, to), slice), control)| MMsgHdr::new_with_addr(to, slice, control))
            .collect();
        let mut rest = &mut *messages;
        while !rest.is_empty() {
            let done = match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    // It is the first that cannot be sent.
                    log::debug!("an answer was not sent: {error}");
                    1
                }
            };
            rest = rest.get_mut(done..).unwrap_or_default();
        }
    }
}
