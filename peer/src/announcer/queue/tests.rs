use proptest::prelude::*;
use torrent_common::announce::{AnnounceResponse, AnnouncedPeer, Event};

use super::super::Answer;
use super::super::words::Failure;
use super::*;

const FLOOR: Duration = Duration::from_secs(30);

fn queue(in_flight_per_host: usize) -> Queue {
    Queue::new(FLOOR, in_flight_per_host, fastrand::Rng::with_seed(3))
}

fn hash(number: u8) -> InfoHash {
    InfoHash::new([number; 20])
}

fn target(number: u8, urls: &[&str]) -> AnnounceTarget {
    let tiers = urls.iter().map(|url| vec![(*url).to_owned()]).collect();
    AnnounceTarget { info_hash: hash(number), tiers, transfer: Arc::default() }
}

fn answer() -> words::Result {
    let peers = vec![AnnouncedPeer { address: "10.0.0.1:7000".parse().unwrap(), peer_id: None }];
    Ok(AnnounceResponse { interval_s: 100, complete: 2, incomplete: 3, peers, ..Default::default() })
}

fn silence() -> words::Result {
    Err(Failure { reason: "no answer in time".into(), refused: false })
}

fn task(queue: &mut Queue, now: Instant) -> Option<Task> {
    match queue.next(now) {
        Next::Task(task) => Some(task),
        Next::Wait(_) => None,
    }
}

fn wait(queue: &mut Queue, now: Instant) -> Option<Instant> {
    match queue.next(now) {
        Next::Task(task) => panic!("{task:?} is due"),
        Next::Wait(until) => until,
    }
}

#[test]
fn nothing_to_do_is_waited_for_without_end() {
    assert_eq!(wait(&mut queue(1), Instant::now()), None);
}

#[test]
fn an_answer_is_told_and_the_next_announce_planned() {
    let now = Instant::now();
    let mut queue = queue(1);
    assert_eq!(queue.add(&target(1, &["http://a/announce"]), false, now), Told::default());
    assert_eq!(queue.message(hash(1)), None);
    let task = task(&mut queue, now).unwrap();
    assert_eq!((task.info_hash, task.request.event, task.more), (hash(1), Event::Started, false));
    assert_eq!(wait(&mut queue, now), None);
    let told = queue.report(&task, answer(), now);
    let Some(Answer::Peers { info_hash, peers, complete: 2, incomplete: 3, interval }) = told.answer else {
        panic!()
    };
    assert_eq!((info_hash, peers), (hash(1), vec!["10.0.0.1:7000".parse().unwrap()]));
    assert_eq!(wait(&mut queue, now), Some(now + interval));
    assert_eq!(queue.message(hash(1)), Some("a: 2 seeders, 3 leechers, 1 peer received"));
}

#[test]
fn a_failed_round_is_told_once_and_a_dead_host_logged_once() {
    let now = Instant::now();
    let mut queue = queue(9);
    for number in 1..=3 {
        queue.add(&target(number, &["http://a/announce", "http://b/announce"]), false, now);
    }
    let (mut failed, mut warnings) = (0, 0);
    while let Some(task) = task(&mut queue, now) {
        let told = queue.report(&task, silence(), now);
        if let Some(answer) = told.answer {
            assert_eq!(
                answer,
                Answer::Failed { info_hash: task.info_hash, reason: "b: no answer in time".into() }
            );
            failed += 1;
        }
        warnings += told.line.map_or(0, |(level, _)| usize::from(level == log::Level::Warn));
    }
    assert_eq!((failed, warnings), (3, 2));
    let later = wait(&mut queue, now).unwrap();
    let task = task(&mut queue, later).unwrap();
    let line = queue.report(&task, answer(), later).line;
    assert_eq!(line, Some((log::Level::Info, "tracker a answers again".into())));
}

#[test]
fn so_many_announces_to_a_host_at_once() {
    let now = Instant::now();
    let mut queue = queue(2);
    for number in 0..10 {
        queue.add(&target(number, &["http://slow/announce"]), false, now);
    }
    queue.add(&target(99, &["http://fast/announce"]), false, now);
    let tasks: Vec<Task> = std::iter::from_fn(|| task(&mut queue, now)).collect();
    let hosts: Vec<&str> = tasks.iter().map(|task| task.request.host.as_ref()).collect();
    assert_eq!(hosts.iter().filter(|host| **host == "slow").count(), 2);
    assert_eq!(hosts.iter().filter(|host| **host == "fast").count(), 1);
    // Each that ends makes room for one more, until all had their turn.
    let mut in_flight: VecDeque<Task> = tasks.into();
    let mut done = 0;
    while let Some(task) = in_flight.pop_front() {
        queue.report(&task, answer(), now);
        done += 1;
        in_flight.extend(std::iter::from_fn(|| self::task(&mut queue, now)));
        assert!(in_flight.len() <= 3);
    }
    assert_eq!(done, 11);
}

