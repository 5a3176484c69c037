//! The wake-up descriptor: lets a thread that sleeps in poll(2) on a socket also hear of its channel.

pub mod bell;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use self::bell::{Bell, Descriptor};

/// Rings the thread that waits on it. Cheap to clone; ringing twice before the thread looks costs one system call.
#[derive(Debug, Clone)]
pub struct Waker(Arc<Bell<AtomicBool, OwnedFd>>);

/// Wakes a thread, now or when it waits next.
pub trait Ring {
    /// Call it after the thing to look at is in place.
    fn ring(&self);
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// The socket may be read (or has an error, which reading will tell).
    pub readable: bool,
    /// The socket may be written (or has an error, which writing will tell).
    pub writable: bool,
    /// The waker was rung: look into the channel.
    pub rung: bool,
}

impl Waker {
    /// A waker that was not rung.
    ///
    /// # Errors
    /// The system's, when it has no descriptor left.
    pub fn new() -> io::Result<Self> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Bell { flag: AtomicBool::new(false), descriptor })))
    }

    /// Wakes the waiting thread, now or when it waits next. Call it after the thing to look at is in place.
    pub fn ring(&self) {
        self.0.ring();
    }

    /// Sleeps until `socket` is ready for what `interest` names, the waker is rung, or `deadline` has passed (then
    /// nothing in the answer is set). An empty `interest` waits for the ring and for errors alone.
    ///
    /// # Errors
    /// The system's; interruptions by signals are not errors.
    pub fn wait(
        &self,
        socket: BorrowedFd<'_>,
        interest: PollFlags,
        deadline: Option<Instant>,
    ) -> io::Result<Ready> {
        let mut descriptors =
            [PollFd::from_borrowed_fd(socket, interest), PollFd::new(&self.0.descriptor, PollFlags::IN)];
        poll_until(&mut descriptors, deadline)?;
        let [socket, waker] = &descriptors;
        let (got, rung) = (socket.revents(), !waker.revents().is_empty());
        if rung {
            self.0.clear();
        }
        let broken = got.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Ok(Ready {
            readable: broken || got.intersects(PollFlags::IN | PollFlags::RDHUP),
            writable: broken || got.contains(PollFlags::OUT),
            rung,
        })
    }
}

impl Ring for Waker {
    fn ring(&self) {
        self.0.ring();
    }
}

impl Descriptor for OwnedFd {
    fn fill(&self) {
        // It can only fail with EAGAIN, when the counter is full: then the waiter will wake in any case.
        let _ = rustix::io::write(self, &1u64.to_ne_bytes());
    }

    fn drain(&self) {
        let _ = rustix::io::read(self, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.descriptor.as_fd()
    }
}

/// poll(2) until one of `descriptors` is ready, or `deadline` has passed. Interruptions by signals are not errors.
pub(crate) fn poll_until(descriptors: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|deadline| timespec(deadline.saturating_duration_since(Instant::now())));
        match poll(descriptors, left.as_ref()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // poll(2) is given at most a day: nobody waits longer without looking at the clock again.
    let bounded = duration.min(Duration::from_secs(86_400));
    Timespec {
        tv_sec: i64::try_from(bounded.as_secs()).unwrap_or(86_400),
        tv_nsec: i64::from(bounded.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const NOTHING: Ready = Ready { readable: false, writable: false, rung: false };

    #[test]
    fn a_ring_is_heard_once_and_never_lost() {
        let waker = Waker::new().unwrap();
        let idle = TcpListener::bind("127.0.0.1:0").unwrap();
        let now = Instant::now();
        assert_eq!(waker.wait(idle.as_fd(), PollFlags::IN, Some(now)).unwrap(), NOTHING);
        waker.ring();
        waker.ring();
        assert!(waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap().rung);
        assert_eq!(waker.wait(idle.as_fd(), PollFlags::IN, Some(now)).unwrap(), NOTHING);
        waker.ring();
        assert!(waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap().rung);
    }

    #[test]
    fn rings_from_another_thread_are_all_seen() {
        let waker = Waker::new().unwrap();
        let idle = TcpListener::bind("127.0.0.1:0").unwrap();
        let (send, receive) = crossbeam_channel::bounded(4);
        std::thread::scope(|scope| {
            let ringer = waker.clone();
            scope.spawn(move || {
                for number in 0..10_000u32 {
                    send.send(number).unwrap();
                    ringer.ring();
                }
            });
            let mut next = 0;
            while next < 10_000 {
                assert!(waker.wait(idle.as_fd(), PollFlags::IN, None).unwrap().rung);
                while let Ok(number) = receive.try_recv() {
                    assert_eq!(number, next);
                    next += 1;
                }
            }
        });
    }

    #[test]
    fn a_connection_waiting_to_be_accepted_is_readable() {
        let waker = Waker::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ready = waker.wait(listener.as_fd(), PollFlags::IN, None).unwrap();
        assert!(ready.readable && !ready.rung);
    }
}
