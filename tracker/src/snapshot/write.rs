//! Swarms made into blocks.

use std::io::{self, Write};
use std::net::IpAddr;

use torrent_common::ids::InfoHash;

use super::{BLOCK_LEN, MAGIC};
use crate::swarm::{PeerImage, Role, SwarmImage};

/// Writes a snapshot, and holds no more of it than a block.
pub(super) struct Writer<W> {
    out: W,
    payload: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins one. `wall_s` is the time in seconds since 1970.
    pub(super) fn new(mut out: W, wall_s: u64) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        out.write_all(&wall_s.to_le_bytes())?;
        Ok(Self { out, payload: Vec::new() })
    }

    /// Adds a swarm, or a piece of one: in several pieces if it does not fit into a block. One without peers adds nothing.
    pub(super) fn push(
        &mut self,
        swarm: &SwarmImage,
        peers: &mut dyn Iterator<Item = PeerImage>,
    ) -> io::Result<()> {
        let mut swarm = *swarm;
        while self.push_piece(&swarm, peers) {
            self.end_block()?;
            swarm.downloaded = 0;
        }
        Ok(())
    }

    /// Writes what has been added since the last block.
    pub(super) fn end_block(&mut self) -> io::Result<()> {
        if self.payload.is_empty() {
            return Ok(());
        }
        let len = u32::try_from(self.payload.len()).map_err(io::Error::other)?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(InfoHash::of(&self.payload).as_bytes())?;
        self.out.write_all(&self.payload)?;
        self.payload.clear();
        Ok(())
    }

    /// Ends the snapshot.
    pub(super) fn end(mut self) -> io::Result<()> {
        self.end_block()?;
        self.out.write_all(&0_u32.to_le_bytes())?;
        self.out.flush()
    }

    /// Adds as many peers as there is room for in the block. False if that were all.
    fn push_piece(&mut self, swarm: &SwarmImage, peers: &mut dyn Iterator<Item = PeerImage>) -> bool {
        let out = &mut self.payload;
        let start = out.len();
        out.extend_from_slice(swarm.info_hash.as_bytes());
        out.extend_from_slice(&swarm.downloaded.to_le_bytes());
        out.extend_from_slice(&swarm.quiet_s.to_le_bytes());
        let count_at = out.len();
        out.extend_from_slice(&[0; 4]);
        let mut count = 0_u32;
        let mut is_all = true;
        for peer in peers {
            push_peer(out, &peer);
            count += 1;
            if out.len() >= BLOCK_LEN {
                is_all = false;
                break;
            }
        }
        if count == 0 {
            out.truncate(start);
        } else if let Some(slot) = out.get_mut(count_at..count_at + 4) {
            slot.copy_from_slice(&count.to_le_bytes());
        }
        !is_all
    }
}

fn push_peer(out: &mut Vec<u8>, peer: &PeerImage) {
    let ip = peer.address.ip();
    let role = match peer.role {
        Role::Leecher => 0,
        Role::Seeder => 1,
        Role::PartialSeed => 4,
    };
    out.push(role | u8::from(ip.is_ipv6()) << 1);
    out.extend_from_slice(&peer.left_s.to_le_bytes());
    match ip {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&peer.address.port().to_be_bytes());
}
