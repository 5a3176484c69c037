//! Connections are numbers here, and time is counted from a start.

use super::*;

const LIMITS: Limits =
    Limits { connections: 750, request: Duration::from_secs(10), idle: Duration::from_secs(60) };

/// A census with a clock.
struct Scene {
    census: Census,
    start: Instant,
    limits: Limits,
    /// The connection that a worker answers just now.
    answering: Option<Cookie>,
    /// The connection of which a request was answered since the last look.
    ended: Option<Cookie>,
}

/// A connection as it is seen: number, bytes received, bytes written, and what a lane lets come.
type Seen = (Cookie, u64, u64, Option<u64>);

impl Scene {
    fn new() -> Self {
        Self {
            census: Census::with_room(0),
            start: Instant::now(),
            limits: LIMITS,
            answering: None,
            ended: None,
        }
    }

    /// Looks at these connections, and returns those that have to go, in order.
    fn look(&mut self, at_s: u64, seen: &[Seen]) -> Vec<(Cookie, Reason)> {
        let now = self.start + Duration::from_secs(at_s);
        self.census.begin();
        for &(cookie, received, written, busy) in seen {
            let work = Work { busy, has_ended: self.ended == Some(cookie) };
            self.census.see(cookie, peer(cookie), Traffic { received, written, is_open: true }, work, now);
        }
        self.census.end();
        assert_eq!(self.census.len(), seen.len());
        let answering = self.answering.map(peer);
        let mut doomed = Vec::new();
        let has_more = |from: &SocketAddr, _: bool| Some(*from) == answering;
        self.census.doom(&self.limits, now, has_more, |cookie, reason| doomed.push((cookie, reason)));
        doomed.sort_unstable_by_key(|(cookie, _)| *cookie);
        doomed
    }
}

fn peer(cookie: Cookie) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(cookie).unwrap()))
}

#[test]
fn who_asks_and_is_answered_stays() {
    let mut scene = Scene::new();
    let mut traffic = (0, 0);
    for at_s in 0..1000 {
        assert_eq!(scene.look(at_s, &[(1, traffic.0, traffic.1, None)]), []);
        if at_s % 50 == 0 {
            traffic = (traffic.0 + 300, traffic.1 + 500);
        }
    }
}

#[test]
fn silence_before_a_request_and_between_two_has_an_end() {
    let mut scene = Scene::new();
    assert_eq!(scene.look(0, &[(1, 0, 0, None), (2, 300, 500, None)]), []);
    assert_eq!(scene.look(9, &[(1, 0, 0, None), (2, 300, 500, None)]), []);
    assert_eq!(scene.look(10, &[(1, 0, 0, None), (2, 300, 500, None)]), [(1, Reason::Silent)]);
    assert_eq!(scene.look(59, &[(1, 0, 0, None), (2, 300, 500, None)]), [], "told once");
    assert_eq!(scene.look(60, &[(2, 300, 500, None)]), [(2, Reason::Silent)]);
}

#[test]
fn a_head_that_drips_is_not_waited_for() {
    let mut scene = Scene::new();
    for at_s in 0..10 {
        assert_eq!(scene.look(at_s, &[(1, at_s, 0, None), (2, 300 + at_s, 500, None)]), [], "{at_s}");
    }
    assert_eq!(
        scene.look(10, &[(1, 10, 0, None), (2, 310, 500, None)]),
        [(1, Reason::Slow), (2, Reason::Slow)]
    );
}

#[test]
fn a_head_has_a_length() {
    let mut scene = Scene::new();
    assert_eq!(scene.look(0, &[(1, MAX_HEAD_LEN, 0, None), (2, 5_000_000, 500, None)]), []);
    let seen = [(1, MAX_HEAD_LEN + 1, 0, None), (2, 5_000_000 + MAX_HEAD_LEN + 1, 500, None)];
    assert_eq!(scene.look(1, &seen), [(1, Reason::Long), (2, Reason::Long)]);
}

#[test]
fn all_heads_together_have_a_length() {
    let mut scene = Scene::new();
    let honest = (200, 400, 0, None);
    let mut seen: Vec<Seen> = (1..=140).map(|cookie| (cookie, MAX_HEAD_LEN - cookie, 0, None)).collect();
    seen.push(honest);
    let gone = scene.look(0, &seen);
    assert!((10..20).contains(&gone.len()), "{gone:?}");
    assert!(
        gone.iter().all(|(cookie, reason)| *cookie <= 20 && *reason == Reason::Long),
        "the longest: {gone:?}"
    );
    seen.retain(|(cookie, ..)| gone.iter().all(|(gone, _)| gone != cookie));
    assert_eq!(scene.look(1, &seen), [], "the rest is short enough");
}

