//! What does not work at the moment: shown at `/` and in the metrics, told to who uploads. Announces need none of it.
//!
//! Rooms that use the disk report here whenever they tried something, whatever came of it; so what works again is noticed
//! by the next who tries.

use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

/// What can fail while announces go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Listings and torrent files.
    Catalogue,
    /// Words are looked for in all torrents.
    Search,
    /// Torrents are published and taken out.
    Uploads,
    /// The swarms are saved (PEER_FILE).
    Swarms,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Catalogue, Self::Search, Self::Uploads, Self::Swarms];

    /// One word, for labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Search => "search",
            Self::Uploads => "uploads",
            Self::Swarms => "swarms",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Catalogue => 0,
            Self::Search => 1,
            Self::Uploads => 2,
            Self::Swarms => 3,
        }
    }
}

/// What is wrong with each part, in words for strangers: no paths.
#[derive(Debug, Default)]
pub(crate) struct Health {
    troubles: Mutex<[Option<String>; Part::ALL.len()]>,
}

impl Health {
    /// A part works.
    pub(crate) fn well(&self, part: Part) {
        if self.set(part, None).is_some() {
            log::info!("{}: all is well again", part.as_str());
        }
    }

    /// A part does not work.
    pub(crate) fn trouble(&self, part: Part, what: impl Into<String>) {
        let what = what.into();
        if self.set(part, Some(what.clone())).as_ref() != Some(&what) {
            log::warn!("{}: {what}", part.as_str());
        }
    }

    /// What is wrong with a part.
    pub(crate) fn of(&self, part: Part) -> Option<String> {
        let troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get(part.index()).cloned().flatten()
    }

    /// Everything that is wrong, each with the part before it; empty if nothing is.
    pub(crate) fn degraded(&self) -> Vec<String> {
        let wrong = Part::ALL.into_iter().filter_map(|part| Some((part, self.of(part)?)));
        wrong.map(|(part, what)| format!("{}: {what}", part.as_str())).collect()
    }

    /// Nobody hears what is wrong meanwhile.
    #[cfg(test)]
    pub(crate) fn while_busy(&self, run: impl FnOnce()) {
        let _held = self.troubles.lock().unwrap();
        run();
    }

    /// Returns what it was before.
    fn set(&self, part: Part, what: Option<String>) -> Option<String> {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        troubles.get_mut(part.index()).and_then(|trouble| std::mem::replace(trouble, what))
    }
}

/// What the disk's answer means, if it is one that may change without anybody touching the configuration.
pub(crate) fn disk_trouble(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => "the disk is full",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only",
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => "the disk fails",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_until_it_is_well() {
        let health = Health::default();
        assert_eq!(health.degraded(), [""; 0]);
        health.trouble(Part::Uploads, "the disk is full");
        health.trouble(Part::Catalogue, "the database is damaged");
        assert_eq!(health.degraded(), ["catalogue: the database is damaged", "uploads: the disk is full"]);
        assert_eq!(health.of(Part::Uploads).as_deref(), Some("the disk is full"));
        health.well(Part::Catalogue);
        health.well(Part::Search);
        assert_eq!(health.degraded(), ["uploads: the disk is full"]);
    }

    #[test]
    fn every_part_has_a_place_of_its_own() {
        for (n, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part.index(), n);
        }
    }

    #[test]
    fn troubles_of_the_disk_are_known() {
        let of = |errno: rustix::io::Errno| disk_trouble(&errno.into());
        assert_eq!(of(rustix::io::Errno::NOSPC), Some("the disk is full"));
        assert_eq!(of(rustix::io::Errno::FBIG), Some("the disk is full"));
        assert_eq!(of(rustix::io::Errno::ROFS), Some("the disk is read-only"));
        assert_eq!(of(rustix::io::Errno::IO), Some("the disk fails"));
        assert_eq!(of(rustix::io::Errno::NOTDIR), None);
    }
}
