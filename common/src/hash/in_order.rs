//! One run of messages, read strictly in order: for disks that seek.

use super::lanes::{Messages, PART_LEN, Part};
use super::pair::{Lane, Pair};

/// Bytes of a message that are kept until the next is hashed beside it. A longer message is hashed alone, which still is
/// faster than any disk that seeks.
const MAX_KEPT_LEN: usize = 8 << 20;

/// Hashes a run of messages on this thread, and reads nothing out of order. A message is kept in memory while it is
/// read, at most 8 MiB, and hashed while the next one is.
///
/// # Errors
/// The first error of the run.
pub fn hash_in_order<M: Messages>(messages: &mut M) -> Result<(), M::Error> {
    let mut pair = Pair::new();
    let mut part = vec![0; PART_LEN];
    let mut kept = Vec::new();
    loop {
        let (kept_len, then) = keep(messages, &mut kept)?;
        let whole = kept.get(..kept_len).unwrap_or(&kept);
        let then = match then {
            Then::Done => return Ok(()),
            Then::Next => read_beside(messages, &mut pair, whole, &mut part)?,
            Then::TooLong => {
                pair.update(whole, &[]);
                read_alone(messages, &mut pair, &mut part)?;
                Then::TooLong
            }
        };
        messages.digest(pair.finish(Lane::A));
        match then {
            Then::Next => messages.digest(pair.finish(Lane::B)),
            Then::TooLong => {}
            Then::Done => return Ok(()),
        }
    }
}

/// What follows what was read.
enum Then {
    /// The next message: this one was read to its end.
    Next,
    /// More of this message.
    TooLong,
    /// Nothing.
    Done,
}

/// Reads a whole message, or so much of it as may be kept; gives back how many bytes that is.
fn keep<M: Messages>(messages: &mut M, kept: &mut Vec<u8>) -> Result<(usize, Then), M::Error> {
    let mut len = 0;
    while len < MAX_KEPT_LEN {
        if kept.len() < len + PART_LEN {
            kept.resize(len + PART_LEN, 0);
        }
        match messages.read(kept.get_mut(len..).unwrap_or_default())? {
            Part::Bytes(more) => len += more,
            Part::End => return Ok((len, Then::Next)),
            Part::Done => return Ok((len, Then::Done)),
        }
    }
    Ok((len, Then::TooLong))
}

/// Reads the next message, hashing `kept` beside it.
fn read_beside<M: Messages>(
    messages: &mut M,
    pair: &mut Pair,
    kept: &[u8],
    buffer: &mut [u8],
) -> Result<Then, M::Error> {
    let mut rest = kept;
    let then = loop {
        match messages.read(buffer)? {
            Part::Bytes(len) => {
                let (now, later) = rest.split_at(len.min(rest.len()));
                pair.update(now, buffer.get(..len).unwrap_or(buffer));
                rest = later;
            }
            Part::End => break Then::Next,
            Part::Done => break Then::Done,
        }
    };
    pair.update(rest, &[]);
    Ok(then)
}

/// Reads the rest of a message.
fn read_alone<M: Messages>(messages: &mut M, pair: &mut Pair, buffer: &mut [u8]) -> Result<(), M::Error> {
    while let Part::Bytes(len) = messages.read(buffer)? {
        pair.update(buffer.get(..len).unwrap_or(buffer), &[]);
    }
    Ok(())
}
