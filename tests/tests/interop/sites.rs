//! Two sites with a link between them: with SITES, most of what clients that know nothing of sites download stays inside
//! theirs. What crosses is counted on the link. Torrents are private, so that clients hear of peers from the tracker alone.

use std::fmt;
use std::path::PathBuf;
use std::thread;

use torrent_tests::daemon::Daemon;
use torrent_tests::network::Network;
use torrent_tests::payload::write_file;
use torrent_tests::room::{Place, Room};
use torrent_tests::torrents::make_private;
use torrent_tests::tracker::Tracker;

use crate::clients::{Client, Make, Role};
use crate::{KIB, wanted};

/// The payload: what a host sends in seven seconds.
const LEN: u64 = 16 << 20;
const RATE_MBIT: u32 = 20;
/// What leeches in each of two sites.
const LEECHERS: [Make; 5] =
    [Make::Libtorrent, Make::Libtorrent, Make::Transmission, Make::Libtorrent, Make::Aria2];

/// Copies of the payload that came into each site over the link.
#[derive(Debug, Clone, Copy)]
struct Crossed([f64; 2]);

impl Crossed {
    fn total(self) -> f64 {
        self.0.iter().sum()
    }
}

impl fmt::Display for Crossed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{first:.2} copies into the site of the seeder, {second:.2} into the other")
    }
}

/// A tracker in a site of its own, a seeder in the first site, and leechers in the first and the second.
struct World {
    // Dropped in this order.
    tracker: Tracker,
    network: Network,
    room: Room,
    torrent: PathBuf,
    source: PathBuf,
}

impl World {
    fn new(name: &str, sites: &str) -> Self {
        let room = Room::new(&format!("interop-sites-{name}"));
        let each = u8::try_from(LEECHERS.len()).unwrap();
        let network = Network::of_sites(&[each + 1, each, 1]);
        network.limit(RATE_MBIT);
        let place = Place::Host(network.of_site(3, 1));
        let tracker = Tracker::start_with(&room, place, &format!("SITES = {sites}"));
        let source = room.folder("source");
        write_file(&source.join("payload.bin"), LEN, 61);
        let (input, folder) = (source.join("payload.bin"), room.folder("torrents"));
        let (torrent, metainfo) = make_private(&input, &folder, 256 * KIB, &tracker.url());
        assert!(metainfo.private);
        Self { tracker, network, room, torrent, source }
    }

    /// The leechers: site, number of the host in it, number among the leechers of the site.
    fn leechers() -> impl Iterator<Item = (u8, u8, usize)> {
        (0..LEECHERS.len()).flat_map(|number| {
            let host = u8::try_from(number).unwrap() + 1;
            [(1, host + 1, number), (2, host, number)]
        })
    }

    fn crossed(&self) -> Crossed {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let copies = |site| self.network.came_into(site) as f64 / LEN as f64;
        Crossed([copies(1), copies(2)])
    }
}

/// Other programs' clients, all at once.
fn others(name: &str, sites: &str) -> Crossed {
    let world = World::new(name, sites);
    let client = |make, role, (site, host), data: &PathBuf| {
        let host = world.network.of_site(site, host);
        Client::start(make, role, &world.room, &host, &world.torrent, data, false)
    };
    let _seeder = client(Make::Libtorrent, Role::Seed, (1, 1), &world.source);
    let hash = torrent_tests::torrents::parse(&std::fs::read(&world.torrent).unwrap()).info_hash;
    world.tracker.wait_for_swarm(hash, 1, 0);
    thread::scope(|scope| {
        for (site, host, number) in World::leechers() {
            let data = world.room.folder(&format!("target-{site}-{host}"));
            let client = &client;
            scope.spawn(move || {
                let mut leecher = client(LEECHERS[number], Role::Leech, (site, host), &data);
                leecher.wait_complete();
                leecher
            });
        }
    });
    world.crossed()
}

/// The same with our daemon.
fn ours(name: &str, sites: &str) -> Crossed {
    let world = World::new(name, sites);
    let daemon = |site, host| {
        let place = Place::Host(world.network.of_site(site, host));
        Daemon::start_at(&world.room, &format!("daemon-{site}-{host}"), &world.tracker.url(), place, "")
    };
    let seeder = daemon(1, 1);
    seeder.leech(&world.torrent, Some(&world.source));
    let hash = torrent_tests::torrents::parse(&std::fs::read(&world.torrent).unwrap()).info_hash;
    seeder.wait_for_seeding(hash);
    world.tracker.wait_for_swarm(hash, 1, 0);
    let leechers: Vec<_> = World::leechers().map(|(site, host, _)| daemon(site, host)).collect();
    for leecher in &leechers {
        leecher.leech(&world.torrent, None);
    }
    for leecher in leechers.iter() {
        leecher.wait_for_seeding(hash);
    }
    let crossed = world.crossed();
    leechers.into_iter().chain([seeder]).for_each(Daemon::stop);
    crossed
}

fn compare(who: &str, run: fn(&str, &str) -> Crossed) {
    if !wanted() {
        return;
    }
    let with = run(&format!("{who}-with"), "first: 10.78.1.0/24, second: 10.78.2.0/24");
    // Without sites, these subnets have too few peers for anybody to be left out.
    let without = run(&format!("{who}-without"), "none");
    println!("{who}, with SITES: {with}; without: {without}");
    #[expect(clippy::cast_precision_loss, reason = "ten")]
    let downloaded = 2.0 * LEECHERS.len() as f64;
    assert!(with.0[1] > 0.9, "the second site has its payload from the first: {with}");
    assert!(with.total() < downloaded / 2.0, "most of what was downloaded stays inside: {with}");
    assert!(with.total() < 0.8 * without.total(), "with SITES: {with}; without: {without}");
}

#[test]
fn others_stay_inside_their_site() {
    compare("others", others);
}

#[test]
fn ours_stay_inside_their_site() {
    compare("ours", ours);
}
