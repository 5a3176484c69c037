//! PEER_FILE: the swarms survive a restart.
//!
//! Layout, numbers little-endian: 8 bytes of `MAGIC` (the last is the version), the time of writing in seconds since
//! 1970 (u64), then blocks, one for each part of the swarms: length in bytes (u32), SHA-1 of the payload (20), payload.
//! A block of length 0 ends the file. A payload is swarms one after another: info-hash (20), downloads (u32), seconds since
//! something changed (u32), number of peers (u32), and for each peer flags (bit 0: seeder, bit 1: IPv6, bit 2: partial
//! seed), seconds until it is
//! forgotten (u32), address (4 or 16) and port (2, big-endian, as in BEP 23).
//!
//! The time of writing and those seconds let expiry go on over a restart: a peer does not live longer for it.

use std::fs;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use torrent_common::ids::InfoHash;

use crate::health::disk_trouble;
use crate::regular;
use crate::swarm::{PARTS, PeerImage, Retired, Role, SwarmImage, Swarms};

const MAGIC: &[u8; 8] = b"TFPEERS\x02";
/// The longest block read or written: a part holds one of some 2,000 of all swarms, and 23 million IPv6 peers of one swarm
/// fit. What is longer is left out.
const MAX_BLOCK_LEN: u32 = 1 << 29;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It could not be read or written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    File {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl SnapshotError {
    /// What it means, if it may pass without anybody touching the configuration.
    pub(crate) fn disk_trouble(&self) -> Option<&'static str> {
        let Self::File { source, .. } = self;
        disk_trouble(source)
    }
}

/// What a snapshot gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// There was none.
    None,
    /// All of it was read.
    Whole,
    /// It was damaged: what came before the damage was read, and the file is now kept under this name; `None` if it could
    /// not be renamed, so that the next snapshot takes its place.
    Damaged(Option<PathBuf>),
}

/// Writes all swarms to `path`: to a file beside it first, which then takes its place. Swarms stay in use meanwhile.
/// `now_s` is the swarms' clock, `wall_s` the time in seconds since 1970.
///
/// # Errors
/// [`SnapshotError`]; then the snapshot before stays.
pub fn save(swarms: &Swarms, path: &Path, now_s: u32, wall_s: u64) -> Result<(), SnapshotError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".peers-").tempfile_in(folder)?;
        let mut out = BufWriter::new(file.as_file_mut());
        out.write_all(MAGIC)?;
        out.write_all(&wall_s.to_le_bytes())?;
        let mut payload = Vec::new();
        for part in 0..PARTS {
            payload.clear();
            swarms.each_of_part(part, now_s, |swarm, peers| push_swarm(&mut payload, swarm, peers));
            let Some(len) = u32::try_from(payload.len()).ok().filter(|len| (1..=MAX_BLOCK_LEN).contains(len))
            else {
                continue;
            };
            out.write_all(&len.to_le_bytes())?;
            out.write_all(InfoHash::of(&payload).as_bytes())?;
            out.write_all(&payload)?;
        }
        out.write_all(&0_u32.to_le_bytes())?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|source| SnapshotError::File { action: "write", path: path.to_path_buf(), source })
}

fn push_swarm(out: &mut Vec<u8>, swarm: &SwarmImage, peers: &mut dyn Iterator<Item = PeerImage>) {
    let start = out.len();
    out.extend_from_slice(swarm.info_hash.as_bytes());
    out.extend_from_slice(&swarm.downloaded.to_le_bytes());
    out.extend_from_slice(&swarm.quiet_s.to_le_bytes());
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    for peer in peers {
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
        count += 1;
    }
    if count == 0 {
        out.truncate(start);
    } else if let Some(slot) = out.get_mut(count_at..count_at + 4) {
        slot.copy_from_slice(&count.to_le_bytes());
    }
}

