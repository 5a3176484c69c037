//! The log, for whoever reads it. Who reads no more (a pager, a terminal that is held) would hold up every thread that has
//! something to say, and so a stop: lines are left out then, and it is said how many.

use std::io::{self, Write};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that has any room takes so much at once.
const CHUNK_LEN: usize = 4096;
/// Somebody who reads is waited for so long, once.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const NONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Writes lines, each with one call, and waits for nobody for long.
#[derive(Debug)]
pub struct Patient<W> {
    inner: W,
    /// Lines that were left out since the last.
    left_out: u64,
}

impl<W: Write + AsFd> Patient<W> {
    /// Nobody was waited for yet.
    pub const fn new(inner: W) -> Self {
        Self { inner, left_out: 0 }
    }

    fn takes(&self) -> bool {
        takes_within(&self.inner, if self.left_out == 0 { &PATIENCE } else { &NONE })
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.takes() {
            self.left_out = self.left_out.saturating_add(1);
            return Ok(line.len());
        }
        if self.left_out > 0 {
            let left_out = std::mem::take(&mut self.left_out);
            writeln!(self.inner, "({left_out} lines are left out here, which nobody read)")?;
        }
        for chunk in line.chunks(CHUNK_LEN) {
            if !self.takes() {
                self.left_out = 1;
                break;
            }
            self.inner.write_all(chunk)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether a line can be written now without waiting for whoever reads.
pub fn takes_line(out: impl AsFd) -> bool {
    takes_within(&out, &NONE)
}

fn takes_within(out: &impl AsFd, patience: &Timespec) -> bool {
    let mut all = [PollFd::new(out, PollFlags::OUT)];
    // What is closed takes anything.
    !matches!(poll(&mut all, Some(patience)), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn who_reads_no_more_is_waited_for_once_and_hears_what_was_missed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Patient::new(writer);
        log.write_all(b"first\n").unwrap();
        while takes_line(&log.inner) {
            log.inner.write_all(&[b'x'; CHUNK_LEN]).unwrap();
        }
        let begin = Instant::now();
        for _ in 0..100 {
            log.write_all(b"unread\n").unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
        let mut unread = vec![0; 1 << 20];
        let _ = reader.read(&mut unread).unwrap();
        // Longer than what is taken at once.
        let line = [b'y'; 3 * CHUNK_LEN];
        log.write_all(&line).unwrap();
        drop(log);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        let said = b"(100 lines are left out here, which nobody read)\n";
        assert!(text.ends_with(&[&said[..], &line].concat()), "{}", String::from_utf8_lossy(&text));
    }
}
