//! Pieces written together. Each is noted before and after it is written; for small pieces that costs more than to write
//! them, so what waits for one torrent is noted at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::Receiver;
use torrent_common::geometry::PieceIndex;
use torrent_common::worker::{Shutdown, contain};

use super::disk::WriteJob;
use super::{Stamp, StorageError};

/// Jobs are taken together until they have so many bytes: a kill forgets no more than these.
const TOGETHER_LEN: usize = 1 << 20;
/// A piece that is written so long after it was noted is noted again.
const NOTE_AGAIN: Duration = Duration::from_secs(1);

/// A piece, and the stamps that it left on its files; or why it was not written.
type Outcome = Result<Vec<(usize, Stamp)>, StorageError>;

/// Does jobs until the other end of the queue is dropped and it is empty, or what is left is given up. A job that panics takes
/// no other with it. `done` hears how many are over.
pub fn run(jobs: &Receiver<WriteJob>, given_up: &Shutdown, done: impl Fn(usize)) {
    let mut next = None;
    while let Some(first) = next.take().or_else(|| jobs.recv().ok()) {
        if given_up.is_set() {
            return;
        }
        let mut len = first.len();
        let mut group = vec![first];
        while len < TOGETHER_LEN
            && let Ok(job) = jobs.try_recv()
        {
            if !group.first().is_some_and(|first| Arc::ptr_eq(&first.journal, &job.journal)) {
                next = Some(job);
                break;
            }
            len += job.len();
            group.push(job);
        }
        let count = group.len();
        write(group);
        done(count);
    }
}

impl WriteJob {
    fn len(&self) -> usize {
        self.blocks.iter().map(|block| block.len()).sum()
    }
}

/// Writes pieces of one torrent, and answers each.
fn write(mut group: Vec<WriteJob>) {
    let outcomes = catch_unwind(AssertUnwindSafe(|| outcomes(&mut group)));
    let mut outcomes = outcomes.unwrap_or_default().into_iter();
    for WriteJob { blocks, reply, .. } in group {
        drop(blocks);
        let outcome = outcomes.next().unwrap_or(Err(StorageError::Panicked));
        contain("a disk job's reply", || reply(outcome));
    }
}

/// The outcome of each job, in order.
fn outcomes(group: &mut [WriteJob]) -> Vec<Result<(), StorageError>> {
    let Some(journal) = group.first().map(|job| Arc::clone(&job.journal)) else { return Vec::new() };
    let now = SystemTime::now();
    let pieces: Vec<PieceIndex> = group.iter().map(|job| job.piece).collect();
    let noted = journal.begin(&pieces, now).is_ok();
    let write = |job: &mut WriteJob| -> Outcome {
        // Alone: for an error of its own; and when those before took long, since a note explains what is written soon.
        let late = now.elapsed().is_ok_and(|since| since > NOTE_AGAIN);
        if !noted || late {
            journal.begin(&[job.piece], SystemTime::now())?;
        }
        let stamps = job.storage.write_piece(job.piece, &job.blocks)?;
        job.blocks.clear();
        Ok(stamps)
    };
    let written: Vec<Outcome> = group.iter_mut().map(write).collect();
    let good: Vec<_> = pieces
        .iter()
        .zip(&written)
        .filter_map(|(&piece, outcome)| Some((piece, outcome.as_ref().ok()?.as_slice())))
        .collect();
    let noted = journal.written(&good).is_ok();
    let note = |(&piece, outcome): (&PieceIndex, Outcome)| {
        let stamps = outcome?;
        if noted { Ok(()) } else { journal.written(&[(piece, stamps.as_slice())]) }
    };
    pieces.iter().zip(written).map(note).collect()
}
