//! The scripts, and all attacks. Each ends with the connection; an error is the victim's hanging up, or the end of the siege.

use std::io;
use std::time::Duration;

use torrent_common::ids::PeerId;
use torrent_common::wire::handshake::HANDSHAKE_HEAD_LEN;
use torrent_common::wire::message::{RawBlock, piece_header};
use torrent_common::wire::{Handshake, Message};

use super::words::{encoded, nonsense};
use super::{Attack, Role, Stranger, uploads};
use crate::scripted::Received;

/// Who drips sends one byte in this time.
const DRIP: Duration = Duration::from_secs(1);
/// One of so many blocks is spoilt by who poisons.
const SPOILT: u64 = 20;

/// So long a line about what is seen at once may take.
const SOON: Duration = Duration::from_secs(20);
const ANYBODY: &[Role] = &[Role::Leecher, Role::Seeder];
const LEECHER: &[Role] = &[Role::Leecher];
pub(super) const SEEDER: &[Role] = &[Role::Seeder];

/// All of them.
pub const ATTACKS: &[Attack] = &[
    attack("messages of wrong lengths and numbers out of range", 4, ANYBODY, say_nonsense).told("hung up on"),
    attack("frames of 4 GiB", 4, ANYBODY, endless_frame).told("hung up on"),
    attack("requests without end", 4, LEECHER, request_without_end),
    attack("a million requests", 4, SEEDER, uploads::request_without_end).told("too many requests at once"),
    attack("answers that are never read", 8, LEECHER, never_read),
    attack("1,024 requests, and answers that are never read", 16, SEEDER, uploads::never_read)
        .told_within("it does not read what it is sent", Duration::from_secs(150)),
    attack("interest that takes nothing", 16, SEEDER, uploads::take_nothing),
    attack("a little at a time, for a slot", 16, SEEDER, uploads::take_little),
    attack("interest that comes and goes", 4, SEEDER, uploads::flap),
    attack("blocks nobody asked for", 4, LEECHER, send_unasked).told("a block that was not asked for"),
    attack("every block twice", 4, LEECHER, send_twice).told("a block that was not asked for"),
    attack("overlapping blocks", 4, LEECHER, send_overlapping).told("a block that was not asked for"),
    attack("chokes and unchokes without end", 4, LEECHER, flap),
    attack("a choke for every request", 4, LEECHER, tease),
    attack("pieces said to be had and never sent", 8, LEECHER, keep_silent),
    attack("a reject for every request", 4, LEECHER, reject),
    attack("floods of messages that change nothing", 4, ANYBODY, babble),
    attack("handshakes of one byte a second", 50, ANYBODY, drip_handshake).told("its handshake"),
    attack("more connections than there is room for", 150, ANYBODY, say_nothing).told("its handshake"),
    attack("blocks of one byte a second", 8, LEECHER, drip_block),
    attack("connections that come and go", 16, ANYBODY, come_and_go).told("came and went"),
    attack("seeders, for nothing", 16, SEEDER, visit).told("came and went"),
    attack("the victim's own name", 4, ANYBODY, mirror).told("it is ourselves"),
    attack("one name for all", 8, ANYBODY, share_a_name).told("already connected"),
    attack("a bad block among good ones now and then", 3, LEECHER, poison).bulky().told("banned"),
];

