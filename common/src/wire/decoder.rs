//! An incremental decoder that owns no buffer: the caller shows the bytes it has, and learns what they are.

use super::message::{Message, RawBlock, id};

/// Limits on what a peer may send, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    /// The longest message accepted of those that have no fixed length (bitfield, extended, unknown), as its prefix
    /// tells it: id and payload. Messages of fixed length, 13 bytes at most, are always accepted.
    pub max_message_len: usize,
    /// The longest payload of a `piece` accepted.
    pub max_block_len: u32,
}

/// What the bytes shown begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Not enough: the next item takes at least this many bytes from the start of what was shown. More than was
    /// shown, and never more than the limits allow.
    Need(usize),
    /// A whole message, in the first `consumed` bytes.
    Message {
        /// Bytes it took.
        consumed: usize,
        /// The message.
        message: Message,
    },
    /// A `piece` message: its 13-byte header was shown; `len` bytes of payload follow it.
    Piece {
        /// Piece index, unchecked.
        index: u32,
        /// Offset in the piece in bytes, unchecked.
        begin: u32,
        /// Bytes of payload that follow, within the limit.
        len: u32,
    },
}

/// What no well-meaning peer sends: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length prefix over the limit.
    #[error("a message of {len} bytes, over the limit of {limit}")]
    TooLong {
        /// What the prefix says.
        len: usize,
        /// What was accepted.
        limit: usize,
    },
    /// A length that the message's id does not allow.
    #[error("message {id} with {len} bytes")]
    Length {
        /// The message id.
        id: u8,
        /// What the prefix says.
        len: usize,
    },
}

/// Bytes of the length before every message.
const PREFIX_LEN: usize = 4;
/// Bytes of a `piece` message before its payload.
pub const PIECE_HEADER_LEN: usize = 13;

impl Decoder {
    /// Reads the first item of `input`. Never looks at bytes twice for nothing: a message that is not complete costs
    /// its prefix alone.
    ///
    /// # Errors
    /// [`WireError`]: close the connection.
    pub fn decode(&self, input: &[u8]) -> Result<Decoded, WireError> {
        let Some((prefix, rest)) = input.split_first_chunk() else { return Ok(Decoded::Need(PREFIX_LEN)) };
        let prefix = u32::from_be_bytes(*prefix);
        if prefix == 0 {
            return Ok(Decoded::Message { consumed: PREFIX_LEN, message: Message::KeepAlive });
        }
        let Some((&id, rest)) = rest.split_first() else { return Ok(Decoded::Need(PREFIX_LEN + 1)) };
        if id == id::PIECE {
            return self.piece(prefix, rest);
        }
        let len = usize::try_from(prefix).unwrap_or(usize::MAX);
        self.check_len(id, len)?;
        let consumed = PREFIX_LEN.saturating_add(len);
        match rest.get(..len - 1) {
            Some(payload) => Ok(Decoded::Message { consumed, message: message(id, payload)? }),
            None => Ok(Decoded::Need(consumed)),
        }
    }

    /// The header of a `piece`, of which `rest` was shown after the id.
    fn piece(&self, prefix: u32, rest: &[u8]) -> Result<Decoded, WireError> {
        // An empty block moves nothing forward: nobody asked for it.
        let len =
            prefix.checked_sub(9).filter(|&len| len > 0).ok_or_else(|| length_error(id::PIECE, prefix))?;
        if len > self.max_block_len {
            let limit = usize::try_from(self.max_block_len).unwrap_or(usize::MAX).saturating_add(9);
            return Err(WireError::TooLong { len: usize::try_from(prefix).unwrap_or(usize::MAX), limit });
        }
        let Some(&[a, b, c, d, e, f, g, h]) = rest.first_chunk() else {
            return Ok(Decoded::Need(PIECE_HEADER_LEN));
        };
        let (index, begin) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Ok(Decoded::Piece { index, begin, len })
    }

    /// Whether a message of this id (other than `piece`) may have this length: known before the payload is here, so
    /// nobody waits for, or makes room for, what would be refused.
    fn check_len(&self, id: u8, len: usize) -> Result<(), WireError> {
        let fixed = match id {
            id::CHOKE | id::UNCHOKE | id::INTERESTED | id::NOT_INTERESTED | id::HAVE_ALL | id::HAVE_NONE => 1,
            id::PORT => 3,
            id::HAVE | id::SUGGEST_PIECE | id::ALLOWED_FAST => 5,
            id::REQUEST | id::CANCEL | id::REJECT => 13,
            id::EXTENDED if len < 2 => return Err(WireError::Length { id, len }),
            _ if len > self.max_message_len => {
                return Err(WireError::TooLong { len, limit: self.max_message_len });
            }
            _ => return Ok(()),
        };
        if len == fixed { Ok(()) } else { Err(WireError::Length { id, len }) }
    }
}