#[test]
fn bodies_come_when_a_lane_waits_for_them() {
    let mut scene = Scene::new();
    let body = 1_000_000;
    assert_eq!(scene.look(0, &[(1, 300, 0, Some(body))]), []);
    assert_eq!(scene.look(50, &[(1, 300 + body, 0, Some(body))]), [], "the lane has deadlines of its own");
    assert_eq!(scene.look(51, &[(1, 300 + body, 100, None)]), []);
    assert_eq!(scene.look(110, &[(1, 300 + body, 100, None)]), [], "served at 51, idle since");
    assert_eq!(scene.look(111, &[(1, 300 + body, 100, None)]), [(1, Reason::Silent)]);
    let mut scene = Scene::new();
    assert_eq!(scene.look(0, &[(1, 300, 0, Some(body))]), []);
    assert_eq!(scene.look(1, &[(1, body + MAX_HEAD_LEN + 1, 0, Some(body))]), [(1, Reason::Long)]);
}

/// A look may fall into any request of a conversation.
#[test]
fn bodies_that_were_answered_between_two_looks_are_not_a_long_head() {
    let (body, mut scene) = (5_000_000, Scene::new());
    assert_eq!(scene.look(0, &[(1, 300, 100, None)]), []);
    scene.ended = Some(1);
    assert_eq!(scene.look(1, &[(1, body, 200, Some(40))]), [], "a short one is in work behind it");
    assert_eq!(
        scene.look(2, &[(1, 2 * body, 300, Some(40))]),
        [],
        "that one was, too, and the next long one"
    );
    scene.ended = None;
    assert_eq!(scene.look(3, &[(1, 2 * body + MAX_HEAD_LEN + 41, 400, Some(40))]), [(1, Reason::Long)]);
    let mut scene = Scene::new();
    assert_eq!(scene.look(0, &[(1, 300, 100, None)]), []);
    let announces = 100 * 300;
    assert_eq!(scene.look(1, &[(1, announces, 40_000, Some(0))]), [], "answered by no lane");
}

/// All that is known of them is from before.
#[test]
fn a_body_that_came_while_the_guard_looked_is_judged_the_next_time() {
    for busy in [None, Some(0)] {
        let mut scene = Scene::new();
        scene.limits.connections = 5;
        assert_eq!(scene.look(0, &[(1, 300, 100, None)]), []);
        scene.answering = Some(1);
        assert_eq!(scene.look(1, &[(1, 3_000_000, 100, busy)]), [], "neither alone, nor of all that is read");
        let seen = [(1, 4_000_000, 100, busy), (2, 0, 0, None), (3, 0, 0, None)];
        assert_eq!(scene.look(9, &seen).len(), 1);
        scene.answering = None;
        assert!(scene.look(10, &seen).contains(&(1, Reason::Long)));
    }
}

/// tiny_http reads the next request while the last one is answered.
#[test]
fn a_long_answer_does_not_hide_an_endless_head() {
    let mut scene = Scene::new();
    assert_eq!(scene.look(0, &[(1, 300, 0, Some(0))]), []);
    let mut gone = Vec::new();
    for step in 1..10 {
        gone.extend(scene.look(step, &[(1, 300 + 2_000 * step, 1_000 * step, Some(0))]));
    }
    assert_eq!(gone, [(1, Reason::Long)]);
}

#[test]
fn of_too_many_the_idlest_go() {
    let mut scene = Scene::new();
    scene.limits.connections = 10;
    assert_eq!(scene.limits.kept(), 4);
    assert_eq!(scene.look(0, &[(1, 0, 0, None), (2, 0, 0, None), (3, 0, 0, None)]), []);
    let seen = [(1, 300, 500, None), (2, 0, 0, None), (3, 300, 0, Some(0)), (4, 0, 0, None), (5, 0, 0, None)];
    let gone = scene.look(1, &seen);
    assert_eq!(
        gone,
        [(2, Reason::TooMany)],
        "not 1, which was answered since, nor 3, which is being answered"
    );
}

#[test]
fn room_is_kept_for_newcomers() {
    let mut scene = Scene::new();
    scene.limits.connections = 20;
    assert_eq!(scene.limits.kept(), 8);
    let mut seen: Vec<Seen> = (1..=8).map(|cookie| (cookie, 300, 0, None)).collect();
    assert_eq!(scene.look(0, &seen), []);
    for (at_s, cookie) in (1..).zip(0..8) {
        seen[cookie].2 = 500;
        assert_eq!(scene.look(at_s, &seen), [], "that many may stay");
    }
    seen.extend([(9, 300, 0, None), (10, 300, 0, None)]);
    let gone = [(1, Reason::TooMany), (2, Reason::TooMany)];
    assert_eq!(scene.look(9, &seen), gone, "those that were answered longest ago");
    seen.drain(..2);
    seen.push((11, 300, 0, None));
    assert_eq!(scene.look(10, &seen), [(9, Reason::TooMany)], "newcomers share what was kept for them");
}

#[test]
fn what_is_being_answered_is_not_late() {
    let mut scene = Scene::new();
    scene.answering = Some(1);
    assert_eq!(scene.look(0, &[(1, 300, 0, None), (2, 300, 0, None)]), []);
    assert_eq!(scene.look(10, &[(1, 300, 0, None), (2, 300, 0, None)]), [(2, Reason::Slow)]);
}

#[test]
fn who_left_is_forgotten() {
    let mut scene = Scene::new();
    for cookie in 1..1000 {
        assert_eq!(scene.look(cookie, &[(cookie, 300, 0, None)]), []);
    }
    assert_eq!(scene.census.known.len(), 1);
}
