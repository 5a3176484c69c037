//! Counters, alone and in families: one for each value of a label, or of two.

use std::array;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self) {
        self.add_many(1);
    }

    pub(crate) fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted by: a closed list of values, each with its number.
pub(crate) trait Label: Copy + 'static {
    /// How many values there are.
    const LEN: usize;
    /// Below [`Label::LEN`], another for each value.
    fn index(self) -> usize;
    /// The value of that number.
    fn at(index: usize) -> Option<Self>;
    /// Shows the names and values as they are written.
    fn show(self, show: &mut dyn FnMut(&'static str, &'static str));
}

impl<A: Label, B: Label> Label for (A, B) {
    const LEN: usize = A::LEN * B::LEN;

    fn index(self) -> usize {
        self.0.index() * B::LEN + self.1.index()
    }

    fn at(index: usize) -> Option<Self> {
        Some((A::at(index / B::LEN)?, B::at(index % B::LEN)?))
    }

    fn show(self, show: &mut dyn FnMut(&'static str, &'static str)) {
        self.0.show(show);
        self.1.show(show);
    }
}

/// A counter for each of the `N` values of a label.
#[derive(Debug)]
pub(crate) struct Family<L, const N: usize> {
    counters: [Counter; N],
    label: PhantomData<fn(L)>,
}

impl<L: Label, const N: usize> Default for Family<L, N> {
    fn default() -> Self {
        const { assert!(N == L::LEN, "a counter for each value") };
        Self { counters: array::from_fn(|_| Counter::default()), label: PhantomData }
    }
}

impl<L: Label, const N: usize> Family<L, N> {
    pub(crate) fn add(&self, label: L) {
        if let Some(counter) = self.counters.get(label.index()) {
            counter.add();
        }
    }

    pub(crate) fn get(&self, label: L) -> u64 {
        self.counters.get(label.index()).map_or(0, Counter::get)
    }

    /// The sum over all values.
    pub(crate) fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}
