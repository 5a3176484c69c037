//! The scripts. Each ends with the connection; an error is the victim's hanging up, or the end of the siege.

use std::io;
use std::time::Duration;

use torrent_common::ids::PeerId;
use torrent_common::wire::handshake::HANDSHAKE_HEAD_LEN;
use torrent_common::wire::message::{RawBlock, piece_header};
use torrent_common::wire::{Handshake, Message};

use super::words::{encoded, nonsense};
use super::{Attack, Stranger};
use crate::scripted::Received;

/// Who drips sends one byte in this time.
const DRIP: Duration = Duration::from_secs(1);
/// One of so many blocks is spoilt by who poisons.
const SPOILT: u64 = 20;

/// All of them.
pub const ATTACKS: &[Attack] = &[
    attack("messages of wrong lengths and numbers out of range", 4, Some("hung up on"), say_nonsense),
    attack("frames of 4 GiB", 4, Some("hung up on"), endless_frame),
    attack("requests without end", 4, None, request_without_end),
    attack("answers that are never read", 8, None, never_read),
    attack("blocks nobody asked for", 4, Some("a block that was not asked for"), send_unasked),
    attack("every block twice", 4, Some("a block that was not asked for"), send_twice),
    attack("overlapping blocks", 4, Some("a block that was not asked for"), send_overlapping),
    attack("chokes and unchokes without end", 4, None, flap),
    attack("a choke for every request", 4, None, tease),
    attack("pieces said to be had and never sent", 8, None, keep_silent),
    attack("a reject for every request", 4, None, reject),
    attack("floods of messages that change nothing", 4, None, babble),
    attack("handshakes of one byte a second", 50, None, drip_handshake),
    attack("blocks of one byte a second", 8, None, drip_block),
    attack("connections that come and go", 16, None, come_and_go),
    attack("the victim's own name", 4, None, mirror),
    attack("one name for all", 8, None, share_a_name),
    attack("a bad block among good ones now and then", 3, Some("banned"), poison),
];

const fn attack(
    name: &'static str,
    connections: usize,
    told: Option<&'static str>,
    script: fn(&mut Stranger<'_>) -> io::Result<()>,
) -> Attack {
    Attack { name, connections, told, script }
}

fn say_nonsense(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    let all = nonsense(&stranger.field.victim.metainfo);
    let (_, bytes) = &all[stranger.random.usize(..all.len())];
    stranger.link.send(bytes)?;
    stranger.strike();
    listen(stranger)
}

fn endless_frame(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.link.send(&[0xff; 4])?;
    loop {
        stranger.strike();
        stranger.link.send(&[7; 1 << 16])?;
    }
}

fn request_without_end(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.link.tell(&Message::Interested)?;
    let requests = encoded(&Message::Request(RawBlock { index: 0, begin: 0, len: 16_384 })).repeat(1000);
    loop {
        stranger.strike();
        stranger.link.send(&requests)?;
    }
}

/// Asks for as much as may be asked for, of all that is there by then, and takes nothing.
fn never_read(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.link.tell(&Message::Interested)?;
    loop {
        for _ in 0..200 {
            let index = stranger.random.u32(..stranger.field.victim.metainfo.geometry.piece_count());
            stranger.link.tell(&Message::Request(RawBlock { index, begin: 0, len: 16_384 }))?;
        }
        stranger.strike();
        stranger.pause(Duration::from_millis(50))?;
    }
}

fn send_unasked(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.offer()?;
    let wanted = RawBlock { index: 0, begin: 0, len: 16_384 };
    let bytes = stranger.block(wanted, false);
    loop {
        stranger.strike();
        give(stranger, wanted, &bytes)?;
    }
}

fn send_twice(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| {
        let bytes = stranger.block(wanted, false);
        give(stranger, wanted, &bytes)?;
        give(stranger, wanted, &bytes)
    })
}

fn send_overlapping(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| {
        let half = wanted.len / 2;
        for begin in [wanted.begin, wanted.begin + 1] {
            let part = RawBlock { begin, len: half, ..wanted };
            let bytes = stranger.block(part, false);
            give(stranger, part, &bytes)?;
        }
        Ok(())
    })
}