/// The message of this id (other than `piece`), whose length was checked.
fn message(id: u8, payload: &[u8]) -> Result<Message, WireError> {
    Ok(match id {
        id::CHOKE => Message::Choke,
        id::UNCHOKE => Message::Unchoke,
        id::INTERESTED => Message::Interested,
        id::NOT_INTERESTED => Message::NotInterested,
        id::HAVE => Message::Have(u32::from_be_bytes(fixed(id, payload)?)),
        id::BITFIELD => Message::Bitfield(payload.into()),
        id::REQUEST => Message::Request(RawBlock::from_bytes(&fixed(id, payload)?)),
        id::CANCEL => Message::Cancel(RawBlock::from_bytes(&fixed(id, payload)?)),
        id::PORT => Message::Port(u16::from_be_bytes(fixed(id, payload)?)),
        id::SUGGEST_PIECE => Message::SuggestPiece(u32::from_be_bytes(fixed(id, payload)?)),
        id::HAVE_ALL => Message::HaveAll,
        id::HAVE_NONE => Message::HaveNone,
        id::REJECT => Message::Reject(RawBlock::from_bytes(&fixed(id, payload)?)),
        id::ALLOWED_FAST => Message::AllowedFast(u32::from_be_bytes(fixed(id, payload)?)),
        id::EXTENDED => {
            let (&extension, payload) = payload.split_first().ok_or(WireError::Length { id, len: 1 })?;
            Message::Extended { id: extension, payload: payload.into() }
        }
        _ => Message::Unknown(id),
    })
}

/// A payload as an array.
fn fixed<const N: usize>(id: u8, payload: &[u8]) -> Result<[u8; N], WireError> {
    payload.try_into().map_err(|_| WireError::Length { id, len: payload.len().saturating_add(1) })
}

