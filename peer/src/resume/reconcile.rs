//! What is had, from checkpoint, journals and the files as they are: a pure function.
//!
//! A file's bytes are believed when its length and mtime are what our own writes left: nobody else wrote to it since, unless
//! they faked both. So what must be told apart is our mtimes from others'.
//!
//! - No record names the file: it must have exactly the checkpoint's stamp.
//! - Records of this boot: the last (or, when two threads overtook each other, the latest) mtime that we saw after a write.
//!   A piece that was begun and not written may have changed it once more, soon after it was begun.
//! - A file that grows (the part file, and others without preallocation) may be longer than the checkpoint says.
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
/// A write is over so long after it was noted, or noted again: a disk that takes longer costs hashing the file again.
/// Somebody else's write to the file within this time after a kill is taken for ours: the less the better.
const WRITE_TIME_NS: i64 = 10_000_000_000;
/// The end of a journal reaches the device within this time.
const JOURNAL_TIME_NS: i64 = 60_000_000_000;

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
    let known = layout.part() + 1;
    let (Some(had), true, true) = (saved.had(&geometry), saved.stamps.len() == known, stamps.len() == known)
    else {
        return all_suspect().without_missing(stamps, layout);
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
        let until_ns = journalled.latest_ns.max(saved.saved_ns).saturating_add(JOURNAL_TIME_NS);
        saved.saved_ns.saturating_sub(CLOCK_SLACK_NS)..=until_ns
    });
    let believed = |index: usize, then: Stamp, now: Stamp| {
        let touched = journalled.files.get(&index);
        let unchanged = then == now && (power_cut || touched.is_none_or(|touched| touched.last_ns.is_none()));
        let explained = touched.is_some_and(|touched| touched.explains(now.mtime_ns))
            // The length may have reached the device, and the time not.
            || lost.as_ref().is_some_and(|lost| now.mtime_ns == then.mtime_ns || lost.contains(&now.mtime_ns));
        unchanged || (then.len..=layout.max_len(index)).contains(&now.len) && explained
    };
    for (index, (&then, now)) in saved.stamps.iter().zip(stamps).enumerate() {
        let padding = layout.files().get(index).is_some_and(|file| file.padding);
        if padding || layout.is_parted(index) {
            continue;
        }
        // The part file is made when it is first written to.
        let begun = Stamp { len: 0, mtime_ns: i64::MIN };
        let then = then.or_else(|| (index == layout.part()).then_some(begun));
        if matches!((then, now), (Some(then), Some(now)) if believed(index, then, *now)) {
            continue;
        }
        for piece in layout.pieces_of(index) {
            verdict.had.remove(piece);
            verdict.suspect.insert(piece);
        }
    }
    verdict.without_missing(stamps, layout)
}

/// The latest time in any record, in nanoseconds since 1970.
pub(super) fn latest_ns(parts: &[Part]) -> Option<i64> {
    let records = parts.iter().flat_map(|part| &part.records);
    let times = records.filter_map(|record| match *record {
        Record::Begin { at_ns, .. } => Some(at_ns),
        Record::Stamp { mtime_ns, .. } => Some(mtime_ns),
        Record::Written { .. } | Record::Doubt => None,
    });
    times.max()
}

impl Verdict {
    /// Where a file is missing there is nothing to hash.
    fn without_missing(mut self, stamps: &[Option<Stamp>], layout: &Layout) -> Self {
        let padding = |index: usize| layout.files().get(index).is_some_and(|file| file.padding);
        for (index, _) in stamps.iter().enumerate().filter(|(_, stamp)| stamp.is_none()) {
            if padding(index) || layout.is_parted(index) {
                continue;
            }
            for piece in layout.pieces_of(index) {
                self.suspect.remove(piece);
            }
        }
        self
    }
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
        [self.last_ns, self.latest_ns].contains(&Some(mtime_ns))
            || self.begun_ns.iter().any(|&begun_ns| may_be_of(begun_ns, mtime_ns))
    }
}

