//! The messages after the handshake (BEP 3, BEP 5 port, BEP 6, BEP 10), and their bytes.

/// Where a block is, as a stranger names it: not yet checked against a torrent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawBlock {
    /// Piece index.
    pub index: u32,
    /// Offset in the piece, in bytes.
    pub begin: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A message other than `piece`, whose payload never passes through a message value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A length of zero: nothing, but the sender lives.
    KeepAlive,
    /// 0: the sender will not answer requests.
    Choke,
    /// 1: the sender answers requests.
    Unchoke,
    /// 2: the receiver has what the sender wants.
    Interested,
    /// 3: it has not, any more.
    NotInterested,
    /// 4: the sender has this piece now.
    Have(u32),
    /// 5: what the sender has, as bits: only as the first message.
    Bitfield(Box<[u8]>),
    /// 6: send me this.
    Request(RawBlock),
    /// 8: do not send me this any more.
    Cancel(RawBlock),
    /// 9 (BEP 5): the sender's DHT port.
    Port(u16),
    /// 13 (BEP 6): the sender would like this piece to be asked for.
    SuggestPiece(u32),
    /// 14 (BEP 6): in place of a full bitfield.
    HaveAll,
    /// 15 (BEP 6): in place of an empty bitfield.
    HaveNone,
    /// 16 (BEP 6): this request will not be answered.
    Reject(RawBlock),
    /// 17 (BEP 6): this piece may be asked for while choked.
    AllowedFast(u32),
    /// 20 (BEP 10): an extension's message; id 0 is the extended handshake.
    Extended {
        /// Which extension, by the receiver's numbering.
        id: u8,
        /// Its payload.
        payload: Box<[u8]>,
    },
    /// An id this version does not know; its payload was skipped.
    Unknown(u8),
}

/// Message ids (BEP 3, BEP 5, BEP 6, BEP 10).
pub(super) mod id {
    pub const CHOKE: u8 = 0;
    pub const UNCHOKE: u8 = 1;
    pub const INTERESTED: u8 = 2;
    pub const NOT_INTERESTED: u8 = 3;
    pub const HAVE: u8 = 4;
    pub const BITFIELD: u8 = 5;
    pub const REQUEST: u8 = 6;
    pub const PIECE: u8 = 7;
    pub const CANCEL: u8 = 8;
    pub const PORT: u8 = 9;
    pub const SUGGEST_PIECE: u8 = 13;
    pub const HAVE_ALL: u8 = 14;
    pub const HAVE_NONE: u8 = 15;
    pub const REJECT: u8 = 16;
    pub const ALLOWED_FAST: u8 = 17;
    pub const EXTENDED: u8 = 20;
}

impl Message {
    /// Appends the message, with its length prefix. Payloads are far below the 4 GiB that the prefix can
    /// tell: ours are bounded by the number of pieces.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::KeepAlive => out.extend([0; 4]),
            Self::Choke => frame(out, id::CHOKE, &[]),
            Self::Unchoke => frame(out, id::UNCHOKE, &[]),
            Self::Interested => frame(out, id::INTERESTED, &[]),
            Self::NotInterested => frame(out, id::NOT_INTERESTED, &[]),
            Self::Have(index) => frame(out, id::HAVE, &[&index.to_be_bytes()]),
            Self::Bitfield(bits) => frame(out, id::BITFIELD, &[bits]),
            Self::Request(block) => frame(out, id::REQUEST, &[&block.to_bytes()]),
            Self::Cancel(block) => frame(out, id::CANCEL, &[&block.to_bytes()]),
            Self::Port(port) => frame(out, id::PORT, &[&port.to_be_bytes()]),
            Self::SuggestPiece(index) => frame(out, id::SUGGEST_PIECE, &[&index.to_be_bytes()]),
            Self::HaveAll => frame(out, id::HAVE_ALL, &[]),
            Self::HaveNone => frame(out, id::HAVE_NONE, &[]),
            Self::Reject(block) => frame(out, id::REJECT, &[&block.to_bytes()]),
            Self::AllowedFast(index) => frame(out, id::ALLOWED_FAST, &[&index.to_be_bytes()]),
            Self::Extended { id, payload } => frame(out, id::EXTENDED, &[&[*id], payload]),
            Self::Unknown(id) => frame(out, *id, &[]),
        }
    }
}

impl RawBlock {
    fn to_bytes(self) -> [u8; 12] {
        join([self.index, self.begin, self.len])
    }

    pub(super) fn from_bytes(bytes: &[u8; 12]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        Self {
            index: u32::from_be_bytes([a, b, c, d]),
            begin: u32::from_be_bytes([e, f, g, h]),
            len: u32::from_be_bytes([i, j, k, l]),
        }
    }
}

/// Three numbers, big-endian, one after the other.
fn join(numbers: [u32; 3]) -> [u8; 12] {
    let mut bytes = [0; 12];
    for (to, number) in bytes.chunks_exact_mut(4).zip(numbers) {
        to.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Appends length prefix, id and the parts of the payload.
fn frame(out: &mut Vec<u8>, id: u8, payload: &[&[u8]]) {
    let payload_len: usize = payload.iter().map(|part| part.len()).sum();
    let len = u32::try_from(payload_len.saturating_add(1)).unwrap_or(u32::MAX);
    out.reserve(payload_len.saturating_add(5));
    out.extend(len.to_be_bytes());
    out.push(id);
    for part in payload {
        out.extend_from_slice(part);
    }
}

/// The 13 bytes before the payload of a `piece` message (7). `len` is of the payload alone, at most `u32::MAX - 9`.
pub fn piece_header(index: u32, begin: u32, len: u32) -> [u8; 13] {
    let mut bytes = [id::PIECE; 13];
    bytes[..4].copy_from_slice(&len.saturating_add(9).to_be_bytes());
    bytes[5..9].copy_from_slice(&index.to_be_bytes());
    bytes[9..].copy_from_slice(&begin.to_be_bytes());
    bytes
}
