use proptest::prelude::*;

use super::*;

const FLOOR: Duration = Duration::from_secs(30);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn random() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn schedule(tiers: &[&[&str]], now: Instant) -> Schedule {
    let tiers: Vec<Vec<String>> =
        tiers.iter().map(|tier| tier.iter().map(|url| (*url).into()).collect()).collect();
    Schedule::new(Tiers::new(&tiers, &mut random()).0, FLOOR, now)
}

fn answer(interval: u64, min_interval: Option<u64>) -> Outcome {
    Outcome::Answered { interval: s(interval), min_interval: min_interval.map(s), tracker_id: None }
}

const SILENCE: Outcome = Outcome::Failed { refused: false };
const REFUSAL: Outcome = Outcome::Failed { refused: true };

/// Makes the announce that is due, checked to be `event` to `url`.
fn ask(schedule: &mut Schedule, url: &str, event: Event) -> Request {
    let request = schedule.next().expect("an announce is due");
    assert_eq!((request.url.as_ref(), request.event), (url, event));
    schedule.asked(&request);
    assert_eq!(schedule.deadline(), None, "one announce at a time");
    assert_eq!(schedule.next(), None, "one announce at a time");
    request
}

/// Makes the announce that is due and has it answered.
fn exchange(schedule: &mut Schedule, url: &str, event: Event, outcome: Outcome, now: Instant) -> Led {
    ask(schedule, url, event);
    schedule.report(outcome, now, &mut random())
}

#[test]
fn a_life() {
    let start = Instant::now();
    let mut it = schedule(&[&["http://a/"]], start);
    assert_eq!(it.deadline(), Some(start));
    assert_eq!(it.next().unwrap().numwant, 200);
    let Led::ToAnswer(wait) = exchange(&mut it, "http://a/", Event::Started, answer(100, None), start) else {
        panic!()
    };
    assert!((s(100)..=s(110)).contains(&wait));
    let now = start + wait;
    assert_eq!(it.deadline(), Some(now));
    assert_eq!(it.next().unwrap().numwant, 50);
    exchange(&mut it, "http://a/", Event::None, answer(100, None), now);
    it.complete(now + s(1));
    assert_eq!(it.deadline(), Some(now + s(1)), "completed is told at once");
    exchange(&mut it, "http://a/", Event::Completed, answer(100, None), now + s(1));
    assert!(it.deadline() > Some(now + s(100)));
    it.leave(now + s(2));
    assert_eq!(it.deadline(), Some(now + s(2)));
    assert!(!it.is_over());
    assert_eq!(it.next().unwrap().numwant, 0);
    assert_eq!(exchange(&mut it, "http://a/", Event::Stopped, SILENCE, now + s(3)), Led::Nowhere);
    assert!(it.is_over());
    assert_eq!((it.deadline(), it.next()), (None, None));
}

#[test]
fn intervals_are_bounded_both_ways() {
    for (named, min_interval, least, most) in [
        (1, None, 30, 33),
        (100, None, 100, 110),
        (100, Some(10), 100, 110),
        (100, Some(200), 200, 220),
        (0, None, 1800, 1860),
        (3600, None, 3600, 3660),
        (u64::from(u32::MAX), None, 21600, 21660),
        (60, Some(u64::from(u32::MAX)), 21600, 21660),
    ] {
        let now = Instant::now();
        let mut it = schedule(&[&["http://a/"]], now);
        let led = exchange(&mut it, "http://a/", Event::Started, answer(named, min_interval), now);
        let Led::ToAnswer(wait) = led else { panic!("{led:?}") };
        assert!((s(least)..=s(most)).contains(&wait), "{named} {min_interval:?}: {wait:?}");
    }
}