/// Whether the write of a piece that was begun then, and of which no more is known, may have left this mtime.
pub(super) fn may_be_of(begun_ns: i64, mtime_ns: i64) -> bool {
    (begun_ns.saturating_sub(CLOCK_SLACK_NS)..=begun_ns.saturating_add(WRITE_TIME_NS)).contains(&mtime_ns)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use torrent_common::geometry::PieceIndex;

    use super::super::record::Header;
    use super::super::saved::tests::details;
    use super::*;
    use crate::storage::testing::{TestFile, torrent};

    const BOOT: Option<BootId> = Some(BootId::new(1));
    const OTHER: Option<BootId> = Some(BootId::new(2));
    /// When the checkpoint was made; the files' mtimes are a day older.
    const SAVED_NS: i64 = 1_700_000_000_000_000_000;
    const OLD_NS: i64 = SAVED_NS - 86_400 * SECOND_NS;
    const SECOND_NS: i64 = 1_000_000_000;
    /// A time after the checkpoint.
    const T_NS: i64 = SAVED_NS + 1000 * SECOND_NS;

    const WRITTEN: Record = Record::Written { piece: 2 };
    const BEGIN: Record = Record::Begin { piece: 2, at_ns: T_NS };
    const STAMP: Record = Record::Stamp { file: 0, mtime_ns: T_NS };

    /// Pieces 0 to 2 in file 0, 2 to 4 in file 1. 0 and 4 are had at the checkpoint, in `BOOT`. Gives back what is had and
    /// what is suspect, file 0 having this mtime now.
    fn judge(
        records: &[(Option<BootId>, &[Record])],
        mtime_ns: i64,
        now: Option<BootId>,
    ) -> (Vec<u32>, Vec<u32>) {
        judge_of(&[0, 4], records, Some(Stamp { len: 250, mtime_ns }), now)
    }

    fn judge_of(
        had: &[u32],
        records: &[(Option<BootId>, &[Record])],
        file: Option<Stamp>,
        now: Option<BootId>,
    ) -> (Vec<u32>, Vec<u32>) {
        let metainfo = torrent("t", &TestFile::list(&[("a", 250), ("b", 250)]), 100, None);
        let geometry = metainfo.geometry;
        let layout = Layout::new(metainfo.clone());
        let mut saved = Saved::new(metainfo.info_hash, details(), SystemTime::UNIX_EPOCH);
        saved.details.piece_count = 5;
        saved.boot = BOOT;
        saved.saved_ns = SAVED_NS;
        let stamp = Stamp { len: 250, mtime_ns: OLD_NS };
        saved.stamps = vec![Some(stamp), Some(stamp), None];
        let mut bits = Bitfield::empty(&geometry);
        for &index in had {
            bits.insert(geometry.piece(index).unwrap());
        }
        saved.had = bits.as_bytes().into();
        let part = |&(boot, records): &(Option<BootId>, &[Record])| Part {
            header: Header { info_hash: saved.info_hash, boot, generation: 0 },
            records: records.to_vec(),
        };
        let parts: Vec<Part> = records.iter().map(part).collect();
        let verdict = reconcile(&saved, &parts, &[file, Some(stamp), None], &layout, now);
        let list = |bits: &Bitfield| bits.iter(&geometry).map(PieceIndex::get).collect();
        (list(&verdict.had), list(&verdict.suspect))
    }

    fn had(had: &[u32]) -> (Vec<u32>, Vec<u32>) {
        (had.to_vec(), vec![])
    }

    /// File 0 is hashed again.
    fn tainted() -> (Vec<u32>, Vec<u32>) {
        (vec![4], vec![0, 1, 2])
    }

    #[test]
    fn without_records_only_the_same_stamp_is_believed() {
        assert_eq!(judge(&[], OLD_NS, BOOT), had(&[0, 4]));
        assert_eq!(judge(&[], OLD_NS, OTHER), had(&[0, 4]));
        for mtime_ns in [OLD_NS - 1, OLD_NS + 1, SAVED_NS, T_NS] {
            assert_eq!(judge(&[], mtime_ns, BOOT), tainted(), "{mtime_ns}");
        }
        // A missing file leaves nothing to hash.
        assert_eq!(judge_of(&[0, 4], &[], None, BOOT), had(&[4]));
        assert_eq!(judge_of(&[0, 4], &[], Some(Stamp { len: 249, mtime_ns: OLD_NS }), BOOT), tainted());
        // Where the system tells no boot, everything is as after a power cut.
        assert_eq!(judge(&[(None, &[BEGIN, STAMP, WRITTEN])], T_NS, None), (vec![0, 4], vec![2]));
    }

    #[test]
    fn written_pieces_are_had_with_the_mtime_that_was_seen() {
        let records: &[Record] = &[BEGIN, STAMP, WRITTEN];
        assert_eq!(judge(&[(BOOT, records)], T_NS, BOOT), had(&[0, 2, 4]));
        // Also not the old one: somebody put an old copy back.
        for mtime_ns in [T_NS - 1, T_NS + 1, OLD_NS] {
            assert_eq!(judge(&[(BOOT, records)], mtime_ns, BOOT), tainted(), "{mtime_ns}");
        }
        // Two threads overtook each other, or the clock was set back: the latest or the last.
        let earlier = Record::Stamp { file: 0, mtime_ns: T_NS - 9 };
        let records: &[Record] = &[BEGIN, STAMP, earlier, WRITTEN];
        assert_eq!(judge(&[(BOOT, records)], T_NS, BOOT), had(&[0, 2, 4]));
        assert_eq!(judge(&[(BOOT, records)], T_NS - 9, BOOT), had(&[0, 2, 4]));
        assert_eq!(judge(&[(BOOT, records)], T_NS - 8, BOOT), tainted());
    }

    #[test]
    fn an_unfinished_piece_explains_ten_seconds() {
        for (records, gone_on) in [(&[BEGIN] as &[Record], false), (&[STAMP, BEGIN], true)] {
            for mtime_ns in [T_NS - SECOND_NS, T_NS, T_NS + 9 * SECOND_NS] {
                assert_eq!(judge(&[(BOOT, records)], mtime_ns, BOOT), had(&[0, 4]), "{mtime_ns}");
            }
            for mtime_ns in [T_NS - 3 * SECOND_NS, T_NS + 11 * SECOND_NS] {
                assert_eq!(judge(&[(BOOT, records)], mtime_ns, BOOT), tainted(), "{mtime_ns}");
            }
            assert_eq!(judge(&[(BOOT, records)], OLD_NS, BOOT) == had(&[0, 4]), !gone_on);
        }
        // What was had and is begun again is not had.
        let again: &[Record] = &[Record::Begin { piece: 0, at_ns: T_NS }];
        assert_eq!(judge(&[(BOOT, again)], T_NS, BOOT), had(&[4]));
        // Finished in the other journal.
        assert_eq!(judge(&[(BOOT, &[BEGIN]), (BOOT, &[STAMP, WRITTEN])], T_NS, BOOT), had(&[0, 2, 4]));
        assert_eq!(judge(&[(BOOT, &[BEGIN]), (BOOT, &[STAMP, WRITTEN])], T_NS + 1, BOOT), tainted());
    }

    #[test]
    fn after_a_power_cut_any_of_our_times_is_believed_and_the_journal_is_not() {
        for records in [&[BEGIN, STAMP, WRITTEN] as &[Record], &[BEGIN], &[WRITTEN]] {
            assert_eq!(judge(&[(BOOT, records)], OLD_NS, OTHER), (vec![0, 4], vec![2]));
        }
        let records: &[Record] = &[BEGIN, STAMP, WRITTEN];
        for mtime_ns in [SAVED_NS, SAVED_NS + 9, T_NS + 59 * SECOND_NS] {
            assert_eq!(judge(&[(BOOT, records)], mtime_ns, OTHER), (vec![0, 4], vec![2]), "{mtime_ns}");
        }
        for mtime_ns in [OLD_NS + 1, SAVED_NS - 3 * SECOND_NS, T_NS + 61 * SECOND_NS] {
            assert_eq!(judge(&[(BOOT, records)], mtime_ns, OTHER), tainted(), "{mtime_ns}");
        }
        assert_eq!(judge(&[], SAVED_NS + SECOND_NS, OTHER), had(&[0, 4]));
        assert_eq!(judge(&[], SAVED_NS + 61 * SECOND_NS, OTHER), tainted());
        // Nothing of ours was written to a complete torrent.
        let changed = Some(Stamp { len: 250, mtime_ns: SAVED_NS });
        assert_eq!(judge_of(&[0, 1, 2, 3, 4], &[], changed, OTHER), (vec![3, 4], vec![0, 1, 2]));
    }

    #[test]
    fn after_a_failed_flush_nothing_since_the_checkpoint_is_believed() {
        let records: &[Record] = &[BEGIN, STAMP, WRITTEN];
        assert_eq!(judge(&[(BOOT, records), (BOOT, &[Record::Doubt])], T_NS, BOOT), (vec![0, 4], vec![2]));
    }

    #[test]
    fn records_of_what_is_not_there_are_harmless() {
        let records: &[Record] = &[
            Record::Written { piece: 5 },
            Record::Begin { piece: u32::MAX, at_ns: i64::MAX },
            Record::Stamp { file: u32::MAX, mtime_ns: i64::MIN },
        ];
        assert_eq!(judge(&[(BOOT, records)], OLD_NS, BOOT), had(&[0, 4]));
    }
}
