//! Connections of HTTP clients. Each remembers where it leads, and is good for a request only if that is one of the addresses
//! just looked up for it: a name that meant a public address and now means one in the user's network, or the other way
//! round, brings a request nowhere that was not checked. What comes is counted, also what ureq would throw away: the bodies
//! of redirects, and headers before the answer's own. Whoever waits here is woken when the client hangs up.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::names::Refused;
use super::trip;
use crate::wake::poll_until;

/// Makes connections.
#[derive(Debug)]
pub struct Dial;

impl Connector for Dial {
    type Out = Dialled;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Dialled>, Error> {
        let end = deadline(details.timeout);
        let mut failure = Error::ConnectionFailed;
        for (tried, &address) in details.addrs.iter().enumerate() {
            let rest = end.saturating_duration_since(Instant::now());
            // The first has half of the time, the next half of what is left; the last has it all.
            let share = if tried + 1 < details.addrs.len() { rest / 2 } else { rest };
            let until = Instant::now() + share;
            match Dialled::open(address, details, until) {
                Ok(dialled) => return Ok(Some(dialled)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The socket, which never blocks.
struct Line(TcpStream);

impl Line {
    /// Waits until the socket is ready, or broken.
    fn wait(&self, interest: PollFlags, until: Instant, reason: Timeout) -> Result<(), Error> {
        let mut descriptors = [PollFd::from_borrowed_fd(self.0.as_fd(), interest)];
        poll_until(&mut descriptors, Some(until))?;
        let [socket] = &descriptors;
        if socket.revents().is_empty() { Err(Error::Timeout(reason)) } else { Ok(()) }
    }

    /// Reads or writes as soon as the socket lets it.
    fn when_ready(
        &self,
        interest: PollFlags,
        timeout: NextTimeout,
        mut act: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Result<usize, Error> {
        let until = deadline(timeout);
        loop {
            match act(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(interest, until, timeout.reason)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return Ok(other?),
            }
        }
    }
}

/// Wakes who waits for the socket. One that is being connected is so no more.
impl ShutdownHandle for Line {
    fn shutdown(&self) {
        // Fails when it is broken already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A connection, and where it leads.
pub struct Dialled {
    line: Arc<Line>,
    address: SocketAddr,
    buffers: LazyBuffers,
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Dialled {
    fn open(address: SocketAddr, details: &ConnectionDetails<'_>, until: Instant) -> Result<Self, Error> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let line = Arc::new(Line(socket.into()));
        let handle: Weak<Line> = Arc::downgrade(&line);
        // Before anything is waited for.
        (details.register_shutdown)(handle)?;
        match SockRef::from(&line.0).connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                return Err(error.into());
            }
            _ => line.wait(PollFlags::OUT, until, Timeout::Connect)?,
        }
        if let Some(error) = line.0.take_error()? {
            return Err(error.into());
        }
        // Connected to ourselves by a coincidence of ports: TCP allows it.
        if line.0.peer_addr()? == line.0.local_addr()? {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Self { line, address, buffers })
    }
}

impl Transport for Dialled {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        trip::sent_to(self.address);
        let mut rest = self.buffers.output().get(..amount).unwrap_or_default();
        while !rest.is_empty() {
            let write = |mut stream: &TcpStream| stream.write(rest);
            let written = self.line.when_ready(PollFlags::OUT, timeout.for_write(), write)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let room = self.buffers.input_append_buf();
        let read = |mut stream: &TcpStream| stream.read(room);
        let read = self.line.when_ready(PollFlags::IN, timeout.for_read(), read)?;
        self.buffers.input_appended(read);
        if trip::received(read) { Ok(read > 0) } else { Err(Error::Other(Box::new(Refused::Flood))) }
    }

    /// Nothing that nobody asked for has come, nor the end; and the request of this thread may go there.
    fn is_open(&mut self) -> bool {
        let silent = self.line.0.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        silent && trip::leads_to(self.address)
    }
}

fn deadline(timeout: NextTimeout) -> Instant {
    let longest = Duration::from_secs(86_400);
    Instant::now() + longest.min(*timeout.after)
}
