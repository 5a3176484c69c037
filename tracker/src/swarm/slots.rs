//! The slots of a part of a table, in pages of few sizes: as tables grow, what one gives back is what another needs. Made of
//! one piece each, with a size of its own, a million peers in a thousand swarms took a fifth more memory.

/// Slots in a page: of a part that has no more than so many, the one page may be a half or a quarter of that.
const SMALL_PAGE: u32 = 5;
const PAGE: u32 = 6;
const LARGE_PAGE: u32 = 7;

/// A fixed number of slots.
pub(super) struct Slots<T> {
    /// All of the same length, a power of two: but one alone may be shorter than that.
    pages: Vec<Box<[T]>>,
    /// Which power.
    shift: u32,
}

impl<T: Copy> Slots<T> {
    /// None.
    pub(super) const fn none() -> Self {
        Self { pages: Vec::new(), shift: SMALL_PAGE }
    }

    /// At least `count`, and no more than are needed for whole pages.
    pub(super) fn new(count: usize, free: T) -> Self {
        let page = |len: usize| vec![free; len].into_boxed_slice();
        if count == 0 {
            return Self::none();
        }
        if count <= 1 << SMALL_PAGE {
            return Self { pages: vec![page(count.next_power_of_two().max(4))], shift: SMALL_PAGE };
        }
        let shift = match count {
            ..=256 => SMALL_PAGE,
            257..=768 => PAGE,
            _ => LARGE_PAGE,
        };
        Self { pages: (0..count.div_ceil(1 << shift)).map(|_| page(1 << shift)).collect(), shift }
    }

    pub(super) fn len(&self) -> usize {
        match self.pages.as_slice() {
            [one] => one.len(),
            pages => pages.len() << self.shift,
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.pages.get(at >> self.shift)?.get(at & ((1 << self.shift) - 1))
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.pages.get_mut(at >> self.shift)?.get_mut(at & ((1 << self.shift) - 1))
    }

    /// So many slots from `at` on, as far as they lie in one page.
    pub(super) fn run(&self, at: usize, len: usize) -> &[T] {
        let rest = self.pages.get(at >> self.shift).and_then(|page| page.get(at & ((1 << self.shift) - 1)..));
        rest.map(|rest| rest.get(..len).unwrap_or(rest)).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_found() {
        for count in 0..1500 {
            let mut slots = Slots::new(count, 0);
            let len = slots.len();
            assert!(len >= count && len <= (count + 4).max(count * 2).min(count + 128), "{count}: {len}");
            for at in 0..len {
                *slots.get_mut(at).unwrap() = at;
            }
            assert!(slots.get(len).is_none() && slots.iter().copied().eq(0..len));
            let runs: Vec<_> = (0..len).step_by(8).flat_map(|at| slots.run(at, 8)).copied().collect();
            assert!(runs.into_iter().eq(0..len), "{count}");
        }
    }
}