const fn attack(
    name: &'static str,
    connections: usize,
    against: &'static [Role],
    script: fn(&mut Stranger<'_>) -> io::Result<()>,
) -> Attack {
    Attack { name, connections, against, bulky: false, told: None, script }
}

impl Attack {
    const fn bulky(mut self) -> Self {
        self.bulky = true;
        self
    }

    const fn told(self, what: &'static str) -> Self {
        self.told_within(what, SOON)
    }

    const fn told_within(mut self, what: &'static str, limit: Duration) -> Self {
        self.told = Some((what, limit));
        self
    }
}

fn say_nonsense(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    let all = nonsense(&stranger.field.victim.metainfo);
    let (_, bytes) = &all[stranger.random.usize(..all.len())];
    stranger.send(bytes)?;
    stranger.strike();
    listen(stranger)
}

fn endless_frame(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.send(&[0xff; 4])?;
    loop {
        stranger.strike();
        stranger.send(&[7; 1 << 16])?;
    }
}

fn request_without_end(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.tell(&Message::Interested)?;
    let requests = encoded(&Message::Request(RawBlock { index: 0, begin: 0, len: 16_384 })).repeat(1000);
    loop {
        stranger.strike();
        stranger.send(&requests)?;
    }
}

/// Asks for as much as may be asked for, of the first piece that is there, and takes nothing.
fn never_read(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.tell(&Message::Interested)?;
    stranger.strike();
    let (mut unchoked, mut had) = (false, None);
    loop {
        match stranger.receive()? {
            Received::Message(Message::Unchoke) => unchoked = true,
            Received::Message(Message::Have(index)) => had = Some(index),
            _ => {}
        }
        if let Some(index) = had.filter(|_| unchoked) {
            return uploads::ask_and_stay(stranger, std::iter::repeat_n(index, uploads::MOST_REQUESTS));
        }
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
        stranger.send(&turns)?;
    }
}

fn tease(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, _| {
        stranger.tell(&Message::Choke)?;
        stranger.tell(&Message::Unchoke)
    })
}

fn keep_silent(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |_, _| Ok(()))
}

fn reject(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| stranger.tell(&Message::Reject(wanted)))
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
        stranger.send(&bytes)?;
    }
}

fn drip_handshake(stranger: &mut Stranger<'_>) -> io::Result<()> {
    let name = PeerId::generate(&mut stranger.random);
    let bytes = Handshake::new(stranger.field.victim.metainfo.info_hash, name).encode();
    drip(stranger, &bytes)
}

fn say_nothing(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.strike();
    stranger.link.read_handshake().map(drop)
}

fn drip_block(stranger: &mut Stranger<'_>) -> io::Result<()> {
    serve(stranger, |stranger, wanted| {
        let bytes = stranger.block(wanted, false);
        stranger.send(&piece_header(wanted.index, wanted.begin, wanted.len))?;
        drip(stranger, &bytes)
    })
}

fn come_and_go(stranger: &mut Stranger<'_>) -> io::Result<()> {
    stranger.greet()?;
    stranger.strike();
    stranger.offer()
}

/// The victim hangs up: who has everything needs nothing of it.
fn visit(stranger: &mut Stranger<'_>) -> io::Result<()> {
    come_and_go(stranger)?;
    listen(stranger)
}

/// The victim tells its name as soon as it knows which torrent is meant.
fn mirror(stranger: &mut Stranger<'_>) -> io::Result<()> {
    let info_hash = stranger.field.victim.metainfo.info_hash;
    let unnamed = Handshake::new(info_hash, PeerId::new([0; 20])).encode();
    stranger.send(&unnamed[..HANDSHAKE_HEAD_LEN])?;
    let theirs = stranger.link.read_handshake()?;
    stranger.send(theirs.peer_id.as_bytes())?;
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
        let Received::Message(Message::Request(wanted)) = stranger.receive()? else { continue };
        let spoilt = stranger.random.u64(..SPOILT) == 0;
        let bytes = stranger.block(wanted, spoilt);
        give(stranger, wanted, &bytes)?;
        if spoilt {
            stranger.strike();
            stranger.tell(&Message::Choke)?;
            stranger.tell(&Message::Unchoke)?;
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
        if let Received::Message(Message::Request(wanted)) = stranger.receive()? {
            stranger.strike();
            answer(stranger, wanted)?;
        }
    }
}

fn give(stranger: &mut Stranger<'_>, block: RawBlock, bytes: &[u8]) -> io::Result<()> {
    stranger.send(&[&piece_header(block.index, block.begin, block.len)[..], bytes].concat())
}

fn drip(stranger: &mut Stranger<'_>, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes {
        stranger.send(&[*byte])?;
        stranger.strike();
        stranger.pause(DRIP)?;
    }
    Ok(())
}

pub(super) fn listen(stranger: &mut Stranger<'_>) -> io::Result<()> {
    loop {
        stranger.receive()?;
    }
}
