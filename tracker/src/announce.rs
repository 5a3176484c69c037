//! The policy: what an announce means and what it is answered, whatever carried it. Every front end reads a request's
//! form, calls [`Desk::announce`], and writes the answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use torrent_common::announce::compact::Family;
use torrent_common::announce::{
    AnnounceRequest, AnnounceResponse, AnnouncedPeer, Event, ScrapeEntry, ScrapedTorrent,
};
use torrent_common::config::TrackerConfig;
use torrent_common::ids::InfoHash;

use crate::access::{Access, AccessError};
use crate::address::Addresses;
use crate::near::Sites;
use crate::swarm::pace::{Pace, PaceLimits};
use crate::swarm::{Action, Full, Limits, Retired, Role, Swarms, Visit};

/// Announces and scrapes are answered here.
pub struct Desk {
    swarms: Swarms,
    addresses: Addresses,
    access: Access,
    default_peers: u32,
    max_peers: u32,
    /// Whether a peer of this machine was ever written down at its loopback address.
    has_local_peers: AtomicBool,
}

/// What an answer has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Peers, however many are wanted.
    pub peers: usize,
    /// Peers of this family alone; `None`: of both.
    pub family: Option<Family>,
}

impl Room {
    /// As much as is wanted.
    pub const ANY: Self = Self { peers: usize::MAX, family: None };
}

/// Why an announce was refused: sent back as the failure reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ACCESS does not let it.
    #[error("this torrent is not tracked here")]
    NotTracked,
    /// Nobody can dial it.
    #[error("port 0 cannot be dialled")]
    Port,
    /// See [`Full`].
    #[error(transparent)]
    Full(#[from] Full),
}

impl Desk {
    /// No swarms yet; intervals and numbers of peers as configured, and all torrents tracked.
    pub fn new(config: &TrackerConfig, random: &mut fastrand::Rng) -> Self {
        let limits = Limits { swarms: config.max_torrents, peers: config.max_peers };
        let pace = Pace::new(PaceLimits {
            interval_s: config.interval_s,
            max_interval_s: config.max_interval_s,
            min_interval_s: config.min_interval_s,
            max_rate: config.max_announce_rate,
        });
        Self {
            swarms: Swarms::new(pace, limits, random).with_sites(Sites::new(&config.sites)),
            addresses: Addresses::new(config),
            access: Access::open(),
            default_peers: config.default_peers.min(config.max_numwant),
            max_peers: config.max_numwant,
            has_local_peers: AtomicBool::new(false),
        }
    }

    /// The same, but only those torrents are tracked.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Which torrents are tracked.
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Reads the list of torrents again, and forgets the swarms that are not tracked any more: those in which downloads
    /// were counted are appended to `retired`. Returns how many torrents are on the list; `None` if none is in use.
    ///
    /// # Errors
    /// [`AccessError`]; then nothing changes.
    pub fn reload_access(&self, retired: &mut Vec<Retired>) -> Result<Option<usize>, AccessError> {
        let count = self.access.reload()?;
        self.swarms.retain(|info_hash| self.access.permits(info_hash), retired);
        Ok(count)
    }

    /// The swarms behind the desk: for sweeping, snapshots and sums.
    pub const fn swarms(&self) -> &Swarms {
        &self.swarms
    }

    /// Who may say at which address it is, and what others hear of it.
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Takes note of an announce that came from `from`, and answers it. `now_s` is the swarms' clock.
    ///
    /// # Errors
    /// [`Refusal`], to be sent back as the failure reason; nothing was noted.
    pub fn announce(
        &self,
        request: &AnnounceRequest,
        from: IpAddr,
        now_s: u32,
        random: &mut fastrand::Rng,
    ) -> Result<AnnounceResponse, Refusal> {
        let mut response = AnnounceResponse::default();
        self.announce_into(&mut response, request, from, Room::ANY, now_s, random)?;
        Ok(response)
    }

    /// The same for an answer that has `room` for so much, written into one that is used again: its list of peers keeps
    /// its memory. After an error it means nothing.
    ///
    /// # Errors
    /// As [`Desk::announce`].
    pub fn announce_into(
        &self,
        response: &mut AnnounceResponse,
        request: &AnnounceRequest,
        from: IpAddr,
        room: Room,
        now_s: u32,
        random: &mut fastrand::Rng,
    ) -> Result<(), Refusal> {
        if request.port == 0 {
            return Err(Refusal::Port);
        }
        if !self.access.permits(&request.info_hash) {
            return Err(Refusal::NotTracked);
        }
        let role = match request.event {
            _ if request.left == 0 => Role::Seeder,
            // Said in every announce (BEP 21).
            Event::Paused => Role::PartialSeed,
            _ => Role::Leecher,
        };
        let wanted = request.numwant.unwrap_or(self.default_peers).min(self.max_peers);
        let own = SocketAddr::new(self.addresses.written(request.ip, from), request.port);
        let visit = Visit {
            info_hash: request.info_hash,
            address: own,
            role,
            action: match request.event {
                Event::Completed => Action::Complete,
                Event::Stopped => Action::Leave,
                Event::None | Event::Started | Event::Paused => Action::Stay,
            },
            wanted: room.peers.min(wanted as usize),
            family: room.family,
        };
        let mut peers = std::mem::take(&mut response.peers);
        peers.clear();
        peers.reserve(visit.wanted.min(64));
        let visited = self.swarms.announce(&visit, now_s, random, &mut peers)?;
        if own.ip().is_loopback() {
            self.has_local_peers.store(true, Ordering::Relaxed);
        }
        if let Some(family) = visit.family.filter(|_| !from.to_canonical().is_loopback()) {
            self.add_local_peers(&visit, family.other(), now_s, random, &mut peers);
        }
        self.addresses.tell(&mut peers, from, own);
        *response = AnnounceResponse { peers, ..self.answer(visited.counts, visited.interval_s) };
        Ok(())
    }

