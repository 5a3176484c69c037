//! What the user wants of the torrent changes: the files are made ready for it, and then the core hears of it.

use super::Runner;
use crate::control::api::TorrentState;
use crate::options::{Priority, TorrentOptions};
use crate::resume::ResumeError;
use crate::torrent::Notice;
use crate::torrent::event::Event;
use crate::torrent::selection::{Selection, by_file};

impl Runner {
    /// What the user wants may have changed. Files that are wanted only now first get the bytes that wait for them in the
    /// part file: what is written from then on goes to them.
    pub(super) fn select(&mut self, options: &TorrentOptions, asked: u64) {
        self.asked = asked;
        // Other files may be the same pieces: those that have none of their own, or no bytes.
        if options.priorities == self.active.options.priorities {
            if !self.selecting {
                self.active.stats.carried_out(asked);
            }
            return;
        }
        let selection = Selection::of(&self.active.metainfo, &options.priorities);
        let layout = self.active.link.storage.layout();
        let wanted = by_file(&self.active.metainfo, &options.priorities)
            .filter(|&(_, priority)| priority != Priority::Skip)
            .map(|(index, _)| index);
        let files: Vec<usize> = wanted.filter(|&index| layout.is_parted(index)).collect();
        self.selection = selection;
        self.selecting = true;
        let at_once = files.is_empty();
        self.saving.place(files);
        if at_once {
            self.selected();
        }
    }

    /// The files that are wanted are ready for it.
    fn selected(&mut self) {
        if std::mem::take(&mut self.selecting) {
            self.feed(Event::Selected(self.selection.clone()));
            let wanted_len = self.selection.wanted_len(&self.geometry);
            self.active.stats.set_wanted(wanted_len, self.core.lacking());
            // What was lacking when the session looked may have come since: the core has nothing to say then.
            if self.core.is_complete() && self.active.stats.state() == TorrentState::Downloading {
                self.active.stats.set_state(TorrentState::Seeding);
            }
            self.active.stats.carried_out(self.asked);
            // It may have been taken for a download, and what it reached for no goal.
            self.unsaid.push_back(Notice::Looked(self.active.link.info_hash));
        }
    }

    /// A checkpoint is over; perhaps files got their own bytes with it.
    pub(super) fn checkpointed(&mut self, outcome: Result<(), ResumeError>) {
        match self.saving.done(&self.active, outcome) {
            Ok(true) if !self.saving.is_placing() => self.selected(),
            Ok(_) => {}
            Err(error) => self.fail(&error, true),
        }
    }

    /// All that is wanted is had.
    pub(super) fn completed(&mut self) {
        log::info!("{}: complete, seeding", self.active.name);
        if self.active.stats.state() == TorrentState::Downloading {
            self.active.stats.set_state(TorrentState::Seeding);
        }
        self.saving.completed();
        self.unsaid.push_back(Notice::Completed(self.active.link.info_hash));
    }

    /// More is wanted than before.
    pub(super) fn incomplete(&mut self) {
        log::info!("{}: more is wanted, downloading", self.active.name);
        if self.active.stats.state() == TorrentState::Seeding {
            self.active.stats.set_state(TorrentState::Downloading);
        }
        self.saving.incomplete();
        // It needs a place of the other kind.
        self.unsaid.push_back(Notice::Looked(self.active.link.info_hash));
    }
}
