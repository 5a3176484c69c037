//! Connections here are those of this process to a listener of the test.

use std::net::TcpListener;

use super::*;

/// A roll of the connections of this process to a listener of its own. Other tests have sockets, too.
struct Scene {
    roll: Roll,
    sockets: Sockets,
    listener: TcpListener,
    start: Instant,
}

impl Scene {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets::open(listener.local_addr().unwrap()).unwrap();
        Self { roll: Roll::with_room(0), sockets, listener, start: Instant::now() }
    }

    /// A client, and its connection as tiny_http has it.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        (client, self.listener.accept().unwrap().0)
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// The peers of those that are open, in order.
    fn call(&mut self, at_ms: u64, is_thorough: bool) -> Vec<SocketAddr> {
        let (now, mut seen) = (self.at(at_ms), Vec::new());
        let has_work = None::<fn(&SocketAddr) -> bool>;
        let see = |_, peer, _| seen.push(peer);
        assert!(self.roll.call(&self.sockets, is_thorough, has_work, now, see));
        seen.sort_unstable();
        seen
    }

    fn guilty(&mut self, at_ms: u64) -> Option<IpAddr> {
        let now = self.at(at_ms);
        self.roll.guilty(now).next()
    }

    fn stuck(&mut self, at_ms: u64) -> usize {
        self.call(at_ms, false);
        self.roll.count_stuck(self.at(at_ms))
    }
}

fn address(client: &TcpStream) -> SocketAddr {
    client.local_addr().unwrap()
}

#[test]
fn each_connection_is_seen_once_while_it_is_open() {
    let mut scene = Scene::new();
    assert!(scene.call(0, false).is_empty());
    let mut pairs: Vec<_> = (0..20).map(|_| scene.connect()).collect();
    let second = pairs[0].1.try_clone().unwrap();
    let all: Vec<_> = pairs.iter().map(|(client, _)| address(client)).collect();
    for (at_ms, is_thorough) in [(1, false), (2, false), (500, true), (501, false), (1000, true)] {
        assert_eq!(scene.call(at_ms, is_thorough), {
            let mut all = all.clone();
            all.sort_unstable();
            all
        });
    }
    assert_eq!(scene.roll.of_peer(&all[3]).map(|cookie| scene.roll.open[&cookie].peer), Some(all[3]));
    drop(second);
    let gone: Vec<_> = pairs.drain(..19).collect();
    gone.iter().for_each(|(_, served)| served.shutdown(Shutdown::Both).unwrap());
    drop(gone);
    assert_eq!(scene.call(1001, false), [all[19]]);
    assert_eq!(scene.roll.len(scene.at(1001)), 1, "they were let go of");
    // Their numbers are taken for nobody's any more.
    let (client, _served) = scene.connect();
    assert!(scene.call(1002, false).contains(&address(&client)));
}

#[test]
fn what_is_closed_and_held_is_stuck_after_a_while() {
    let mut scene = Scene::new();
    let (_client, held) = scene.connect();
    assert_eq!(scene.stuck(0), 0);
    assert_eq!(scene.stuck(100_000), 0, "it is open");
    held.shutdown(Shutdown::Both).unwrap();
    assert_eq!(scene.stuck(102_000), 0);
    assert_eq!(scene.stuck(111_000), 0);
    assert_eq!(scene.stuck(113_000), 1);
    assert_eq!(scene.roll.len(scene.at(113_000)), 0);
    scene.call(113_500, true);
    assert_eq!(scene.stuck(114_000), 1, "since when is known for those that a thorough look finds again");
    drop(held);
    assert_eq!(scene.stuck(116_000), 0);
}

#[test]
fn who_sent_too_much_is_guilty_until_it_is_gone() {
    let mut scene = Scene::new();
    let (pairs, ip): (Vec<_>, IpAddr) = ((0..2).map(|_| scene.connect()).collect(), [127, 0, 0, 1].into());
    scene.call(0, false);
    let cookies: Vec<_> =
        pairs.iter().map(|(client, _)| scene.roll.of_peer(&address(client)).unwrap()).collect();
    let now = scene.start;
    scene.roll.close(cookies[0], false, now);
    assert_eq!(scene.roll.guilty(now).next(), None, "that was for something else");
    scene.roll.close(cookies[1], true, now);
    assert_eq!(scene.roll.guilty(now).next(), Some(ip));
    scene.call(10, false);
    assert_eq!(scene.guilty(10), Some(ip), "it is held");
    drop(pairs);
    scene.call(40, false);
    assert_eq!(scene.guilty(40), None);
    let (client, stuck) = scene.connect();
    scene.call(50, false);
    let cookie = scene.roll.of_peer(&address(&client)).unwrap();
    scene.roll.close(cookie, true, scene.at(50));
    scene.call(2060, false);
    assert_eq!(scene.guilty(2060), None, "it may be stuck");
    drop(stuck);
}

/// tiny_http may close one of its two descriptors while the other writes.
#[test]
fn a_number_that_changes_hands_is_not_lost() {
    let mut scene = Scene::new();
    let (_client, served) = scene.connect();
    let second = served.try_clone().unwrap();
    scene.call(0, false);
    drop(second);
    // It takes that number, most likely.
    let (client, _served) = scene.connect();
    let (now, mut seen) = (scene.at(1), Vec::new());
    let see = |_, peer, _| seen.push(peer);
    assert!(scene.roll.call(&scene.sockets, false, Some(|_: &SocketAddr| true), now, see));
    assert!(seen.contains(&address(&client)));
}