#[test]
fn restored_torrents_come_one_after_the_other() {
    let now = Instant::now();
    let mut queue = queue(100);
    for number in 0..100 {
        queue.add(&target(number, &["http://a/announce"]), true, now);
    }
    let due = |queue: &mut Queue, now| std::iter::from_fn(|| task(queue, now)).count();
    assert_eq!(due(&mut queue, now), 1);
    assert_eq!(due(&mut queue, now + SPREAD_STEP * 10), 10);
    assert_eq!(due(&mut queue, now + SPREAD_STEP * 99), 89);
}

#[test]
fn a_torrent_without_a_usable_tracker_says_so() {
    let now = Instant::now();
    let mut queue = queue(1);
    let told = queue.add(&target(1, &["wss://a:1/announce", "wss://\x1b[2Jb:2/announce"]), false, now);
    let (level, line) = told.line.unwrap();
    assert_eq!(level, log::Level::Warn);
    assert!(
        line.ends_with("only http, https and udp trackers are supported: wss://a:1/announce (and 1 more)"),
        "{line}"
    );
    assert!(queue.message(hash(1)).unwrap().contains("wss"));
    assert_eq!(wait(&mut queue, now), None);
    queue.completed(hash(1), now);
    queue.want_peers(hash(1), now);
    queue.remove(hash(1), now);
    assert_eq!(queue.message(hash(1)), None);
    assert!(queue.torrents.is_empty() && queue.planned.is_empty());
}

#[test]
fn a_removed_torrent_is_forgotten_when_stopped_was_told() {
    let now = Instant::now();
    let mut queue = queue(1);
    queue.add(&target(1, &["http://a/announce"]), false, now);
    let started = task(&mut queue, now).unwrap();
    queue.report(&started, answer(), now);
    queue.remove(hash(1), now);
    let stopped = task(&mut queue, now).unwrap();
    assert_eq!(stopped.request.event, Event::Stopped);
    // Added again before the answer: waits for it, then starts anew.
    queue.add(&target(1, &["http://a/announce"]), false, now);
    assert_eq!(wait(&mut queue, now), None);
    assert_eq!(queue.report(&stopped, answer(), now), Told::default());
    let again = task(&mut queue, now).unwrap();
    assert_eq!(again.request.event, Event::Started);
    queue.report(&again, answer(), now);
    queue.remove(hash(1), now);
    let stopped = task(&mut queue, now).unwrap();
    queue.report(&stopped, silence(), now);
    assert!(queue.torrents.is_empty() && queue.planned.is_empty());
}

#[test]
fn closing_tells_stopped_and_gives_up_a_host_that_fails() {
    let now = Instant::now();
    let mut queue = queue(1);
    for number in 0..20 {
        queue.add(
            &target(number, &[if number % 2 == 0 { "http://dead/announce" } else { "http://well/announce" }]),
            false,
            now,
        );
    }
    while let Some(task) = task(&mut queue, now) {
        queue.report(&task, answer(), now);
    }
    queue.add(&target(50, &["http://well/announce"]), true, now + FLOOR);
    queue.close(now);
    let (mut dead, mut well) = (0, 0);
    while let Some(task) = task(&mut queue, now) {
        assert_eq!(task.request.event, Event::Stopped);
        let is_dead = task.request.host.as_ref() == "dead";
        if is_dead {
            dead += 1
        } else {
            well += 1
        }
        queue.report(&task, if is_dead { silence() } else { answer() }, now);
    }
    assert_eq!((dead, well), (1, 10));
    assert!(queue.torrents.is_empty() && queue.planned.is_empty());
    queue.add(&target(1, &["http://well/announce"]), false, now);
    assert!(queue.torrents.is_empty());
}