fn flap(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.offer()?;
    let turns = [encoded(&Message::Choke), encoded(&Message::Unchoke)].concat().repeat(100);
    loop {
        stranger.strike();
        stranger.link.send(&turns)?;
    }
}

fn tease(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, _| {
        stranger.link.tell(&Message::Choke)?;
        stranger.link.tell(&Message::Unchoke)
    })
}

fn keep_silent(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |_, _| Ok(()))
}

fn reject(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| stranger.link.tell(&Message::Reject(wanted)))
}

fn babble(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    let said = [
        Message::Interested,
        Message::NotInterested,
        Message::Have(0),
        Message::KeepAlive,
        Message::SuggestPiece(0),
        Message::Cancel(RawBlock { index: 0, begin: 0, len: 16_384 }),
    ];
    let bytes = said.iter().flat_map(encoded).collect::<Vec<_>>().repeat(100);
    loop {
        stranger.strike();
        stranger.link.send(&bytes)?;
    }
}

fn drip_handshake(stranger: &mut Stranger<'_>) -> io::Result<()> {
    let name = PeerId::generate(&mut stranger.random);
    let bytes = Handshake::new(stranger.field.victim.metainfo.info_hash, name).encode();
    drip(stranger, &bytes)
}

fn drip_block(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| {
        let bytes = stranger.block(wanted, false);
        stranger.link.send(&piece_header(wanted.index, wanted.begin, wanted.len))?;
        drip(stranger, &bytes)
    })
}

fn come_and_go(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.strike();
    stranger.offer()
}

/// The victim tells its name as soon as it knows which torrent is meant.
fn mirror(stranger: &mut Stranger<'_>) -> io::Result<()> {
    let info_hash = stranger.field.victim.metainfo.info_hash;
    let unnamed = Handshake::new(info_hash, PeerId::new([0; 20])).encode();
    stranger.link.send(&unnamed[..HANDSHAKE_HEAD_LEN])?;
    let theirs = stranger.link.read_handshake()?;
    stranger.link.send(theirs.peer_id.as_bytes())?;
    stranger.strike();
    stranger.offer()?;
    listen(stranger)
}

fn share_a_name(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet_as(PeerId::new(*b"-XX0001-everybody123"))?;
    stranger.strike();
    stranger.offer()?;
    listen(stranger)
}

/// Under the same name each time. After a bad block it chokes: others send the rest of the piece.
fn poison(stranger: &mut Stranger<'_>) -> io::Result<()> {
    let mut name = *b"-XX0001-poisoner0000";
    name[19] = b'0' + stranger.number as u8 % 10;
    stranger.greet_as(PeerId::new(name))?;
    stranger.offer()?;
    loop {
        let Received::Message(Message::Request(wanted)) = stranger.link.receive()? else { continue };
        let spoilt = stranger.random.u64(..SPOILT) == 0;
        let bytes = stranger.block(wanted, spoilt);
        give(stranger, wanted, &bytes)?;
        if spoilt {
            stranger.strike();
            stranger.link.tell(&Message::Choke)?;
            stranger.link.tell(&Message::Unchoke)?;
        }
    }
}

/// Offers everything, and answers requests as `answer` does.
fn serve(
    stranger: &mut Stranger<'_>,
    mut answer: impl FnMut(&mut Stranger<'_>, RawBlock) -> io::Result<()>,
) -> io::Result<()> {
    stranger.greet()?;
    stranger.offer()?;
    loop {
        if let Received::Message(Message::Request(wanted)) = stranger.link.receive()? {
            stranger.strike();
            answer(stranger, wanted)?;
        }
    }
}

fn give(stranger: &mut Stranger<'_>, block: RawBlock, bytes: &[u8]) -> io::Result<()> {
    stranger.link.send(&[&piece_header(block.index, block.begin, block.len)[..], bytes].concat())
}

fn drip(stranger: &mut Stranger<'_>, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stranger.link.send(&[*byte])?;
        stranger.strike();
        stranger.pause(DRIP)?;
    }
    Ok(())
}

fn listen(stranger: &mut Stranger<'_>) -> io::Result<()> {
    loop {
        stranger.link.receive()?;
    }
}
