//! What a peer sends: the handshake and messages. How the network cuts them is the matter of `inbox`.

use torrent_common::wire::decoder::{Decoded, Decoder, PIECE_HEADER_LEN};
use torrent_common::wire::handshake::{HANDSHAKE_LEN, Handshake};
use torrent_common::wire::message::Message;

const DECODER: Decoder = Decoder { max_message_len: 1 << 12, max_block_len: 1 << 14 };

/// The input is a connection's bytes, from its handshake on.
pub fn wire(input: &[u8]) {
    let Some((head, mut rest)) = input.split_first_chunk::<HANDSHAKE_LEN>() else { return messages(input) };
    match Handshake::decode(head) {
        Ok(handshake) => {
            let again = Handshake::decode(&handshake.encode());
            assert!(again.is_ok_and(|again| again == handshake));
        }
        Err(_) => rest = input,
    }
    messages(rest);
    arrives_in_parts(rest);
}

/// Shown byte by byte more of it, the decoder says the same as when it sees all; and what it needs, it needs.
fn arrives_in_parts(mut rest: &[u8]) {
    // A few messages: it is quadratic.
    for _ in 0..8 {
        let whole = DECODER.decode(rest);
        let consumed = match &whole {
            Ok(Decoded::Message { consumed, .. }) => *consumed,
            Ok(Decoded::Piece { .. }) => PIECE_HEADER_LEN,
            Ok(Decoded::Need(_)) | Err(_) => rest.len(),
        };
        let mut needed = 0;
        for len in 0..consumed {
            match DECODER.decode(&rest[..len]) {
                Ok(Decoded::Need(need)) => {
                    assert!(need >= needed && need > len, "{need} at {len}");
                    needed = need;
                }
                early => {
                    assert_eq!(early, whole, "at {len} of {consumed}");
                    assert!(early.is_err(), "something of less than it takes");
                    return;
                }
            }
        }
        let Ok(Decoded::Message { .. }) = whole else { return };
        assert!(needed <= consumed, "{needed} of {consumed}");
        rest = &rest[consumed..];
    }
}

fn messages(mut rest: &[u8]) {
    loop {
        match DECODER.decode(rest) {
            Ok(Decoded::Need(len)) => {
                assert!(
                    len > rest.len() && len <= 4 + DECODER.max_message_len.max(PIECE_HEADER_LEN),
                    "{len}"
                );
                return;
            }
            Ok(Decoded::Message { consumed, message }) => {
                let (used, after) = rest.split_at(consumed);
                reads_as_written(used, &message);
                rest = after;
            }
            Ok(Decoded::Piece { len, .. }) => {
                assert!(len <= DECODER.max_block_len);
                let Some(after) = rest.get(PIECE_HEADER_LEN + len as usize..) else { return };
                rest = after;
            }
            Err(_) => return,
        }
    }
}

fn reads_as_written(used: &[u8], message: &Message) {
    // What nobody knows was skipped.
    if matches!(message, Message::Unknown(_)) {
        return;
    }
    let mut again = Vec::new();
    message.encode(&mut again);
    assert_eq!(again, used);
}