#[test]
fn a_warning_is_logged_once_and_escaped() {
    let now = Instant::now();
    let mut queue = queue(1);
    queue.add(&target(1, &["http://a/announce"]), false, now);
    let warning = || Ok(AnnounceResponse { warning: Some("up\x1b[1mdate".into()), ..answer().unwrap() });
    let first = task(&mut queue, now).unwrap();
    let (level, line) = queue.report(&first, warning(), now).line.unwrap();
    assert_eq!(level, log::Level::Warn);
    assert!(line.ends_with("up\\u{1b}[1mdate"), "{line}");
    let later = wait(&mut queue, now).unwrap();
    let second = task(&mut queue, later).unwrap();
    assert_eq!(queue.report(&second, warning(), later).line, None);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Add(u8, u8),
    Remove(u8),
    Complete(u8),
    WantPeers(u8),
    Next,
    Report(u8, bool),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u8..6, 0_u8..8).prop_map(|(torrent, trackers)| Step::Add(torrent, trackers)),
        1 => (0_u8..6).prop_map(Step::Remove),
        1 => (0_u8..6).prop_map(Step::Complete),
        1 => (0_u8..6).prop_map(Step::WantPeers),
        6 => Just(Step::Next),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(which, well)| Step::Report(which, well)),
        2 => (0_u16..300).prop_map(Step::Pass),
    ]
}

/// Any subset of three trackers.
fn subset(target_of: u8, trackers: u8) -> AnnounceTarget {
    let urls = ["http://a/announce", "http://b/announce", "http://c/announce"];
    let urls: Vec<&str> = (0..3).filter(|bit| trackers >> bit & 1 == 1).map(|bit| urls[bit]).collect();
    target(target_of, &urls)
}

proptest! {
    /// Whatever happens: per host so many in flight, per torrent one; nothing is lost; and when all is removed and the
    /// rest reported, nothing is left.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec(step(), 1..150), limit in 1_usize..3) {
        let mut now = Instant::now();
        let mut queue = queue(limit);
        let mut in_flight: Vec<Task> = Vec::new();
        for step in steps {
            match step {
                Step::Add(torrent, trackers) => { queue.add(&subset(torrent, trackers), trackers % 2 == 0, now); }
                Step::Remove(torrent) => queue.remove(hash(torrent), now),
                Step::Complete(torrent) => queue.completed(hash(torrent), now),
                Step::WantPeers(torrent) => queue.want_peers(hash(torrent), now),
                Step::Next => in_flight.extend(task(&mut queue, now)),
                Step::Report(which, well) => if !in_flight.is_empty() {
                    let task = in_flight.swap_remove(usize::from(which) % in_flight.len());
                    queue.report(&task, if well { answer() } else { silence() }, now);
                },
                Step::Pass(seconds) => now += Duration::from_secs(seconds.into()),
            }
            check(&queue, &in_flight, limit);
        }
        for torrent in 0..6 {
            queue.remove(hash(torrent), now);
        }
        loop {
            in_flight.extend(task(&mut queue, now));
            check(&queue, &in_flight, limit);
            let Some(task) = in_flight.pop() else { break };
            queue.report(&task, answer(), now);
        }
        prop_assert!(queue.torrents.is_empty(), "{queue:?}");
        prop_assert!(queue.planned.is_empty() && queue.hosts.values().all(|host| host.queued.is_empty()));
    }
}

fn check(queue: &Queue, in_flight: &[Task], limit: usize) {
    let mut hosts: HashMap<&str, usize> = HashMap::new();
    for task in in_flight {
        *hosts.entry(&task.request.host).or_default() += 1;
        assert_eq!(queue.torrents[&task.info_hash].place, Place::InFlight);
    }
    assert!(hosts.values().all(|count| *count <= limit));
    for (name, host) in &queue.hosts {
        assert_eq!(host.in_flight, hosts.get(name.as_ref()).copied().unwrap_or(0));
        assert!(
            host.queued.is_empty() || host.in_flight == limit || queue.ready.contains(name),
            "{name} sleeps"
        );
    }
    for (info_hash, torrent) in &queue.torrents {
        match &torrent.place {
            Place::Planned(deadline) => assert!(queue.planned.contains(&(*deadline, *info_hash))),
            Place::Queued(host) => assert!(queue.hosts[host].queued.contains(info_hash)),
            Place::InFlight => assert!(in_flight.iter().any(|task| task.info_hash == *info_hash)),
            Place::Idle => assert_eq!(torrent.schedule.deadline(), None),
        }
    }
    assert_eq!(
        queue.planned.len(),
        queue.torrents.values().filter(|t| matches!(t.place, Place::Planned(_))).count()
    );
}
