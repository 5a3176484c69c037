//! Scripts against who uploads: they ask, and take nothing.

use std::io;

use torrent_common::wire::Message;
use torrent_common::wire::message::RawBlock;

use super::Stranger;
use super::scripts::listen;
use super::words::encoded;
use crate::scripted::Received;

/// As many requests as a peer may have waiting.
pub(super) const MOST_REQUESTS: usize = 1024;
/// So many messages are sent together.
const BATCH: usize = 1000;

/// More than may wait, at once: a million of them, if the victim put up with it.
pub(super) fn request_without_end(stranger: &mut Stranger<'_>) -> io::Result<()> {
    get_a_slot(stranger)?;
    let requests = encoded(&Message::Request(RawBlock { index: 0, begin: 0, len: 16_384 })).repeat(BATCH);
    for _ in 0..1_000_000 / BATCH {
        stranger.strike();
        stranger.send(&requests)?;
    }
    Ok(())
}

/// What may be asked for, and no answer is read: the victim's buffers are full until it has had enough.
pub(super) fn never_read(stranger: &mut Stranger<'_>) -> io::Result<()> {
    get_a_slot(stranger)?;
    let pieces = stranger.field.victim.metainfo.geometry.piece_count();
    // The last piece may be shorter than that.
    let indices: Vec<_> = (0..MOST_REQUESTS).map(|_| stranger.random.u32(..pieces.max(2) - 1)).collect();
    ask_and_stay(stranger, indices.into_iter())
}

/// Asks for the first block of each of these pieces, and reads nothing.
pub(super) fn ask_and_stay(
    stranger: &mut Stranger<'_>,
    indices: impl Iterator<Item = u32>,
) -> io::Result<()> {
    let request = |index| encoded(&Message::Request(RawBlock { index, begin: 0, len: 16_384 }));
    stranger.send(&indices.flat_map(request).collect::<Vec<_>>())?;
    stranger.strike();
    // Until the victim hangs up, which writing finds out.
    loop {
        stranger.pause(std::time::Duration::from_secs(10))?;
        stranger.tell(&Message::KeepAlive)?;
    }
}

/// Holds an upload slot for nothing. Who has lost it comes again under another name.
pub(super) fn take_nothing(stranger: &mut Stranger<'_>) -> io::Result<()> {
    get_a_slot(stranger)?;
    stranger.strike();
    while stranger.receive()? != Received::Message(Message::Choke) {}
    Ok(())
}

/// Holds an upload slot for a little of each piece: it is never idle, and takes next to nothing.
pub(super) fn take_little(stranger: &mut Stranger<'_>) -> io::Result<()> {
    get_a_slot(stranger)?;
    let pieces = stranger.field.victim.metainfo.geometry.piece_count();
    loop {
        stranger.strike();
        let index = stranger.random.u32(..pieces);
        stranger.tell(&Message::Request(RawBlock { index, begin: 0, len: 1024 }))?;
        // Without a slot nothing comes: then it asks again with the next.
        while !matches!(stranger.receive()?, Received::Block { .. } | Received::Message(Message::Unchoke)) {}
        stranger.pause(std::time::Duration::from_millis(500))?;
    }
}

/// By turns as fast as it can, many times before it hears what is said to it.
pub(super) fn flap(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    let turns = [encoded(&Message::Interested), encoded(&Message::NotInterested)].concat().repeat(100);
    for _ in 0..10_000 {
        stranger.strike();
        stranger.send(&turns)?;
    }
    listen(stranger)
}

fn get_a_slot(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.tell(&Message::Interested)?;
    while stranger.receive()? != Received::Message(Message::Unchoke) {}
    Ok(())
}
