//! Runs [`Core`] for one active torrent: feeds it what happens, and carries out what it decides. It waits for nothing
//! but its own queue of [`Input`]s, so everybody else may wait for it.

mod effects;
mod full;
mod inputs;
mod select;
mod tell;
#[cfg(test)]
mod tests;
mod wind_down;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use torrent_common::geometry::Geometry;
use torrent_common::ids::PeerId;

use self::full::Full;
use super::assembly::Assembly;
use super::core::Core;
use super::event::{Effect, Event, PeerKey};
use super::hashing::Hashing;
use super::input::Input;
use super::late::Outlet;
use super::saving::Saving;
use super::selection::Selection;
use super::{Active, Notice};
use crate::options::TorrentOptions;

/// Inputs handled before effects are carried out: many small ones share the rings and the look at the clock.
const MAX_TURN: usize = 128;
/// Of a new piece every connection hears, but all together at most once in so long for each of them: a thousand wake-ups a
/// piece would cost more than the piece.
const NEWS_PER_PEER: Duration = Duration::from_micros(250);
/// So long after a connection's queue was full it is tried again.
const RETRY: Duration = Duration::from_millis(5);
/// How often the shared numbers are brought up to date while something happens.
const SHOW: Duration = Duration::from_millis(250);

/// Runs a torrent until it is told to stop.
pub fn run(active: Active, inputs: &Receiver<Input>) {
    Runner::new(active).run(inputs);
}

/// The torrent's own limits are as the user set them.
fn limit(active: &Active, options: &TorrentOptions) {
    let none = 0;
    active.link.limits.own.set(options.download_limit.unwrap_or(none), options.upload_limit.unwrap_or(none));
}

struct Peer {
    outlet: Outlet,
    address: SocketAddr,
    name: PeerId,
}

struct Runner {
    geometry: Geometry,
    core: Core,
    peers: HashMap<PeerKey, Peer>,
    assembly: Assembly,
    saving: Saving,
    effects: Vec<Effect>,
    /// What we caused ourselves, to be handled before anything new.
    again: VecDeque<Event>,
    /// Notices that the session had no room for yet.
    unsaid: VecDeque<Notice>,
    hashing: Hashing,
    /// Addresses being dialled.
    dialling: usize,
    random: fastrand::Rng,
    shown: Instant,
    /// The shared numbers are not what they would be if they were shown now.
    stale: bool,
    /// Since when it is of no use to have a thread.
    idle_since: Option<Instant>,
    /// What is wanted.
    selection: Selection,
    /// The core has not heard of it yet.
    selecting: bool,
    /// The number under which it was asked for.
    asked: u64,
    /// Connections whose queue had no room.
    late: Vec<PeerKey>,
    /// New pieces that the connections were not rung for.
    news: bool,
    /// When they were last rung for new pieces.
    rung: Instant,
    /// Whether there is room on disk.
    full: Full,
    /// The last goal of uploading that was told to be reached.
    goal_told: u64,
    /// Told to stop, and until when, if not whenever the disk has answered.
    stopping: Option<Option<Instant>>,
    active: Active,
}

impl Runner {
    fn new(active: Active) -> Self {
        let now = Instant::now();
        let geometry = active.link.geometry;
        limit(&active, &active.options);
        let core = Core::new(geometry, active.link.have.snapshot(), active.core_config.clone(), now);
        Self {
            geometry,
            core,
            peers: HashMap::new(),
            assembly: Assembly::default(),
            saving: Saving::new(&active, now),
            effects: Vec::new(),
            again: VecDeque::from([Event::Options(Arc::clone(&active.options))]),
            unsaid: VecDeque::new(),
            hashing: Hashing::new(&active),
            dialling: 0,
            random: fastrand::Rng::new(),
            shown: now,
            stale: true,
            idle_since: None,
            late: Vec::new(),
            selection: active.core_config.selection.clone(),
            selecting: false,
            asked: 0,
            news: false,
            rung: now,
            full: Full::default(),
            goal_told: u64::MAX,
            stopping: None,
            active,
        }
    }

    fn run(&mut self, inputs: &Receiver<Input>) {
        // A complete torrent may wait for ever for its first input: begin to count now.
        self.turn(Instant::now());
        let deadline = loop {
            if let Some(deadline) = self.stopping {
                break deadline;
            }
            let next = match self.deadline() {
                Some(deadline) => inputs.recv_deadline(deadline),
                None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(input) => {
                    self.take(input);
                    inputs.try_iter().take(MAX_TURN).for_each(|input| self.take(input));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.turn(Instant::now());
        };
        self.wind_down(inputs, deadline);
    }

    fn deadline(&self) -> Option<Instant> {
        let retry = (!self.unsaid.is_empty()).then(|| Instant::now() + SHOW);
        let linger = self.idle_since.map(|since| since + self.active.linger);
        let show = self.stale.then(|| self.shown + SHOW);
        let news = self.news.then(|| self.next_news());
        let late = (!self.late.is_empty()).then(|| Instant::now() + RETRY);
        let room = [self.core.next_wake(), self.hashing.next_wake(), self.saving.next_wake()];
        let all = room.into_iter().chain([retry, linger, show, news, late, self.full.next_look()]);
        all.flatten().min()
    }

    /// When the connections may be rung for new pieces: at once while they are few.
    fn next_news(&self) -> Instant {
        let peers = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.rung + NEWS_PER_PEER.saturating_mul(peers)
    }

    /// What is to be done after inputs or a deadline.
    fn turn(&mut self, now: Instant) {
        self.core.limit_download(self.active.link.limits.download_rate());
        if self.core.next_wake().is_some_and(|wake| wake <= now) {
            self.feed(Event::Tick);
        }
        while let Some(event) = self.again.pop_front() {
            self.feed(event);
        }
        self.active.link.have.hide(self.core.hides(now));
        self.send_late();
        if self.news && self.next_news() <= now {
            (self.news, self.rung) = (false, now);
            self.peers.values().for_each(|peer| peer.outlet.ring());
        }
        self.hashing.turn(now);
        self.saving.turn(&self.active, now);
        self.look_for_room(now);
        if now.duration_since(self.shown) >= SHOW {
            self.show(now);
        } else {
            self.stale = true;
        }
        self.consider_rest(now);
        self.speak();
    }
}
