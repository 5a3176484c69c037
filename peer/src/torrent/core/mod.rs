//! Decides for one torrent: whom to ask for what, whom to answer, whom to dial, whom to drop. A pure function of
//! (state, event, time, random source): it opens nothing and never sleeps, so a swarm of them runs on a virtual clock.

mod config;

use std::time::Instant;

use torrent_common::bitfield::Bitfield;
use torrent_common::geometry::Geometry;

pub use config::{Budget, CoreConfig, CoreStats};

use super::event::{Effect, Event};

/// The state of one torrent's swarm.
pub struct Core {
    geometry: Geometry,
    had: Bitfield,
    config: CoreConfig,
}

impl Core {
    /// A torrent that has the pieces `had` and knows nobody.
    pub fn new(geometry: Geometry, had: Bitfield, config: CoreConfig, _now: Instant) -> Self {
        Self { geometry, had, config }
    }

    /// Takes one event at time `now` and appends what is to be done about it, in order.
    pub fn handle(
        &mut self,
        _event: Event,
        _now: Instant,
        _random: &mut fastrand::Rng,
        _budget: &dyn Budget,
        _effects: &mut Vec<Effect>,
    ) {
    }

    /// Whether this block belongs to a begun piece and has not arrived.
    pub fn wants(&self, _block: torrent_common::geometry::BlockRef) -> bool {
        false
    }

    /// When [`Event::Tick`] is due; None when there is nothing to wait for.
    pub fn next_wake(&self) -> Option<Instant> {
        None
    }

    /// The torrent at a glance.
    pub fn stats(&self, _now: Instant) -> CoreStats {
        CoreStats::default()
    }

    /// Every piece is had.
    pub fn is_complete(&self) -> bool {
        self.had.is_full()
    }

    /// Closes every peer and gives back what is reserved. The core is of no use afterwards.
    pub fn shutdown(&mut self, _budget: &dyn Budget, _effects: &mut Vec<Effect>) {}

    /// Checks the books against each other. For tests.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        assert!(self.config.upload_slots > 0);
        assert_eq!(self.had.len(), self.geometry.piece_count());
    }
}
