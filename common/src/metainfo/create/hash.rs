//! Hashes a payload: on the current rayon pool, where each task takes the next run of pieces and hashes its two halves
//! side by side, or in order on one thread. Read in small parts: memory depends neither on the piece length nor on the
//! files.

use std::slice::IterMut;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::read::Reader;
use super::walk::Payload;
use super::{CreateError, Progress};
use crate::hash::{Buffers, Messages, Part, ReadOrder, hash_in_order, hash_side_by_side, messages_per_run};

/// The SHA-1 of every piece, in order.
pub(super) fn hash(
    payload: &Payload,
    piece_len: u64,
    order: ReadOrder,
    progress: &Progress,
) -> Result<Vec<[u8; 20]>, CreateError> {
    let pieces = payload.total_len.div_ceil(piece_len);
    let mut hashes = vec![[0; 20]; usize::try_from(pieces).unwrap_or(usize::MAX)];
    if order == ReadOrder::Sequential {
        hash_in_order(&mut Pieces::new(payload, piece_len, 0, &mut hashes, progress))?;
        return Ok(hashes);
    }
    let run_pieces = messages_per_run(hashes.len(), piece_len, rayon::current_num_threads());
    let runs = hashes.chunks_mut(run_pieces).zip((0_u64..).step_by(run_pieces));
    runs.par_bridge().try_for_each_init(Buffers::default, |buffers, (run, first)| {
        let (a, b) = run.split_at_mut(run.len().div_ceil(2));
        let second = first + a.len() as u64;
        let mut a = Pieces::new(payload, piece_len, first, a, progress);
        let mut b = Pieces::new(payload, piece_len, second, b, progress);
        hash_side_by_side(&mut a, &mut b, buffers)
    })?;
    Ok(hashes)
}

/// Pieces that follow one another, to be read in parts.
struct Pieces<'a> {
    reader: Reader<'a>,
    piece_len: u64,
    /// Pieces that are not begun.
    unread: usize,
    /// Bytes that may be left of the piece that is read; `None` between pieces.
    rest: Option<u64>,
    hashes: IterMut<'a, [u8; 20]>,
    progress: &'a Progress,
}

impl<'a> Pieces<'a> {
    fn new(
        payload: &'a Payload,
        piece_len: u64,
        first: u64,
        hashes: &'a mut [[u8; 20]],
        progress: &'a Progress,
    ) -> Self {
        let reader = Reader::at(payload, first * piece_len);
        Self { reader, piece_len, unread: hashes.len(), rest: None, hashes: hashes.iter_mut(), progress }
    }
}

impl Messages for Pieces<'_> {
    type Error = CreateError;

    fn read(&mut self, buffer: &mut [u8]) -> Result<Part, CreateError> {
        self.progress.check_cancel()?;
        let rest = match self.rest {
            Some(rest) => rest,
            None if self.unread == 0 => return Ok(Part::Done),
            None => {
                self.unread -= 1;
                self.piece_len
            }
        };
        let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        let len = self.reader.fill(buffer.get_mut(..wanted).unwrap_or_default())?;
        if len == 0 {
            self.rest = None;
            return Ok(Part::End);
        }
        self.rest = Some(rest - len as u64);
        self.progress.done.fetch_add(len as u64, Ordering::Relaxed);
        Ok(Part::Bytes(len))
    }

    fn digest(&mut self, digest: [u8; 20]) {
        if let Some(hash) = self.hashes.next() {
            *hash = digest;
        }
    }
}
