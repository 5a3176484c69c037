//! Bodies of requests: which there are, and how they are read.

use std::io::{self, Read};

use tiny_http::{Header, Request};

/// What a chunked body may be for its sender to still hear why it was refused: 1 MiB.
const MAX_CHUNKED_LEN: u64 = 1 << 20;

/// What is thrown away of a body that is too long, in bytes, before its connection is cut off.
const MAX_REFUSED_LEN: u64 = 64 << 20;

/// Bodies up to this length, in bytes, are read by tiny_http before it hands out the request.
const READ_AHEAD_LEN: u64 = 1024;

/// What is known of a body before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// No byte.
    None,
    /// So many bytes, not 0.
    Length(u64),
    /// Chunked: not taken, but its end can be found.
    Chunked,
    /// Its length is given twice or is no number, or there is a coding nobody uses: its end cannot be known. tiny_http
    /// takes it for so many bytes.
    Malformed(u64),
}

/// A body that was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is over so many bytes.
    #[error("the body is over {0} bytes")]
    TooLong(u64),
    /// It has no length.
    #[error("the body needs a Content-Length, not Transfer-Encoding")]
    Chunked,
    /// It did not come.
    #[error("the body ended early: {0}")]
    Io(#[from] io::Error),
}

impl Body {
    /// What the headers say. tiny_http itself takes an unreadable Content-Length for no body, any Transfer-Encoding
    /// for chunked, and the first of two lengths. Servers and proxies that differ in that can be played off against
    /// each other (RFC 9112, 6.3), so none of it is let through.
    pub fn of(request: &Request) -> Self {
        Self::from_headers(request.headers())
    }

    fn from_headers(headers: &[Header]) -> Self {
        let values = |name: &'static str| {
            headers.iter().filter(move |header| header.field.equiv(name)).map(|header| header.value.as_str())
        };
        let (mut lengths, mut codings) = (values("Content-Length"), values("Transfer-Encoding"));
        let malformed = || {
            let first =
                values("Content-Length").next().filter(|_| values("Transfer-Encoding").next().is_none());
            Self::Malformed(first.and_then(|text| text.parse().ok()).unwrap_or(0))
        };
        match (lengths.next(), lengths.next(), codings.next(), codings.next()) {
            (None, _, None, _) => Self::None,
            (Some(text), None, None, _) => match length(text) {
                None => malformed(),
                Some(0) => Self::None,
                Some(len) => Self::Length(len),
            },
            (None, _, Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Self::Chunked,
            _ => malformed(),
        }
    }

    /// The first so many bytes of a body that has more, for [`Self::read`]; nothing of one that has not.
    pub fn read_start(self, request: &mut Request, len: u64) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        if self.is_longer_than(len) {
            request.as_reader().take(len).read_to_end(&mut start)?;
        }
        Ok(start)
    }

    /// Whether its length is known, and over so many bytes.
    pub const fn is_longer_than(self, len: u64) -> bool {
        matches!(self, Self::Length(own) if own > len)
    }

    /// Reads the body, of which `start` was read. A chunked one is read to its end (within bounds), so that the connection
    /// stays in step, and refused. The buffer grows with what arrives, not with what was announced.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn read(self, request: &mut Request, max_len: u64, start: Vec<u8>) -> Result<Vec<u8>, BodyError> {
        match self {
            Self::None | Self::Malformed(_) => Ok(Vec::new()),
            Self::Length(len) if len > max_len => Err(BodyError::TooLong(max_len)),
            Self::Length(len) => {
                let mut bytes = start;
                let left = len.saturating_sub(bytes.len() as u64);
                request.as_reader().take(left).read_to_end(&mut bytes)?;
                if bytes.len() as u64 == len {
                    Ok(bytes)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                }
            }
            Self::Chunked => {
                io::copy(&mut request.as_reader().take(MAX_CHUNKED_LEN), &mut io::sink())?;
                // Anything but the end: the rest would be taken for the next request.
                match request.as_reader().read(&mut [0])? {
                    0 => Err(BodyError::Chunked),
                    _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
                }
            }
        }
    }

    /// The bytes that may come of it at most, where a body of `max_len` is read. Of one that is longer somewhat more is
    /// let in and thrown away, so that its sender hears why it was refused.
    pub fn len_max(self, max_len: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Length(len) | Self::Malformed(len) => len.min(max_len.saturating_add(MAX_REFUSED_LEN)),
            Self::Chunked => 2 * MAX_CHUNKED_LEN,
        }
    }

    /// Whether the request can be dropped. tiny_http then makes room for all of the body that was not read, and a
    /// failure to get that room ends the whole process: a body announced as 10^15 bytes must never get there.
    pub fn can_be_dropped(self) -> bool {
        match self {
            Self::Length(len) | Self::Malformed(len) => {
                usize::try_from(len).is_ok_and(|len| Vec::<u8>::new().try_reserve_exact(len).is_ok())
            }
            Self::None | Self::Chunked => true,
        }
    }

    /// Whether tiny_http lets go of the request at once, without waiting, and without making room for what was not read.
    pub fn is_let_go_at_once(self, request: &Request) -> bool {
        let waits = || request.headers().iter().any(|header| header.field.equiv("Expect"));
        match self {
            Self::Length(len) | Self::Malformed(len) => len <= READ_AHEAD_LEN && !waits(),
            Self::None | Self::Chunked => true,
        }
    }

    /// Whether dropping the request waits for bytes that the client has not sent.
    pub const fn drop_waits(self) -> bool {
        matches!(self, Self::Length(1..) | Self::Malformed(1..))
    }
}

/// Digits alone: `+1` is a number to Rust, and no length to HTTP.
fn length(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<Header> {
        pairs.iter().map(|(name, value)| Header::from_bytes(*name, *value).unwrap()).collect()
    }

    #[test]
    fn bodies_are_known_by_their_headers() {
        for (pairs, expected) in [
            (&[][..], Body::None),
            (&[("Content-Length", "0")], Body::None),
            (&[("content-length", "7")], Body::Length(7)),
            (&[("Content-Length", "007")], Body::Length(7)),
            (&[("Content-Length", "18446744073709551615")], Body::Length(u64::MAX)),
            (&[("Content-Length", "18446744073709551616")], Body::Malformed(0)),
            (&[("Content-Length", "+7")], Body::Malformed(7)),
            (&[("Content-Length", "-7")], Body::Malformed(0)),
            (&[("Content-Length", "")], Body::Malformed(0)),
            (&[("Content-Length", "7, 7")], Body::Malformed(0)),
            (&[("Content-Length", "7"), ("content-length", "9")], Body::Malformed(7)),
            (&[("Transfer-Encoding", "Chunked")], Body::Chunked),
            (&[("Transfer-Encoding", "gzip, chunked")], Body::Malformed(0)),
            (&[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], Body::Malformed(0)),
            (&[("Transfer-Encoding", "chunked"), ("Content-Length", "7")], Body::Malformed(0)),
            (&[("Transfer-Encoding", "identity")], Body::Malformed(0)),
        ] {
            assert_eq!(Body::from_headers(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn bodies_beyond_memory_are_not_dropped() {
        assert!(Body::Length(1 << 20).can_be_dropped());
        assert!(!Body::Length(1 << 62).can_be_dropped());
        assert!(!Body::Length(u64::MAX).can_be_dropped());
    }
}
