//! What a thread writes answers with: memory that is used again, and the short way for those that clients wait for.
//!
//! A response of tiny_http's makes a string of every header and writes the date anew; here the head is a few bytes that
//! are copied, and head and body leave with one system call. For answers to requests without a body alone: tiny_http reads
//! what is left of a body before it lets go of what answers are written to.

use std::io::{self, ErrorKind, Write as _};
use std::time::{Duration, SystemTime};

use tiny_http::{Method, Request};
use torrent_common::announce::AnnounceResponse;

/// Bytes of memory that are kept from one answer to the next: more is only for answers of unusual length.
const KEPT: usize = 16 << 10;

/// One thread's.
pub(super) struct Pen {
    pub(super) random: fastrand::Rng,
    /// Used again and again: its list of peers keeps its memory.
    pub(super) response: AnnounceResponse,
    body: Vec<u8>,
    answer: Vec<u8>,
    /// The second that `date` is right for begins then.
    dated: SystemTime,
    date: String,
}

impl Pen {
    pub(super) fn new() -> Self {
        Self {
            random: fastrand::Rng::new(),
            response: AnnounceResponse::default(),
            body: Vec::new(),
            answer: Vec::new(),
            dated: SystemTime::UNIX_EPOCH,
            date: String::new(),
        }
    }

    /// An empty buffer for a body, which [`Pen::send`] gets back.
    pub(super) fn paper(&mut self) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        body
    }

    /// Answers a request that has no body: status 200, plain text. A client that has gone is no error.
    pub(super) fn send(&mut self, body: Vec<u8>, request: Request) -> io::Result<()> {
        self.keep_date(SystemTime::now());
        let is_old = *request.http_version() < (1, 1);
        self.answer.clear();
        self.answer.extend_from_slice(if is_old {
            b"HTTP/1.0 200 OK\r\nDate: "
        } else {
            b"HTTP/1.1 200 OK\r\nDate: "
        });
        self.answer.extend_from_slice(self.date.as_bytes());
        self.answer.extend_from_slice(b"\r\nContent-Type: text/plain\r\nContent-Length: ");
        // Writing to a vector cannot fail.
        let _ = write!(self.answer, "{}\r\n\r\n", body.len());
        if *request.method() != Method::Head {
            self.answer.extend_from_slice(&body);
        }
        let mut writer = request.into_writer();
        let sent = writer.write_all(&self.answer).and_then(|()| writer.flush());
        self.answer.shrink_to(KEPT);
        self.body = body;
        self.body.shrink_to(KEPT);
        match sent {
            Err(error) if is_gone(error.kind()) => Ok(()),
            sent => sent,
        }
    }

    /// Writes the date again if another second has begun, or the clock was set.
    fn keep_date(&mut self, now: SystemTime) {
        let is_right = now.duration_since(self.dated).is_ok_and(|since| since < Duration::from_secs(1));
        if is_right {
            return;
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.dated = SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs());
        self.date = httpdate::fmt_http_date(self.dated);
    }
}

const fn is_gone(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_second() {
        let mut pen = Pen::new();
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        for (millis, expected) in [
            (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778_000, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_111_778_999, "Sun, 06 Nov 1994 08:49:38 GMT"),
            // The clock was set back.
            (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            pen.keep_date(at(millis));
            assert_eq!(pen.date, expected);
        }
    }
}
