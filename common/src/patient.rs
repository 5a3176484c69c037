//! The log, for whoever reads it. Who reads no more (a pager, a terminal that is held) would hold up every thread that has
//! something to say, and so a stop. So one thread writes for all: the others wait for it, but not for long, and it is said
//! how many lines were left out. To ask the system first would not do: a terminal takes a line that it has no room for.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The name of the thread.
pub const THREAD: &str = "log";
/// A line is waited for so long, and no other until all are written.
const PATIENCE: Duration = Duration::from_secs(1);
/// Lines that wait at most: a busy system may be slow to write them.
const WAITING: usize = 100;

/// Writes lines, each with one call, and waits for nobody for long.
#[derive(Debug)]
pub struct Patient {
    lines: SyncSender<Vec<u8>>,
    /// Hears of each when it was written, or could not be.
    written: Receiver<()>,
    /// Lines that are not written yet.
    behind: usize,
    reader: Reader,
    /// Lines that were left out since the last.
    left_out: u64,
}

/// Whether somebody reads the log.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    is_late: Arc<AtomicBool>,
}

impl Patient {
    /// Starts the thread. It ends when this is dropped, and what was said is written.
    ///
    /// # Errors
    /// The system's, when it has no room for another thread.
    pub fn new(mut inner: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        let (tell, written) = sync_channel(WAITING + 1);
        let write = move || {
            for line in waiting {
                // Of what cannot be written nobody could be told.
                let _ = inner.write_all(&line).and_then(|()| inner.flush());
                if tell.send(()).is_err() {
                    return;
                }
            }
        };
        // Nobody waits for its end: for each line somebody has waited.
        thread::Builder::new().name(THREAD.into()).spawn(write)?;
        Ok(Self { lines, written, behind: 0, reader: Reader::default(), left_out: 0 })
    }

    /// Knows whether what is written here is read.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Waits until all is written, if there is hope.
    fn wait(&mut self) {
        let until = Instant::now() + if self.reader.is_late() { Duration::ZERO } else { PATIENCE };
        while self.behind > 0 {
            if self.written.recv_timeout(until.saturating_duration_since(Instant::now())).is_err() {
                break;
            }
            self.behind -= 1;
        }
        self.reader.is_late.store(self.behind > 0, Ordering::Relaxed);
    }
}

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.behind > 0 {
            self.wait();
        }
        let mut text = Vec::with_capacity(line.len());
        if self.left_out > 0 {
            writeln!(text, "({} lines are left out here, which nobody read)", self.left_out)?;
        }
        text.extend_from_slice(line);
        if self.lines.try_send(text).is_err() {
            self.left_out = self.left_out.saturating_add(1);
            return Ok(line.len());
        }
        self.left_out = 0;
        self.behind += 1;
        self.wait();
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    fn is_late(&self) -> bool {
        self.is_late.load(Ordering::Relaxed)
    }

    /// Whether a line can be written to `out`, where the log goes, as far as can be told without waiting.
    pub fn takes_line(&self, out: impl AsFd) -> bool {
        let mut all = [PollFd::new(&out, PollFlags::OUT)];
        // What is closed takes anything.
        !self.is_late() && !matches!(poll(&mut all, Some(&Timespec::default())), Ok(0))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Somebody who reads nothing until the other end is dropped.
    struct Held {
        release: Receiver<()>,
        read: Arc<Mutex<String>>,
    }

    impl Held {
        fn new() -> (Self, Sender<()>, Arc<Mutex<String>>) {
            let (hold, release) = channel();
            let read = Arc::<Mutex<String>>::default();
            (Self { release, read: Arc::clone(&read) }, hold, read)
        }
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.release.recv();
            self.read.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_read_is_written_when_it_was_said() {
        let (held, hold, read) = Held::new();
        drop(hold);
        let mut log = Patient::new(held).unwrap();
        let mut all = String::new();
        for number in 0..1000 {
            let line = format!("{number}\n");
            log.write_all(line.as_bytes()).unwrap();
            all.push_str(&line);
        }
        assert_eq!(*read.lock().unwrap(), all);
    }

    #[test]
    fn who_reads_no_more_is_waited_for_once_and_hears_what_was_missed() {
        let (held, hold, read) = Held::new();
        let mut log = Patient::new(held).unwrap();
        let begin = Instant::now();
        for _ in 0..10 * WAITING {
            log.write_all(b"unread\n").unwrap();
        }
        assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
        assert!(!log.reader().takes_line(io::stderr()));
        assert!(log.left_out >= 9 * WAITING as u64 - 1, "{}", log.left_out);
        drop(hold);
        while log.reader().is_late() {
            assert!(begin.elapsed() < 2 * LONG);
            log.write_all(b"read\n").unwrap();
        }
        let read = read.lock().unwrap();
        assert!(read.contains(" lines are left out here, which nobody read)\nread\n"), "{read}");
        assert!(read.ends_with("read\n"));
    }

    /// The system says that it can be written to, and then waits for room.
    #[test]
    fn nor_is_a_terminal_that_is_not_read_waited_for() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let (flags, mode) = (OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
        let terminal = File::from(open(name, flags, mode).unwrap());
        let mut log = Patient::new(terminal).unwrap();
        let (done, end) = channel();
        thread::spawn(move || {
            (0..2000).for_each(|_| log.write_all(format!("{:78}\n", "x").as_bytes()).unwrap());
            done.send(log.left_out).unwrap();
        });
        assert!(end.recv_timeout(LONG).unwrap() > 0);
    }
}
