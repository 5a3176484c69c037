//! Whose each descriptor of this process is, as far as the [`super::roll`] found out.
//!
//! The system gives a new descriptor the lowest number that is free. So new ones are found at numbers that are not known to
//! be taken, up to a few behind the highest that ever was, and nobody has to ask for a list, which takes microseconds for
//! each that is on it.

use std::os::fd::RawFd;

use crate::sockets::Cookie;

/// Numbers in a row, higher than any that was taken before, behind which nothing new is looked for.
const GAP: usize = 64;

/// Who has a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A connection to the tracker, or what was one.
    Connection(Cookie),
    /// The roll itself.
    Roll,
}

/// Owners by number.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    owners: Vec<Option<Owner>>,
    /// Descriptors of others that the last search met.
    others: usize,
}

impl Numbers {
    /// With room for numbers below that, so that memory is seldom asked for later.
    pub(crate) fn with_room(count: usize) -> Self {
        Self { owners: Vec::with_capacity(count), others: 0 }
    }

    pub(crate) fn set(&mut self, number: RawFd, owner: Owner) {
        let Ok(index) = usize::try_from(number) else { return };
        self.reach(index);
        if let Some(slot) = self.owners.get_mut(index) {
            *slot = Some(owner);
        }
    }

    /// Clears those numbers of connections that are not to be kept.
    pub(crate) fn keep(&mut self, mut is_kept: impl FnMut(RawFd, Cookie) -> bool) {
        for (number, slot) in (0..).zip(&mut self.owners) {
            if let Some(Owner::Connection(cookie)) = *slot
                && !is_kept(number, cookie)
            {
                *slot = None;
            }
        }
    }

    /// How many descriptors of others the last search met. Each of them is looked at in every search.
    pub(crate) const fn others(&self) -> usize {
        self.others
    }

    fn reach(&mut self, index: usize) {
        if index >= self.owners.len() {
            self.owners.resize(index + 1, None);
        }
    }

    /// That number has been, or may have been, given to someone else.
    pub(crate) fn clear(&mut self, number: RawFd) {
        if let Some(slot) = usize::try_from(number).ok().and_then(|index| self.owners.get_mut(index)) {
            *slot = None;
        }
    }

    /// Nothing is known any more but that these are taken, by whomever.
    pub(crate) fn begin_anew(&mut self, taken: &[RawFd]) {
        let highest = taken.iter().copied().max().and_then(|highest| usize::try_from(highest).ok());
        self.owners.clear();
        self.owners.resize(highest.map_or(0, |highest| highest + 1), None);
    }

    /// Calls `look` with each number of which nothing is known, the lowest first, and enters what it tells. False if `look`
    /// gave up.
    pub(crate) fn search(&mut self, mut look: impl FnMut(RawFd) -> Found) -> bool {
        let (mut at, mut misses) = (0, 0);
        self.others = 0;
        while at < self.owners.len() || misses < GAP {
            let Ok(number) = RawFd::try_from(at) else { break };
            if self.owners.get(at).copied().flatten().is_none() {
                match look(number) {
                    Found::Nothing => misses += 1,
                    Found::Taken(owner) => {
                        misses = 0;
                        self.set(number, owner);
                    }
                    // What is open now and then only must not hide a connection later.
                    Found::Other => {
                        misses = 0;
                        self.others += 1;
                        self.reach(at);
                    }
                    Found::NoDescriptors => return false,
                }
            }
            at += 1;
        }
        true
    }
}

/// What is at a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Taken(Owner),
    /// A file, say.
    Other,
    /// There is no descriptor left to look with.
    NoDescriptors,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_new_is_found_at_the_lowest_numbers() {
        let mut numbers = Numbers::default();
        let mut taken: BTreeSet<RawFd> = (0..100).collect();
        let find = |numbers: &mut Numbers, taken: &BTreeSet<RawFd>| {
            let (mut found, mut looks) = (Vec::new(), 0);
            let is_complete = numbers.search(|number| {
                looks += 1;
                if !taken.contains(&number) {
                    return Found::Nothing;
                }
                found.push(number);
                if number == 1 { Found::Other } else { Found::Taken(Owner::Connection(5)) }
            });
            assert!(is_complete);
            (found, looks)
        };
        let (found, looks) = find(&mut numbers, &taken);
        assert_eq!(found, Vec::from_iter(0..100));
        assert_eq!(looks, 100 + GAP);
        assert_eq!(numbers.others(), 1);
        for number in [7, 50, 51] {
            numbers.clear(number);
        }
        taken.remove(&7);
        taken.insert(100);
        let (found, looks) = find(&mut numbers, &taken);
        assert_eq!(found, [1, 50, 51, 100]);
        assert_eq!(looks, 5 + GAP);
        numbers.keep(|number, cookie| cookie != 5 || number != 51);
        assert_eq!(find(&mut numbers, &taken).0, [1, 51]);
        // Where there were many there may be one behind a long gap.
        for number in 2..100 {
            numbers.clear(number);
            taken.remove(&number);
        }
        taken.insert(99);
        assert_eq!(find(&mut numbers, &taken).0, [1, 99]);
        assert!(!numbers.search(|_| Found::NoDescriptors));
        numbers.begin_anew(&[2000, 3000]);
        taken.insert(3000);
        assert_eq!(find(&mut numbers, &taken).0, [0, 1, 99, 100, 3000]);
    }
}