#[test]
fn more_peers_are_wanted_no_sooner_than_allowed() {
    for (min_interval, allowed) in [(Some(5), 30), (Some(70), 70), (None, 300)] {
        let now = Instant::now();
        let mut it = schedule(&[&["http://a/"]], now);
        it.want_peers(now);
        assert_eq!(it.deadline(), Some(now));
        exchange(&mut it, "http://a/", Event::Started, answer(1800, min_interval), now);
        it.want_peers(now + s(1));
        assert_eq!(it.deadline(), Some(now + s(allowed)));
        it.want_peers(now + s(2));
        assert_eq!(it.deadline(), Some(now + s(allowed)));
        it.want_peers(now + s(1000));
        assert_eq!(it.deadline(), Some(now + s(allowed)), "never later");
    }
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"]], now);
    exchange(&mut it, "http://a/", Event::Started, answer(1800, None), now);
    it.want_peers(now + s(1000));
    assert_eq!(it.deadline(), Some(now + s(1000)), "at once when allowed");
}

#[test]
fn a_tracker_that_does_not_answer_is_asked_again_less_and_less_often() {
    let mut now = Instant::now();
    let mut it = schedule(&[&["http://a/"]], now);
    for nominal in [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800, 1800] {
        let led = exchange(&mut it, "http://a/", Event::Started, SILENCE, now);
        let Led::ToRetry(wait) = led else { panic!("{led:?}") };
        assert!((s(nominal).mul_f64(0.75)..=s(nominal)).contains(&wait), "{nominal}: {wait:?}");
        it.want_peers(now);
        it.complete(now);
        now += wait;
        assert_eq!(it.deadline(), Some(now), "nothing shortens it");
    }
    exchange(&mut it, "http://a/", Event::Started, answer(100, None), now);
    assert_eq!(it.deadline(), Some(now), "completed was waiting");
    exchange(&mut it, "http://a/", Event::Completed, answer(100, None), now);
    let led = exchange(&mut it, "http://a/", Event::None, SILENCE, now);
    assert!(matches!(led, Led::ToRetry(wait) if wait <= s(5)), "{led:?}");
}

#[test]
fn a_refusal_is_heeded_for_the_interval_at_least() {
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"], &["http://b/"]], now);
    assert_eq!(exchange(&mut it, "http://a/", Event::Started, REFUSAL, now), Led::ToNextTracker);
    let led = exchange(&mut it, "http://b/", Event::Started, SILENCE, now);
    assert!(matches!(led, Led::ToRetry(wait) if wait >= FLOOR.mul_f64(0.75)), "{led:?}");
}

#[test]
fn every_tracker_is_asked_before_waiting_and_each_is_told_started_and_stopped() {
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"], &["http://b/"]], now);
    assert_eq!(exchange(&mut it, "http://a/", Event::Started, SILENCE, now), Led::ToNextTracker);
    assert_eq!(it.deadline(), Some(now));
    assert!(matches!(
        exchange(&mut it, "http://b/", Event::Started, answer(60, None), now),
        Led::ToAnswer(_)
    ));
    // The next round begins at the first tier; a tracker that is back hears `started`.
    exchange(&mut it, "http://a/", Event::Started, answer(60, None), now + s(66));
    exchange(&mut it, "http://a/", Event::None, SILENCE, now + s(132));
    exchange(&mut it, "http://b/", Event::None, answer(60, None), now + s(132));
    it.leave(now + s(140));
    exchange(&mut it, "http://a/", Event::Stopped, answer(60, None), now + s(140));
    assert!(!it.is_over());
    exchange(&mut it, "http://b/", Event::Stopped, REFUSAL, now + s(140));
    assert!(it.is_over());
}

#[test]
fn stopped_is_told_only_to_who_knows_us() {
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"]], now);
    it.leave(now);
    assert!(it.is_over(), "nobody was told");

    let mut it = schedule(&[&["http://a/"]], now);
    ask(&mut it, "http://a/", Event::Started);
    it.leave(now);
    assert!(!it.is_over(), "an announce is in flight");
    it.report(SILENCE, now, &mut random());
    assert!(it.is_over());

    let mut it = schedule(&[&["http://a/"]], now);
    ask(&mut it, "http://a/", Event::Started);
    it.leave(now);
    it.report(answer(60, None), now, &mut random());
    assert_eq!(it.deadline(), Some(now));
    exchange(&mut it, "http://a/", Event::Stopped, answer(60, None), now);
    assert!(it.is_over());
}

