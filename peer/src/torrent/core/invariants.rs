//! The books checked against each other, for tests and the simulation.

use std::collections::BTreeSet;

use torrent_common::geometry::BlockRef;

use super::Core;
use crate::torrent::event::PeerKey;

impl Core {
    /// Checks the books against each other. Costs much: for tests.
    pub fn check_invariants(&self) {
        let owed: Vec<(PeerKey, BlockRef)> = self
            .peers
            .iter()
            .flat_map(|(&key, peer)| peer.outstanding.iter().map(move |request| (key, request.block)))
            .collect();
        let distinct: BTreeSet<_> = owed.iter().copied().collect();
        assert_eq!(distinct.len(), owed.len(), "a block is owed twice by one peer");
        self.pieces.check_invariants(&distinct);
        self.dialler.check_invariants();
        self.check_slots();
        self.check_peers_books();
        self.check_show();
        assert!(self.timers.is_armed_for_fetching(self.is_fetching()), "blocks are fetched and nobody looks");
    }

    fn check_peers_books(&self) {
        assert!(self.peers.len() <= self.config.max_connections);
        assert_eq!(self.by_id.len(), self.peers.len(), "one key for each peer id");
        for (&key, peer) in &self.peers {
            assert_eq!(self.by_id.get(&peer.info.peer_id), Some(&key));
            let lacking = self.pieces.lacking();
            let wanted =
                peer.have.iter(self.pieces.geometry()).filter(|&piece| lacking.contains(piece)).count();
            assert_eq!(peer.wanted as usize, wanted, "{key:?}: wanted");
            assert_eq!(peer.we_want, wanted > 0, "{key:?}: interest");
            assert!(!(self.is_complete() && peer.have.is_full()), "{key:?}: neither wants anything");
        }
        for piece in self.pieces.geometry().pieces() {
            let having = self.peers.values().filter(|peer| peer.have.contains(piece)).count();
            assert_eq!(self.pieces.picker.availability(piece) as usize, having, "{piece:?}: availability");
        }
    }
}