/// Reads a snapshot back into `swarms`. Swarms whose last peer was forgotten meanwhile are appended to `retired` if
/// downloads were counted in them. Damage is reported, not fatal: the file is set aside as `*.bad`.
///
/// # Errors
/// [`SnapshotError`] when the file is there but cannot be read.
pub fn load(
    swarms: &Swarms,
    path: &Path,
    now_s: u32,
    wall_s: u64,
    retired: &mut Vec<Retired>,
) -> Result<Loaded, SnapshotError> {
    let failed = |action| {
        let path = path.to_path_buf();
        move |source| SnapshotError::File { action, path, source }
    };
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::None),
        Err(error) => return Err(failed("read")(error)),
    };
    match read(swarms, &mut BufReader::new(file), now_s, wall_s, retired) {
        Ok(true) => Ok(Loaded::Whole),
        Ok(false) => {
            let mut bad = path.as_os_str().to_owned();
            bad.push(".bad");
            // Whether anything can be written there is seen when the next one is saved.
            let is_aside = fs::rename(path, &bad);
            Ok(Loaded::Damaged(is_aside.is_ok().then(|| bad.into())))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

/// False if the file is damaged.
fn read(
    swarms: &Swarms,
    file: &mut impl Read,
    now_s: u32,
    wall_s: u64,
    retired: &mut Vec<Retired>,
) -> io::Result<bool> {
    let (Some(magic), Some(written)) = (bytes(file)?, bytes(file)?) else { return Ok(false) };
    if magic != *MAGIC {
        return Ok(false);
    }
    // A clock that was set back makes peers younger, not older.
    let asleep_s = u32::try_from(wall_s.saturating_sub(u64::from_le_bytes(written))).unwrap_or(u32::MAX);
    let mut payload = Vec::new();
    loop {
        let Some(len) = bytes(file)?.map(u32::from_le_bytes).filter(|&len| len <= MAX_BLOCK_LEN) else {
            return Ok(false);
        };
        if len == 0 {
            return Ok(file.read(&mut [0])? == 0);
        }
        let Some(hash) = bytes::<20>(file)? else { return Ok(false) };
        payload.clear();
        file.take(len.into()).read_to_end(&mut payload)?;
        if payload.len() as u64 != u64::from(len) || InfoHash::of(&payload) != InfoHash::new(hash) {
            return Ok(false);
        }
        let mut rest = payload.as_slice();
        while !rest.is_empty() {
            if restore_swarm(swarms, &mut rest, now_s, asleep_s, retired).is_none() {
                return Ok(false);
            }
        }
    }
}

fn restore_swarm(
    swarms: &Swarms,
    rest: &mut &[u8],
    now_s: u32,
    asleep_s: u32,
    retired: &mut Vec<Retired>,
) -> Option<()> {
    let swarm = SwarmImage {
        info_hash: InfoHash::new(take(rest)?),
        downloaded: u32::from_le_bytes(take(rest)?),
        quiet_s: u32::from_le_bytes(take(rest)?),
    };
    let count = u32::from_le_bytes(take(rest)?);
    let mut whole = true;
    let peers = (0..count).map_while(|_| {
        let peer = take_peer(rest);
        whole = peer.is_some();
        peer
    });
    let peers =
        peers.filter_map(|peer| Some(PeerImage { left_s: peer.left_s.checked_sub(asleep_s)?, ..peer }));
    // A limit may end the restoring before the peers end: the rest of them is read all the same.
    let mut peers = peers;
    let is_back = swarms.restore(&swarm, &mut peers, now_s);
    peers.for_each(drop);
    if whole && !is_back && swarm.downloaded > 0 {
        retired.push(Retired { info_hash: swarm.info_hash, downloaded: swarm.downloaded });
    }
    whole.then_some(())
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::swarm::pace::{Pace, PaceLimits};
    use crate::swarm::{Action, Limits, Visit};

    /// Peers are remembered for 330 seconds.
    fn store() -> Swarms {
        let limits = PaceLimits { interval_s: 120, max_interval_s: 120, min_interval_s: 0, max_rate: 0 };
        Swarms::new(Pace::new(limits), Limits::default(), &mut fastrand::Rng::with_seed(5))
    }

    fn filled() -> Swarms {
        let swarms = store();
        let mut random = fastrand::Rng::with_seed(6);
        for n in 0..200_u8 {
            let address: SocketAddr = match n % 3 {
                0 => (Ipv6Addr::from([n; 16]), 6881).into(),
                _ => ([10, 0, 0, n], 6881).into(),
            };
            let visit = Visit {
                info_hash: InfoHash::new([n % 40; 20]),
                address,
                role: Role::ALL[usize::from(n % 2 + n % 5 / 4)],
                action: if n % 4 == 0 { Action::Complete } else { Action::Stay },
                wanted: 0,
                family: None,
            };
            swarms.announce(&visit, u32::from(n), &mut random, &mut Vec::new()).unwrap();
        }
        swarms
    }

    type Image = (InfoHash, u32, u32, Vec<(SocketAddr, u8, u32)>);

    /// Everything, sorted.
    fn image(swarms: &Swarms, now_s: u32) -> Vec<Image> {
        let mut all = Vec::new();
        for part in 0..PARTS {
            swarms.each_of_part(part, now_s, |swarm, peers| {
                let mut peers: Vec<_> =
                    peers.map(|peer| (peer.address, peer.role as u8, peer.left_s)).collect();
                peers.sort_unstable();
                all.push((swarm.info_hash, swarm.downloaded, swarm.quiet_s, peers));
            });
        }
        all.sort_unstable();
        all
    }

    fn leftovers(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn swarms_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/peers");
        let swarms = filled();
        save(&swarms, &path, 200, 1_000_000).unwrap();
        let restored = store();
        assert_eq!(load(&restored, &path, 3, 1_000_000, &mut Vec::new()).unwrap(), Loaded::Whole);
        assert_eq!(image(&restored, 3), image(&swarms, 200));
        assert_eq!(leftovers(path.parent().unwrap()), ["peers"]);
    }

    #[test]
    fn time_asleep_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        save(&filled(), &path, 200, 1_000_000).unwrap();
        let all = filled().totals().peers;
        for (asleep, expected) in [(0, all), (131, all - 1), (230, all - 100), (330, 0), (100_000_000_000, 0)]
        {
            let restored = store();
            load(&restored, &path, 0, 1_000_000 + asleep, &mut Vec::new()).unwrap();
            assert_eq!(restored.totals().peers, expected, "asleep {asleep} s");
        }
        let restored = store();
        load(&restored, &path, 0, 5, &mut Vec::new()).unwrap();
        assert_eq!(restored.totals().peers, all, "a clock set back");
    }

    #[test]
    fn no_file_is_no_error_and_a_folder_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(&store(), &folder.path().join("none"), 0, 0, &mut Vec::new()).unwrap(), Loaded::None);
        let error = load(&store(), folder.path(), 0, 0, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
        let error = save(&store(), &folder.path().join("file/x"), 0, 0);
        error.unwrap();
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_what_was_whole_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers");
        save(&filled(), &path, 200, 0).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let restored = store();
        assert_eq!(
            load(&restored, &path, 0, 0, &mut Vec::new()).unwrap(),
            Loaded::Damaged(Some(folder.path().join("peers.bad")))
        );
        assert!(restored.totals().peers > 100);
        assert_eq!(fs::read(folder.path().join("peers.bad")).unwrap(), bytes);
        assert_eq!(load(&restored, &path, 0, 0, &mut Vec::new()).unwrap(), Loaded::None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_on_disk_makes_it_panic(cut in 0_usize..4000, flips in prop::collection::vec((0_usize..4000, any::<u8>()), 0..4)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("peers");
            save(&filled(), &path, 200, 0).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(cut);
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            let whole = read(&store(), &mut bytes.as_slice(), 0, 0, &mut Vec::new()).unwrap();
            prop_assert!(!whole || cut > bytes.len());
        }

        #[test]
        fn any_payload_with_a_right_checksum_is_survived(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut file = MAGIC.to_vec();
            file.extend_from_slice(&0_u64.to_le_bytes());
            file.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
            file.extend_from_slice(InfoHash::of(&payload).as_bytes());
            file.extend_from_slice(&payload);
            read(&store(), &mut file.as_slice(), 0, 0, &mut Vec::new()).unwrap();
        }
    }
}