#[test]
fn a_torrent_added_anew_waits_for_the_announce_in_flight() {
    let now = Instant::now();
    let mut old = schedule(&[&["http://a/"]], now);
    exchange(&mut old, "http://a/", Event::Started, answer(60, None), now);
    old.leave(now);
    ask(&mut old, "http://a/", Event::Stopped);
    let mut it = schedule(&[&["http://a/"]], now).replacing(&old);
    assert_eq!(it.deadline(), None, "started must not overtake stopped");
    assert_eq!(it.report(answer(60, None), now, &mut random()), Led::Nowhere);
    assert_eq!(it.deadline(), Some(now));
    ask(&mut it, "http://a/", Event::Started);
}

#[test]
fn completing_during_an_announce_is_told_after_it() {
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"]], now);
    it.complete(now);
    ask(&mut it, "http://a/", Event::Started);
    it.complete(now);
    it.report(answer(60, None), now, &mut random());
    assert_eq!(it.deadline(), Some(now));
    ask(&mut it, "http://a/", Event::Completed);
    it.complete(now);
    it.report(answer(60, None), now, &mut random());
    assert_eq!(it.next().unwrap().event, Event::None, "told once");
}

#[test]
fn the_trackers_name_for_itself_is_sent_back() {
    let now = Instant::now();
    let mut it = schedule(&[&["http://a/"]], now);
    let named = Outcome::Answered { interval: s(60), min_interval: None, tracker_id: Some(b"me".to_vec()) };
    exchange(&mut it, "http://a/", Event::Started, named, now);
    exchange(&mut it, "http://a/", Event::None, answer(60, None), now);
    assert_eq!(it.next().unwrap().tracker_id, Some(b"me".to_vec()), "kept until it names itself anew");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask,
    Answer,
    Fail,
    Complete,
    WantPeers,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Ask),
        3 => Just(Step::Answer),
        2 => Just(Step::Fail),
        1 => Just(Step::Complete),
        2 => Just(Step::WantPeers),
        3 => (0_u64..200).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens, a torrent always has something to wait for, no tracker hears two regular announces within the
    /// floor, `started` comes first and `completed` at most as often as it happened.
    #[test]
    fn trackers_are_never_pestered(steps in prop::collection::vec(step(), 1..200), seed in any::<u64>()) {
        let mut now = Instant::now();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut it = schedule(&[&["http://a/", "http://b/"], &["http://c/"]], now);
        let mut answered: std::collections::HashMap<Arc<str>, Instant> = std::collections::HashMap::new();
        let (mut in_flight, mut completions, mut told) = (None, 0_u32, 0_u32);
        for step in steps {
            match step {
                Step::Ask => if let Some(deadline) = it.deadline() && deadline <= now {
                    let request = it.next().unwrap();
                    it.asked(&request);
                    let before = answered.get(&request.url);
                    prop_assert_eq!(request.event == Event::Started, before.is_none());
                    if let (Event::None, Some(before)) = (request.event, before) {
                        prop_assert!(now >= *before + FLOOR);
                    }
                    in_flight = Some(request);
                },
                Step::Answer => if let Some(request) = in_flight.take() {
                    told += u32::from(request.event == Event::Completed);
                    it.report(answer(40, None), now, &mut random);
                    answered.insert(request.url, now);
                },
                Step::Fail => if in_flight.take().is_some() {
                    it.report(SILENCE, now, &mut random);
                },
                Step::Complete => { it.complete(now); completions += 1; },
                Step::WantPeers => it.want_peers(now),
                Step::Pass(seconds) => now += s(seconds),
            }
            prop_assert_eq!(it.deadline().is_some(), in_flight.is_none());
            prop_assert!(told <= completions);
        }
    }
}
