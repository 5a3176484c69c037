//! Connections that tiny_http 0.12 accepts and then forgets, served all the same.
//!
//! Its accept thread hands each connection to an idle thread of a pool, or to a new one when none is idle. But an idle
//! thread counts as idle until it has woken up: of many connections that arrive at once, some are left in the pool's
//! queue while every thread is busy with another connection, and wait until one of those ends. With clients that keep
//! their connections open, or that never finish a request, this can be minutes.
//!
//! From outside there is one way to help: a connection more. If no thread is idle it brings a new one, which takes the
//! first of the queue when it has seen our end of file. If the number of threads did not grow, one was idle: then the
//! queue is empty.

use std::fs;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Connections made in one call at most.
const NUDGES_MAX: usize = 64;

/// What connecting, and being noticed, may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connections that are not noticed before the rest is left for the next time.
const UNNOTICED_MAX: usize = 4;

/// Makes the tiny_http server of this process that listens on `address` (one that can be connected to) begin with up to
/// 64 forgotten connections; gives how many threads that took. To be called about once a second while there are
/// connections: where nothing is forgotten it costs one or two connections that are closed at once. Returns in less than
/// a millisecond as a rule, and within seconds where nobody accepts.
pub(crate) fn nudge(address: SocketAddr) -> usize {
    let (mut grown, mut unnoticed) = (0, 0);
    while grown < NUDGES_MAX && unnoticed < UNNOTICED_MAX {
        let before = threads();
        match connect_and_leave(address) {
            Ok(()) if threads() <= before => break,
            Ok(()) => grown += 1,
            // Forgotten itself: the thread that it was meant for was not idle. The next one may bring a new one.
            Err(error) if is_time_out(&error) => unnoticed += 1,
            // Nobody listens, or this process is out of descriptors: not what can be helped here.
            Err(error) => {
                log::debug!("{address} was not nudged: {error}");
                break;
            }
        }
    }
    grown
}

/// Connects, sends nothing, and waits until the other side has closed, too.
fn connect_and_leave(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.shutdown(Shutdown::Write)?;
    // Nothing was asked, so this is its end, or a complaint about the time that nobody asked anything.
    stream.read(&mut [0]).map(|_| ())
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// This process's threads; 0 where /proc is missing: then one nudge is all that is tried.
fn threads() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
