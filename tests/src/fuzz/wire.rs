//! What a peer sends: the handshake and messages.

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