    /// Fills an answer to another machine that has room for peers of one family alone with those peers of this machine that
    /// were written down at the loopback address of the other: they are told at an address that the asker can reach.
    fn add_local_peers(
        &self,
        visit: &Visit,
        family: Family,
        now_s: u32,
        random: &mut fastrand::Rng,
        peers: &mut Vec<AnnouncedPeer>,
    ) {
        if peers.len() >= visit.wanted
            || visit.action == Action::Leave
            || !self.has_local_peers.load(Ordering::Relaxed)
        {
            return;
        }
        let others =
            Visit { action: Action::Stay, wanted: self.max_peers as usize, family: Some(family), ..*visit };
        let mut found = Vec::new();
        // It is in the swarm already: this changes nothing, and cannot be refused.
        if self.swarms.announce(&others, now_s, random, &mut found).is_ok() {
            let room = visit.wanted - peers.len();
            peers.extend(found.into_iter().filter(|peer| peer.address.ip().is_loopback()).take(room));
        }
    }

    /// There are peers of this machine: they were restored.
    pub fn note_local_peers(&self) {
        self.has_local_peers.store(true, Ordering::Relaxed);
    }

    /// The answer to one who publishes a torrent without joining its swarm.
    pub fn counts(&self, info_hash: &InfoHash, now_s: u32, random: &mut fastrand::Rng) -> AnnounceResponse {
        self.answer(self.swarms.scrape(info_hash, now_s), self.swarms.pace().interval_s(0, random))
    }

    /// The counts of the torrents asked for; zeros for those without a swarm (BEP 48).
    pub fn scrape(&self, info_hashes: &[InfoHash], now_s: u32) -> Vec<ScrapedTorrent> {
        let scraped = |info_hash: &InfoHash| {
            let (counts, downloaders) = self.swarms.scrape_with_downloaders(info_hash, now_s);
            ScrapedTorrent { info_hash: *info_hash, counts, downloaders }
        };
        info_hashes.iter().map(scraped).collect()
    }

