//! Blocks made into swarms again. What is on a disk may be anything.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use torrent_common::ids::InfoHash;

use super::{Found, MAGIC, MAGIC_2};
use crate::swarm::{PeerImage, Retired, Role, SwarmImage, Swarms};

/// The longest block read: twice [`BLOCK_LEN`], room for the head of a piece and one peer more.
const MAX_BLOCK_LEN: u32 = 1 << 17;
/// The same, of version 2: a block had all swarms of a part.
const MAX_BLOCK_LEN_2: u32 = 1 << 29;

/// What the peers of a snapshot are taken back with.
struct Restoring<'a> {
    swarms: &'a Swarms,
    now_s: u32,
    /// Seconds since the snapshot was written.
    asleep_s: u32,
    found: &'a mut Found,
}

/// False if the file is damaged: then a block that is whole is read all the same, also behind one that is not.
pub(super) fn read(
    swarms: &Swarms,
    file: &mut impl Read,
    now_s: u32,
    wall_s: u64,
    found: &mut Found,
) -> io::Result<bool> {
    let (Some(magic), Some(written)) = (bytes(file)?, bytes(file)?) else { return Ok(false) };
    let max_len = match &magic {
        MAGIC => MAX_BLOCK_LEN,
        MAGIC_2 => MAX_BLOCK_LEN_2,
        _ => return Ok(false),
    };
    // A clock that was set back makes peers younger, not older.
    let asleep_s = u32::try_from(wall_s.saturating_sub(u64::from_le_bytes(written))).unwrap_or(u32::MAX);
    let mut restoring = Restoring { swarms, now_s, asleep_s, found };
    let mut payload = Vec::new();
    let mut is_whole = true;
    loop {
        let Some(len) = bytes(file)?.map(u32::from_le_bytes).filter(|&len| len <= max_len) else {
            return Ok(false);
        };
        if len == 0 {
            return Ok(is_whole && file.read(&mut [0])? == 0);
        }
        let Some(hash) = bytes::<20>(file)? else { return Ok(false) };
        payload.clear();
        file.take(len.into()).read_to_end(&mut payload)?;
        if payload.len() as u64 != u64::from(len) {
            return Ok(false);
        }
        is_whole &= InfoHash::of(&payload) == InfoHash::new(hash) && restoring.block(&payload).is_some();
    }
}

impl Restoring<'_> {
    /// The swarms of a block; `None` if it makes no sense.
    fn block(&mut self, payload: &[u8]) -> Option<()> {
        let mut rest = payload;
        while !rest.is_empty() {
            self.swarm(&mut rest)?;
        }
        Some(())
    }

    fn swarm(&mut self, rest: &mut &[u8]) -> Option<()> {
        let swarm = SwarmImage {
            info_hash: InfoHash::new(take(rest)?),
            downloaded: u32::from_le_bytes(take(rest)?),
            quiet_s: u32::from_le_bytes(take(rest)?),
        };
        let count = u32::from_le_bytes(take(rest)?);
        let mut is_whole = true;
        let mut has_loopback = false;
        let peers = (0..count).map_while(|_| {
            let peer = take_peer(rest);
            is_whole = peer.is_some();
            peer
        });
        let mut living = peers.filter_map(|peer| {
            let left_s = peer.left_s.checked_sub(self.asleep_s)?;
            has_loopback |= peer.address.ip().is_loopback();
            Some(PeerImage { left_s, ..peer })
        });
        let is_back = self.swarms.restore(&swarm, &mut living, self.now_s);
        // A limit may end the restoring before the peers end: the rest of them is read all the same.
        living.for_each(drop);
        self.found.has_loopback |= has_loopback;
        if is_whole && !is_back && swarm.downloaded > 0 {
            self.found.retired.push(Retired { info_hash: swarm.info_hash, downloaded: swarm.downloaded });
        }
        is_whole.then_some(())
    }
}

fn take_peer(rest: &mut &[u8]) -> Option<PeerImage> {
    let [flags] = take(rest)?;
    let left_s = u32::from_le_bytes(take(rest)?);
    let ip: IpAddr = match flags {
        0 | 1 | 4 => Ipv4Addr::from(take::<4>(rest)?).into(),
        2 | 3 | 6 => Ipv6Addr::from(take::<16>(rest)?).into(),
        _ => return None,
    };
    let role = match flags {
        4 | 6 => Role::PartialSeed,
        1 | 3 => Role::Seeder,
        _ => Role::Leecher,
    };
    let port = u16::from_be_bytes(take(rest)?);
    Some(PeerImage { address: (ip, port).into(), role, left_s })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// The next `N` bytes; `None` at the end of the file.
fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
