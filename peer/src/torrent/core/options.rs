//! What the user set for the torrent, as far as the core acts on it.

use std::sync::Arc;

use super::{Context, Core};
use crate::options::TorrentOptions;
use crate::torrent::event::{CloseReason, PeerKey};

impl Core {
    /// The user has set something: it holds from now on.
    pub(super) fn set_options(&mut self, options: Arc<TorrentOptions>, cx: &mut Context<'_>) {
        self.options = options;
        self.pieces.sequential = self.options.sequential.unwrap_or(self.config.sequential);
        self.shed_connections(cx);
    }

    /// Connections that the torrent may have: its own number, or the configured one.
    pub(super) fn max_connections(&self) -> usize {
        self.options.max_connections.unwrap_or(self.config.max_connections)
    }

    /// Closes what is over the limit: first whom nobody wants anything of, then who moves least, of those the newest.
    fn shed_connections(&mut self, cx: &mut Context<'_>) {
        let over = self.peers.len().saturating_sub(self.max_connections());
        if over == 0 {
            return;
        }
        let mut order: Vec<(bool, u64, std::cmp::Reverse<PeerKey>)> = self
            .peers
            .iter()
            .map(|(&key, peer)| {
                let wanted = peer.they_want || peer.we_want && !peer.snubbed;
                let rate = peer.down.at(cx.now).saturating_add(peer.up.at(cx.now));
                (wanted, rate, std::cmp::Reverse(key))
            })
            .collect();
        order.sort_unstable();
        for (_, _, key) in order.into_iter().take(over) {
            self.close(key.0, CloseReason::Full, cx);
        }
    }
}
