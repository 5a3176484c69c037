//! What is had, durably. Per torrent in STATE_DIR: `<info-hash>.torrent`, a checkpoint `<info-hash>.resume`
//! (bencode, replaced by temporary file and rename, after the payload was synced), and an append-only journal
//! `<info-hash>.journal` of the pieces written since.
//!
//! A killed process loses nothing (promise 2): the page cache survives it, so a journal of this boot is believed. After a
//! power cut (another boot id) the pieces in the journal are only suspect and are hashed again; the checkpoint is believed.
//! A file whose length or mtime is not what checkpoint and journal explain is hashed again as a whole.

/// Placeholder.
#[derive(Debug)]
pub struct Journal {
    _private: (),
}
