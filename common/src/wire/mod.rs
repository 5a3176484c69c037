//! The peer wire protocol (BEP 3, with the frames of BEP 6 and BEP 10): bytes in, messages out, no I/O.

pub mod decoder;
pub mod handshake;
pub mod message;

pub use decoder::{Decoded, Decoder, WireError};
pub use handshake::{Handshake, HandshakeError};
pub use message::Message;
