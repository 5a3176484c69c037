//! What is wanted: it may change at any time.

use super::{Context, Core};
use crate::torrent::event::Effect;
use crate::torrent::selection::Selection;

impl Core {
    /// Something else is wanted. What is being fetched and is not wanted any more is taken back; what is being hashed or
    /// written is let go on.
    pub(super) fn select(&mut self, selection: Selection, cx: &mut Context<'_>) {
        let was_complete = self.is_complete();
        let asked = self.pieces.select(selection, cx);
        self.take_back(asked, cx);
        for key in self.peers.keys().copied().collect::<Vec<_>>() {
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.wanted = self.pieces.wanted_of(&peer.have);
                peer.dry = None;
                self.update_interest(key, cx);
            }
        }
        match (was_complete, self.is_complete()) {
            (false, true) => self.completed(cx),
            (true, false) => {
                cx.effects.push(Effect::Incomplete);
                self.dialler.revive(cx.now, cx.random);
            }
            _ => {}
        }
    }
}