    fn answer(&self, counts: ScrapeEntry, interval_s: u32) -> AnnounceResponse {
        AnnounceResponse {
            interval_s,
            min_interval_s: Some(self.swarms.pace().min_interval_s(interval_s)),
            complete: counts.complete,
            incomplete: counts.incomplete,
            downloaded: Some(counts.downloaded),
            ..AnnounceResponse::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use torrent_common::ids::PeerId;

    use super::*;

    fn desk() -> Desk {
        Desk::new(
            &TrackerConfig { default_peers: 3, max_numwant: 5, ..TrackerConfig::default() },
            &mut fastrand::Rng::with_seed(1),
        )
    }

    fn request() -> AnnounceRequest {
        AnnounceRequest {
            info_hash: InfoHash::new([1; 20]),
            peer_id: PeerId::new([2; 20]),
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: Event::None,
            numwant: None,
            ip: None,
            key: None,
            compact: true,
            no_peer_id: false,
            tracker_id: None,
        }
    }

    fn tell(desk: &Desk, request: &AnnounceRequest, from: &str) -> AnnounceResponse {
        desk.announce(request, from.parse().unwrap(), 0, &mut fastrand::Rng::with_seed(2)).unwrap()
    }

    fn told(desk: &Desk, request: &AnnounceRequest, from: &str) -> Vec<String> {
        let mut all: Vec<_> =
            tell(desk, request, from).peers.iter().map(|peer| peer.address.to_string()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_number_of_peers_is_bounded() {
        let desk = desk();
        for n in 1..=9 {
            tell(&desk, &request(), &format!("10.0.0.{n}"));
        }
        for (numwant, expected) in [(None, 3), (Some(0), 0), (Some(2), 2), (Some(5), 5), (Some(u32::MAX), 5)]
        {
            let answer = tell(&desk, &AnnounceRequest { numwant, ..request() }, "10.0.0.1");
            assert_eq!(answer.peers.len(), expected, "{numwant:?}");
        }
    }

    #[test]
    fn events() {
        let desk = desk();
        let seeder = AnnounceRequest { left: 0, ..request() };
        tell(&desk, &seeder, "10.0.0.1");
        assert_eq!(told(&desk, &request(), "10.0.0.2"), ["10.0.0.1:6881"]);
        assert_eq!(told(&desk, &seeder, "10.0.0.1"), ["10.0.0.2:6881"]);
        let completed = AnnounceRequest { event: Event::Completed, ..seeder.clone() };
        let answer = tell(&desk, &completed, "10.0.0.2");
        assert_eq!((answer.complete, answer.incomplete, answer.downloaded), (2, 0, Some(1)));
        assert_eq!(answer.peers, []);
        let paused = AnnounceRequest { event: Event::Paused, ..request() };
        assert_eq!(told(&desk, &paused, "10.0.0.3"), [""; 0]);
        let unknown = AnnounceRequest { left: u64::MAX, ..request() };
        assert_eq!(tell(&desk, &unknown, "10.0.0.4").incomplete, 2);
        let stopped = AnnounceRequest { event: Event::Stopped, ..seeder };
        let answer = tell(&desk, &stopped, "10.0.0.1");
        assert_eq!((answer.complete, answer.peers.len()), (1, 0));
        assert_eq!(
            desk.scrape(&[InfoHash::new([9; 20])], 0),
            [ScrapedTorrent {
                info_hash: InfoHash::new([9; 20]),
                counts: ScrapeEntry::default(),
                downloaders: 0
            }]
        );
    }

    #[test]
    fn intervals_are_told_and_make_sense() {
        let config = TrackerConfig { interval_s: 200, min_interval_s: 300, ..TrackerConfig::default() };
        let desk = Desk::new(&config, &mut fastrand::Rng::with_seed(1));
        let answer = tell(&desk, &request(), "10.0.0.1");
        assert!((180..=200).contains(&answer.interval_s), "{}", answer.interval_s);
        assert_eq!(answer.min_interval_s, Some(answer.interval_s));
    }

    #[test]
    fn a_peer_lives_for_twice_the_interval_it_was_told() {
        let config = TrackerConfig { interval_s: 400, ..TrackerConfig::default() };
        let desk = Desk::new(&config, &mut fastrand::Rng::with_seed(1));
        let at = |from: [u8; 4], now_s| {
            desk.announce(&request(), from.into(), now_s, &mut fastrand::Rng::with_seed(2)).unwrap()
        };
        let told_s = at([10, 0, 0, 1], 0).interval_s;
        assert_eq!(at([10, 0, 0, 2], 2 * told_s).incomplete, 2);
        assert_eq!(at([10, 0, 0, 2], 2 * told_s + 1).incomplete, 1);
    }

    #[test]
    fn a_new_seeder_is_told_the_leechers() {
        let desk = desk();
        tell(&desk, &request(), "10.0.0.1");
        let seeder = AnnounceRequest { left: 0, event: Event::Started, ..request() };
        assert_eq!(told(&desk, &seeder, "10.0.0.2"), ["10.0.0.1:6881"]);
        let completed = AnnounceRequest { event: Event::Completed, ..seeder };
        assert_eq!(told(&desk, &completed, "10.0.0.3"), ["10.0.0.1:6881"]);
    }

    #[test]
    fn a_peer_of_this_machine_is_told_over_both_protocols() {
        let public_addresses = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into();
        let config = TrackerConfig { public_addresses, ..TrackerConfig::default() };
        let random = &mut fastrand::Rng::with_seed(2);
        let (four, six) = (("127.0.0.1", "198.51.100.7", Family::V4), ("::1", "2001:db8::7", Family::V6));
        for ((_, from, family), here) in [(four, "192.0.2.1:6881"), (six, "[2001:db8::1]:6881")] {
            for (at, ..) in [four, six] {
                let desk = Desk::new(&config, random);
                let _ = tell(&desk, &request(), at);
                let ask = |desk: &Desk, wanted, random: &mut fastrand::Rng| {
                    let mut response = AnnounceResponse::default();
                    let request = AnnounceRequest { port: 7, numwant: Some(wanted), ..request() };
                    let room = Room { peers: 100, family: Some(family) };
                    let from = from.parse().unwrap();
                    desk.announce_into(&mut response, &request, from, room, 0, random).unwrap();
                    let peers = response.peers.iter().map(|peer| peer.address.to_string());
                    (response.incomplete, peers.collect::<Vec<_>>())
                };
                assert_eq!(ask(&desk, 5, random), (2, vec![here.to_owned()]), "{at} to {from}");
                assert_eq!(ask(&desk, 0, random), (2, vec![]));
                desk.has_local_peers.store(false, Ordering::Relaxed);
                desk.note_local_peers();
                assert_eq!(ask(&desk, 1, random).1, [here], "after a restart");
            }
        }
    }

    #[test]
    fn port_0_is_refused() {
        let request = AnnounceRequest { port: 0, ..request() };
        let refused = desk().announce(&request, [10, 0, 0, 1].into(), 0, &mut fastrand::Rng::new());
        assert_eq!(refused, Err(Refusal::Port));
    }
}
