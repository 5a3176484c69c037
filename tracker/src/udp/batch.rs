//! Many packets with one system call: recvmmsg(2) through nix, sendmmsg(2) through rustix, both without unsafe code of
//! ours. Memory for the packets and the answers is taken once; what the calls themselves need, some pointers, is made
//! anew for every batch of several answers.
//!
//! On a wildcard address every packet comes with the address of this machine that it was sent to (`local.rs`), and its
//! answer leaves by that one. That goes through nix too, which knows how to say it, but only for all packets of a call alike.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};
use torrent_common::announce::udp::MAX_ANSWER_LEN;
use torrent_common::worker::Shutdown;

use super::local::{self, Local};

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
    /// Each packet's length, its sender, and where it came if its answer is to leave there. None: it has no sender.
    received: Vec<Option<(usize, S, Option<Local>)>>,
    answers: Vec<u8>,
    /// Where each answer is, and the packet it is to.
    addressed: Vec<(Range<usize>, S, Option<Local>)>,
    /// For answers that leave by the address that was asked; `None` where it is the socket's own.
    leaving: Option<MultiHeaders<S>>,
}

impl<S: Name> Batch<S> {
    /// For a socket that was told to say where packets came, or not.
    pub(super) fn new(says_where: bool) -> Self {
        let space = says_where.then(local::space);
        Self {
            packets: vec![[0; PACKET_LEN]; LEN].into(),
            headers: MultiHeaders::preallocate(LEN, space.clone()),
            received: Vec::with_capacity(LEN),
            answers: Vec::with_capacity(LEN * MAX_ANSWER_LEN),
            addressed: Vec::with_capacity(LEN),
            leaving: space.map(|space| MultiHeaders::preallocate(LEN, Some(space))),
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
        let says_where = self.leaving.is_some();
        self.received.extend(results.map(|message| {
            let at = if says_where { message.cmsgs().ok().and_then(local::of) } else { None };
            Some((message.bytes, message.address?, at))
        }));
        Ok(())
    }

    /// Shows every packet received, with its sender, to `answer`, which may append one answer of at most
    /// [`MAX_ANSWER_LEN`] bytes.
    pub(super) fn answer(&mut self, mut answer: impl FnMut(&[u8], SocketAddr, &mut Vec<u8>)) {
        self.answers.clear();
        self.addressed.clear();
        for (packet, received) in self.packets.iter().zip(&self.received) {
            let &Some((len, from, at)) = received else { continue };
            let start = self.answers.len();
            answer(packet.get(..len).unwrap_or(packet), from.into(), &mut self.answers);
            if self.answers.len() > start {
                self.addressed.push((start..self.answers.len(), from, at));
            }
        }
    }

    /// Sends the answers. What the system has no room for now is lost: whoever misses it asks again.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        match self.leaving.take() {
            Some(mut headers) => {
                for run in self.addressed.chunk_by(|(_, _, one), (_, _, other)| one == other) {
                    self.send_from(socket, &mut headers, run);
                }
                self.leaving = Some(headers);
            }
            None => self.send_all(socket),
        }
    }

    /// Sends answers that leave by one address.
    fn send_from(
        &self,
        socket: &UdpSocket,
        headers: &mut MultiHeaders<S>,
        answers: &[(Range<usize>, S, Option<Local>)],
    ) {
        let Some((_, _, Some(at))) = answers.first() else { return };
        let slices: Vec<_> =
            answers.iter().map(|(range, ..)| [IoSlice::new(bytes(&self.answers, range))]).collect();
        let names: Vec<_> = answers.iter().map(|(_, to, _)| Some(*to)).collect();
        let mut done = 0;
        while let (Some(slices @ [_, ..]), Some(names)) = (slices.get(done..), names.get(done..)) {
            done += match local::send(socket, headers, slices, names, *at) {
                Ok(sent) => sent.max(1),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => unsent(&error),
            };
        }
    }

    /// Sends answers by the socket's own address.
    fn send_all(&self, socket: &UdpSocket) {
        let to = |name: S| SocketAddrAny::from(name.into());
        if let [(range, name, _)] = &*self.addressed {
            if let Err(error) = sendto(socket, bytes(&self.answers, range), SendFlags::DONTWAIT, &to(*name)) {
                unsent(&error);
            }
            return;
        }
        let answers = self.addressed.iter();
        let slices: Vec<_> =
            answers.clone().map(|(range, ..)| [IoSlice::new(bytes(&self.answers, range))]).collect();
        let names: Vec<_> = answers.map(|(_, name, _)| to(*name)).collect();
        let mut controls: Vec<_> = slices.iter().map(|_| SendAncillaryBuffer::new(&mut [])).collect();
        let mut messages: Vec<_> = (names.iter().zip(&slices).zip(&mut controls))
            .map(|((to, slice), control)| MMsgHdr::new_with_addr(to, slice, control))
            .collect();
        let mut rest = &mut *messages;
        while !rest.is_empty() {
            let done = match sendmmsg(socket, rest, SendFlags::DONTWAIT) {
                Ok(sent) => sent.max(1),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => unsent(&error),
            };
            rest = rest.get_mut(done..).unwrap_or_default();
        }
    }
}

fn bytes<'a>(answers: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    answers.get(range.clone()).unwrap_or_default()
}

/// How many answers an error is about: it is the first that cannot be sent.
fn unsent(error: &dyn std::fmt::Display) -> usize {
    log::debug!("an answer was not sent: {error}");
    1
}
