//! What is looked for, and in which order it is shown.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

/// A question to the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// Words that must all be there, in any order and case; empty: everything.
    pub text: String,
    /// The order.
    pub sort: Sort,
    /// How many to leave out at the beginning.
    pub offset: u64,
    /// How many to show at most.
    pub limit: u32,
}

/// An order of torrents. Equals are shown newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// By when they were published, the last first.
    #[default]
    Newest,
    /// By when they were published, the first first.
    Oldest,
    /// By the number of seeders, most first: as of a few seconds ago.
    Seeders,
    /// By bytes of payload, most first.
    Size,
    /// By name.
    Name,
    /// By how well the words fit: rare ones, ones in the name, and few others beside them. Without words newest first.
    Relevance,
}

impl Sort {
    /// All of them, as they may be offered.
    pub const ALL: [Self; 6] =
        [Self::Newest, Self::Oldest, Self::Seeders, Self::Size, Self::Name, Self::Relevance];

    /// The word for it in a query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Seeders => "seeders",
            Self::Size => "size",
            Self::Name => "name",
            Self::Relevance => "relevance",
        }
    }
}

impl Display for Sort {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sort is one of newest, oldest, seeders, size, name, relevance")]
pub struct UnknownSort;

impl FromStr for Sort {
    type Err = UnknownSort;

    fn from_str(word: &str) -> Result<Self, UnknownSort> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == word).ok_or(UnknownSort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        for sort in Sort::ALL {
            assert_eq!(sort.to_string().parse(), Ok(sort));
            assert!(UnknownSort.to_string().contains(sort.as_str()));
        }
        assert_eq!("Newest".parse::<Sort>(), Err(UnknownSort));
        assert_eq!(Sort::default(), Sort::Newest);
    }
}
