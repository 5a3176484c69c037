//! Memory for payload in flight: block buffers that are reused (fresh memory is dear), and a byte budget that bounds
//! the pieces being received.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Block buffers for all torrents, and the budget they come from.
#[derive(Debug)]
pub struct BlockPool {
    block_len: usize,
    budget_len: u64,
    reserved: AtomicU64,
    free: Mutex<Vec<Box<[u8]>>>,
}

/// One block's memory. Goes back to its pool on drop.
#[derive(Debug)]
pub struct BlockBuf {
    bytes: Box<[u8]>,
    len: usize,
    pool: Arc<BlockPool>,
}

impl BlockPool {
    /// Buffers of `block_len` bytes; pieces of up to `budget_len` bytes in all may be in flight.
    pub fn new(block_len: u32, budget_len: u64) -> Arc<Self> {
        Arc::new(Self {
            block_len: block_len as usize,
            budget_len,
            reserved: AtomicU64::new(0),
            free: Mutex::new(Vec::new()),
        })
    }

    /// Reserves room for a piece of `len` bytes; false when the budget is spent. Each success is paid back by one
    /// [`BlockPool::release`].
    pub fn try_reserve(&self, len: u64) -> bool {
        let fits = |reserved: u64| reserved.checked_add(len).filter(|&sum| sum <= self.budget_len);
        self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    /// Whether [`BlockPool::try_reserve`] would find room. Takes none, so nobody else is refused for a look.
    pub fn has_room(&self, len: u64) -> bool {
        self.reserved().checked_add(len).is_some_and(|sum| sum <= self.budget_len)
    }

    /// Reserves room for a piece even if the budget is spent: the one piece that every torrent may have, so that none
    /// waits for another for ever. Paid back like any other.
    pub fn reserve_first(&self, len: u64) {
        self.reserved.fetch_add(len, Ordering::AcqRel);
    }

    /// Gives back what was reserved for a piece.
    pub fn release(&self, len: u64) {
        let paid_back = self
            .reserved
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| reserved.checked_sub(len));
        debug_assert!(paid_back.is_ok(), "released more than was reserved");
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Acquire)
    }

    /// A buffer for a block of `len` bytes (at most the pool's block length): a used one if there is one.
    pub fn take(self: &Arc<Self>, len: u32) -> BlockBuf {
        let used = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| vec![0; self.block_len].into());
        BlockBuf { len: (len as usize).min(bytes.len()), bytes, pool: Arc::clone(self) }
    }

    fn give_back(&self, bytes: Box<[u8]>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // Buffers beyond the budget came from blocks that were sent twice: not worth keeping.
        if ((free.len() + 1) * self.block_len) as u64 <= self.budget_len {
            free.push(bytes);
        }
    }
}

impl std::ops::Deref for BlockBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl std::ops::DerefMut for BlockBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for BlockBuf {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_kept() {
        let pool = BlockPool::new(16, 100);
        assert!(pool.try_reserve(60));
        assert!(!pool.try_reserve(41) && !pool.has_room(41) && pool.has_room(40));
        assert!(pool.try_reserve(40));
        pool.reserve_first(1000);
        assert!(!pool.try_reserve(1));
        pool.release(1000);
        pool.release(60);
        assert!(pool.try_reserve(60));
        assert_eq!(pool.reserved(), 100);
    }

    #[test]
    fn buffers_are_reused_within_the_budget() {
        let pool = BlockPool::new(16, 32);
        let mut first = pool.take(16);
        first.fill(7);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.take(3).as_ptr(), address);
        let many: Vec<_> = (0..9).map(|_| pool.take(16)).collect();
        drop(many);
        assert_eq!(pool.free.lock().unwrap().len(), 2);
    }
}
