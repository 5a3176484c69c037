//! What is had, from checkpoint, journals and the files as they are: a pure function.
//!
//! A file's bytes are believed when its length and mtime are what our own writes left: nobody else wrote to it since, unless
//! they faked both. So what must be told apart is our mtimes from others'.
//!
//! - No record names the file: it must have exactly the checkpoint's stamp.
//! - Records of this boot: the last (or, when two threads overtook each other, the latest) mtime that we saw after a write.
//!   A piece that was begun and not written may have changed it once more, soon after it was begun.
//! - Another boot, and an incomplete torrent: the file system may have kept any of the mtimes since the checkpoint, and lost
//!   the end of the journal, which reaches the device half a minute late; but nothing of ours is later than that. What was
//!   had at the checkpoint was flushed, so no write that is lost or torn reaches it.

use std::collections::{BTreeMap, HashMap};

use torrent_common::bitfield::Bitfield;

use super::record::{Part, Record};
use super::{BootId, Saved};
use crate::storage::Stamp;
use crate::storage::layout::Layout;

/// The clock that files' times come from ticks a few ms behind the one we read; some file systems round to 2 s.
const CLOCK_SLACK_NS: i64 = 2_000_000_000;
/// A piece is written within this time, or the end of a journal reaches the device.
const WRITE_TIME_NS: i64 = 60_000_000_000;

/// What is known without hashing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// These pieces are on disk and right.
    pub had: Bitfield,
    /// These may be: hash them.
    pub suspect: Bitfield,
}

/// What the journals say of one file.
#[derive(Debug, Clone, Default)]
struct Touched {
    /// The last noted.
    last_ns: Option<i64>,
    /// The latest noted.
    latest_ns: Option<i64>,
    /// When the unfinished pieces that have bytes of it were begun.
    begun_ns: Vec<i64>,
}

/// What the journals say.
#[derive(Debug, Default)]
struct Journalled {
    /// The last thing said of a piece.
    pieces: BTreeMap<u32, Said>,
    files: HashMap<usize, Touched>,
    /// Flushing failed once.
    doubt: bool,
    /// The latest time in any record.
    latest_ns: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Begun { same_boot: bool },
    Written { same_boot: bool },
}

/// Judges every piece. `stamps` are the files' now, `boot` is this start of the machine.
pub fn reconcile(
    saved: &Saved,
    parts: &[Part],
    stamps: &[Option<Stamp>],
    layout: &Layout,
    boot: Option<BootId>,
) -> Verdict {
    let geometry = layout.metainfo().geometry;
    let all_suspect = || Verdict { had: Bitfield::empty(&geometry), suspect: Bitfield::full(&geometry) };
    let known = layout.files().len();
    let (Some(had), true, true) = (saved.had(&geometry), saved.stamps.len() == known, stamps.len() == known)
    else {
        return all_suspect();
    };
    let mut verdict = Verdict { had, suspect: Bitfield::empty(&geometry) };
    let same_boot = |id: Option<BootId>| id.is_some() && id == boot;
    let journalled = Journalled::read(parts, layout, same_boot);
    for (&index, &said) in &journalled.pieces {
        let Some(piece) = geometry.piece(index) else { continue };
        match said {
            Said::Written { same_boot: true } if !journalled.doubt => {
                verdict.had.insert(piece);
            }
            Said::Begun { same_boot: true } if !journalled.doubt => {
                verdict.had.remove(piece);
            }
            _ => {
                verdict.had.remove(piece);
                verdict.suspect.insert(piece);
            }
        }
    }
    let power_cut = match parts {
        [] => !same_boot(saved.boot),
        parts => !parts.iter().all(|part| same_boot(part.header.boot)),
    };
    // Of a torrent that was complete, nothing was written since.
    let lost = (power_cut && !saved.is_complete()).then(|| {
        let until_ns = journalled.latest_ns.max(saved.saved_ns).saturating_add(WRITE_TIME_NS);
        saved.saved_ns.saturating_sub(CLOCK_SLACK_NS)..=until_ns
    });
    let believed = |index: usize, then: Stamp, now: Stamp| {
        let touched = journalled.files.get(&index);
        let unchanged = then == now && (power_cut || touched.is_none_or(|touched| touched.last_ns.is_none()));
        let explained = touched.is_some_and(|touched| touched.explains(now.mtime_ns))
            || lost.as_ref().is_some_and(|lost| lost.contains(&now.mtime_ns));
        unchanged || then.len == now.len && explained
    };
    for (index, (then, now)) in saved.stamps.iter().zip(stamps).enumerate() {
        let padding = layout.files().get(index).is_some_and(|file| file.padding);
        if padding || matches!((then, now), (Some(then), Some(now)) if believed(index, *then, *now)) {
            continue;
        }
        for piece in layout.pieces_of(index) {
            verdict.had.remove(piece);
            verdict.suspect.insert(piece);
        }
    }
    verdict
}

impl Journalled {
    fn read(parts: &[Part], layout: &Layout, same_boot: impl Fn(Option<BootId>) -> bool) -> Self {
        let mut this = Self { latest_ns: i64::MIN, ..Self::default() };
        let mut begun = BTreeMap::new();
        for part in parts {
            let same_boot = same_boot(part.header.boot);
            for &record in &part.records {
                match record {
                    Record::Begin { piece, at_ns } => {
                        this.latest_ns = this.latest_ns.max(at_ns);
                        this.pieces.insert(piece, Said::Begun { same_boot });
                        begun.insert(piece, at_ns);
                    }
                    Record::Written { piece } => {
                        this.pieces.insert(piece, Said::Written { same_boot });
                        begun.remove(&piece);
                    }
                    Record::Stamp { file, mtime_ns } => {
                        this.latest_ns = this.latest_ns.max(mtime_ns);
                        let touched = this.files.entry(file as usize).or_default();
                        touched.last_ns = Some(mtime_ns);
                        touched.latest_ns = touched.latest_ns.max(Some(mtime_ns));
                    }
                    Record::Doubt => this.doubt = true,
                }
            }
        }
        for (piece, at_ns) in begun {
            let Some(piece) = layout.metainfo().geometry.piece(piece) else { continue };
            for file in layout.piece_segments(piece).filter_map(|segment| segment.file) {
                this.files.entry(file).or_default().begun_ns.push(at_ns);
            }
        }
        this
    }
}

impl Touched {
    /// Whether a write of ours may have left this mtime.
    fn explains(&self, mtime_ns: i64) -> bool {
        let unfinished = |at: &i64| {
            (at.saturating_sub(CLOCK_SLACK_NS)..=at.saturating_add(WRITE_TIME_NS)).contains(&mtime_ns)
        };
        [self.last_ns, self.latest_ns].contains(&Some(mtime_ns)) || self.begun_ns.iter().any(unfinished)
    }
}