fn length_error(id: u8, prefix: u32) -> WireError {
    WireError::Length { id, len: usize::try_from(prefix).unwrap_or(usize::MAX) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::message::piece_header;
    use super::*;

    const LIMITS: Decoder = Decoder { max_message_len: 100, max_block_len: 200 };

    /// What a stream holds, with the payload of pieces.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Item {
        Message(Message),
        Piece { index: u32, begin: u32, payload: Vec<u8> },
    }

    fn encode(items: &[Item]) -> Vec<u8> {
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Message(message) => message.encode(&mut out),
                Item::Piece { index, begin, payload } => {
                    out.extend(piece_header(*index, *begin, u32::try_from(payload.len()).unwrap()));
                    out.extend(payload);
                }
            }
        }
        out
    }

    /// Feeds the stream in chunks of the given sizes (again and again), as a socket would.
    fn decode(stream: &[u8], chunk_lens: &[usize]) -> Result<Vec<Item>, WireError> {
        let (mut items, mut shown, mut buffer) = (Vec::new(), 0, Vec::new());
        let mut chunk_lens = chunk_lens.iter().cycle();
        loop {
            let need = match LIMITS.decode(&buffer)? {
                Decoded::Message { consumed, message } => {
                    buffer.drain(..consumed);
                    items.push(Item::Message(message));
                    continue;
                }
                Decoded::Piece { index, begin, len } => {
                    let whole = PIECE_HEADER_LEN + len as usize;
                    if buffer.len() >= whole {
                        let payload = buffer.drain(..whole).skip(PIECE_HEADER_LEN).collect();
                        items.push(Item::Piece { index, begin, payload });
                        continue;
                    }
                    whole
                }
                Decoded::Need(need) => {
                    assert!(need <= PREFIX_LEN + LIMITS.max_message_len);
                    need
                }
            };
            assert!(need > buffer.len());
            if shown == stream.len() {
                return Ok(items);
            }
            let len = (*chunk_lens.next().unwrap()).min(stream.len() - shown);
            buffer.extend(&stream[shown..shown + len]);
            shown += len;
        }
    }

    fn block() -> impl Strategy<Value = RawBlock> {
        any::<[u32; 3]>().prop_map(|[index, begin, len]| RawBlock { index, begin, len })
    }

    fn known(id: u8) -> bool {
        matches!(id, 0..=9 | 13..=17 | 20)
    }

    fn item() -> impl Strategy<Value = Item> {
        let message = prop_oneof![
            Just(Message::KeepAlive),
            Just(Message::Choke),
            Just(Message::Unchoke),
            Just(Message::Interested),
            Just(Message::NotInterested),
            any::<u32>().prop_map(Message::Have),
            vec(any::<u8>(), 0..100).prop_map(|bits| Message::Bitfield(bits.into())),
            block().prop_map(Message::Request),
            block().prop_map(Message::Cancel),
            any::<u16>().prop_map(Message::Port),
            any::<u32>().prop_map(Message::SuggestPiece),
            Just(Message::HaveAll),
            Just(Message::HaveNone),
            block().prop_map(Message::Reject),
            any::<u32>().prop_map(Message::AllowedFast),
            (any::<u8>(), vec(any::<u8>(), 0..99))
                .prop_map(|(id, payload)| Message::Extended { id, payload: payload.into() }),
            any::<u8>().prop_filter("a known id", |id| !known(*id)).prop_map(Message::Unknown),
        ];
        let piece = (any::<u32>(), any::<u32>(), vec(any::<u8>(), 1..=200))
            .prop_map(|(index, begin, payload)| Item::Piece { index, begin, payload });
        prop_oneof![8 => message.prop_map(Item::Message), 2 => piece]
    }

    proptest! {
        #[test]
        fn streams_survive_however_they_are_cut(
            items in vec(item(), 0..20),
            chunk_lens in vec(1..300_usize, 1..20),
        ) {
            prop_assert_eq!(decode(&encode(&items), &chunk_lens), Ok(items));
        }

        #[test]
        fn random_bytes_are_harmless(stream in vec(any::<u8>(), 0..200)) {
            let _ = decode(&stream, &[7]);
        }

        #[test]
        fn random_short_messages_are_harmless(
            id in prop_oneof![0..24_u8, any::<u8>()],
            len in 0..120_u32,
            rest in vec(any::<u8>(), 0..130),
        ) {
            let mut stream = len.to_be_bytes().to_vec();
            stream.push(id);
            stream.extend(rest);
            let _ = decode(&stream, &[1, 9]);
        }
    }

    #[test]
    fn bytes_are_as_in_the_beps() {
        let block = RawBlock { index: 1, begin: 0x4000, len: 0x0200 };
        let table: [(Message, &[u8]); 9] = [
            (Message::KeepAlive, b"\0\0\0\0"),
            (Message::Choke, b"\0\0\0\x01\x00"),
            (Message::Have(0x0102), b"\0\0\0\x05\x04\0\0\x01\x02"),
            (Message::Bitfield([0x80].into()), b"\0\0\0\x02\x05\x80"),
            (Message::Request(block), b"\0\0\0\x0d\x06\0\0\0\x01\0\0\x40\0\0\0\x02\0"),
            (Message::Port(6881), b"\0\0\0\x03\x09\x1a\xe1"),
            (Message::HaveAll, b"\0\0\0\x01\x0e"),
            (Message::Reject(block), b"\0\0\0\x0d\x10\0\0\0\x01\0\0\x40\0\0\0\x02\0"),
            (Message::Extended { id: 0, payload: (*b"de").into() }, b"\0\0\0\x04\x14\0de"),
        ];
        for (message, bytes) in table {
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, bytes, "{message:?}");
            assert_eq!(LIMITS.decode(bytes), Ok(Decoded::Message { consumed: bytes.len(), message }));
        }
        let piece = b"\0\0\0\x0c\x07\0\0\0\x01\0\0\x40\0abc";
        assert_eq!(piece_header(1, 0x4000, 3), piece[..PIECE_HEADER_LEN]);
        assert_eq!(LIMITS.decode(piece), Ok(Decoded::Piece { index: 1, begin: 0x4000, len: 3 }));
        for shown in 5..PIECE_HEADER_LEN {
            assert_eq!(LIMITS.decode(&piece[..shown]), Ok(Decoded::Need(PIECE_HEADER_LEN)));
        }
    }

    #[test]
    fn wrong_lengths_are_refused_by_their_header() {
        let lengths = [(1, &[0, 1, 2, 3, 14, 15][..]), (3, &[9]), (5, &[4, 13, 17]), (13, &[6, 8, 16])];
        for (right, ids) in lengths {
            for (&id, len) in ids.iter().flat_map(|id| (1..=120).map(move |len| (id, len))) {
                let decoded = LIMITS.decode(&[0, 0, 0, len, id]);
                if len == right {
                    assert!(matches!(decoded, Ok(Decoded::Need(_) | Decoded::Message { .. })));
                } else {
                    assert_eq!(decoded, Err(WireError::Length { id, len: len.into() }));
                }
            }
        }
        for len in 1..=9 {
            assert_eq!(LIMITS.decode(&[0, 0, 0, len, 7]), Err(WireError::Length { id: 7, len: len.into() }));
        }
        assert_eq!(LIMITS.decode(b"\0\0\0\x01\x14"), Err(WireError::Length { id: 20, len: 1 }));
        for id in [5, 20, 21, 255] {
            let header = [0, 0, 0, 101, id];
            assert_eq!(LIMITS.decode(&header), Err(WireError::TooLong { len: 101, limit: 100 }));
        }
        assert_eq!(LIMITS.decode(b"\0\0\0\xd2\x07"), Err(WireError::TooLong { len: 210, limit: 209 }));
        assert_eq!(LIMITS.decode(b"\0\0\0\xd1\x07"), Ok(Decoded::Need(PIECE_HEADER_LEN)));
        let huge = usize::try_from(u32::MAX).unwrap();
        assert_eq!(LIMITS.decode(&[0xff; 5]), Err(WireError::TooLong { len: huge, limit: 100 }));
    }

    #[test]
    fn unknown_messages_are_skipped_whole() {
        let decoded = LIMITS.decode(b"\0\0\0\x03\x63ab\0\0\0\0");
        assert_eq!(decoded, Ok(Decoded::Message { consumed: 7, message: Message::Unknown(0x63) }));
    }
}
