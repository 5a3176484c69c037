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

impl Message {
    /// Appends the message, with its length prefix.
    pub fn encode(&self, out: &mut Vec<u8>) {
        todo!()
    }
}

/// The 13 bytes before the payload of a `piece` message (7).
pub fn piece_header(index: u32, begin: u32, len: u32) -> [u8; 13] {
    todo!()
}
