//! What a user sets for one torrent: kept over restarts, changed while it runs, JSON in the control API and on disk.

use serde::{Deserialize, Deserializer, Serialize};
pub use torrent_common::config::Preallocation;
use torrent_common::config::ranges::{CONNECTIONS, OutOfRange, RATE, SEED_RATIO, SEED_TIME, Whole};

use crate::object::objects;

/// What a user set for one torrent. `None`: as configured for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TorrentOptions {
    /// Bytes of payload per second, at most 2^40; 0: no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_limit: Option<u64>,
    /// Bytes of payload per second, at most 2^40; 0: no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
    /// Connections, in both directions together; 1 to 65535. To have none, pause it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// Seeding ends when so many times the size of what is selected were uploaded (a status has it as `selected`); 0: never,
    /// at most 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_ratio: Option<f64>,
    /// Seeding ends so many seconds after it was complete; 0: never, at most a century.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_time_s: Option<u64>,
    /// Pieces are fetched in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential: Option<bool>,
    /// How its files are made; counts when they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preallocation: Option<Preallocation>,
    /// One for each file, in payload order, padding not counted. Empty: all normal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub priorities: Vec<Priority>,
}

/// How much a file is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Not at all.
    Skip,
    /// After the others.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// The priority of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilePriority {
    /// Which: from 0, in payload order, padding not counted.
    pub index: usize,
    /// How much it is wanted.
    pub priority: Priority,
}

/// A change of [`TorrentOptions`] (a JSON merge patch, RFC 7396): what is absent stays, what is null becomes as
/// configured for all. The outer `Option` is whether it is named, the inner one whether it is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptionsPatch {
    /// See [`TorrentOptions::download_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub download_limit: Option<Option<u64>>,
    /// See [`TorrentOptions::upload_limit`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<Option<u64>>,
    /// See [`TorrentOptions::max_connections`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<Option<usize>>,
    /// See [`TorrentOptions::seed_ratio`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub seed_ratio: Option<Option<f64>>,
    /// See [`TorrentOptions::seed_time_s`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub seed_time_s: Option<Option<u64>>,
    /// See [`TorrentOptions::sequential`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub sequential: Option<Option<bool>>,
    /// See [`TorrentOptions::preallocation`].
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub preallocation: Option<Option<Preallocation>>,
    /// All priorities at once; null: all normal.
    #[serde(deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub priorities: Option<Option<Vec<Priority>>>,
    /// The priorities of some files, after `priorities`.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilePriority>,
}

/// What was asked for makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Too little or too much, as in config.ini.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// As many priorities as files, or none.
    #[error(
        "there are {given} priorities for {files} files: give one for each, or name single ones in `files`"
    )]
    Count {
        /// Priorities given.
        given: usize,
        /// Files of the torrent.
        files: usize,
    },
    /// No such file.
    #[error("there is no file {index}: the torrent has {files}, counted from 0")]
    NoSuchFile {
        /// The index given.
        index: usize,
        /// Files of the torrent.
        files: usize,
    },
}

/// For a field in which null means something else than its absence.
pub(crate) fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Refuses named values that are out of range.
pub(crate) fn check_all<T: TryInto<u64>>(
    range: &Whole,
    named: impl IntoIterator<Item = (&'static str, Option<Option<T>>)>,
) -> Result<(), OutOfRange> {
    let mut set = named.into_iter().filter_map(|(key, value)| Some((key, value.flatten()?)));
    set.try_for_each(|(key, value)| range.check(key, value.try_into().unwrap_or(u64::MAX)))
}

/// Enters a named field.
pub(crate) fn enter<T: Clone>(named: Option<&Option<T>>, to: &mut Option<T>) {
    if let Some(value) = named {
        to.clone_from(value);
    }
}

impl TorrentOptions {
    /// How much the file of this index (in payload order, padding not counted) is wanted.
    pub fn priority(&self, file: usize) -> Priority {
        self.priorities.get(file).copied().unwrap_or_default()
    }
}

impl OptionsPatch {
    /// Changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Speaks of single files: how many there are must be known.
    pub const fn names_files(&self) -> bool {
        self.priorities.is_some() || !self.files.is_empty()
    }

    /// What can be checked without knowing the torrent.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn check(&self) -> Result<(), OptionsError> {
        check_all(&RATE, [("download_limit", self.download_limit), ("upload_limit", self.upload_limit)])?;
        check_all(&CONNECTIONS, [("max_connections", self.max_connections)])?;
        check_all(&SEED_TIME, [("seed_time_s", self.seed_time_s)])?;
        if let Some(ratio) = self.seed_ratio.flatten() {
            SEED_RATIO.check("seed_ratio", ratio)?;
        }
        Ok(())
    }

    /// The options of a torrent with `files` files (padding not counted) after the change.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn applied_to(&self, options: &TorrentOptions, files: usize) -> Result<TorrentOptions, OptionsError> {
        self.check()?;
        let mut next = options.clone();
        enter(self.download_limit.as_ref(), &mut next.download_limit);
        enter(self.upload_limit.as_ref(), &mut next.upload_limit);
        enter(self.max_connections.as_ref(), &mut next.max_connections);
        enter(self.seed_ratio.as_ref(), &mut next.seed_ratio);
        enter(self.seed_time_s.as_ref(), &mut next.seed_time_s);
        enter(self.sequential.as_ref(), &mut next.sequential);
        enter(self.preallocation.as_ref(), &mut next.preallocation);
        if self.names_files() {
            next.priorities = self.priorities_after(&options.priorities, files)?;
        }
        Ok(next)
    }

    fn priorities_after(&self, before: &[Priority], files: usize) -> Result<Vec<Priority>, OptionsError> {
        let mut all = match &self.priorities {
            Some(list) => list.clone().unwrap_or_default(),
            None => before.to_vec(),
        };
        if !all.is_empty() && all.len() != files {
            return Err(OptionsError::Count { given: all.len(), files });
        }
        all.resize(files, Priority::Normal);
        for &FilePriority { index, priority } in &self.files {
            *all.get_mut(index).ok_or(OptionsError::NoSuchFile { index, files })? = priority;
        }
        if all.iter().all(|&priority| priority == Priority::Normal) {
            all.clear();
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> OptionsPatch {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn absent_stays_and_null_is_as_configured() {
        let before = TorrentOptions {
            upload_limit: Some(5),
            seed_ratio: Some(2.0),
            sequential: Some(true),
            ..TorrentOptions::default()
        };
        let patch = patch(r#"{"upload_limit":null,"download_limit":7,"preallocation":"full"}"#);
        let after = patch.applied_to(&before, 1).unwrap();
        let expected = TorrentOptions {
            upload_limit: None,
            download_limit: Some(7),
            preallocation: Some(Preallocation::Full),
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(OptionsPatch::default().applied_to(&before, 1).unwrap(), before);
        // What is sent says the same as what was meant.
        let json = serde_json::to_string(&patch).unwrap();
        assert_eq!(json, r#"{"download_limit":7,"upload_limit":null,"preallocation":"full"}"#);
        assert!(serde_json::from_str::<OptionsPatch>(r#"{"upload":1}"#).is_err());
    }

    #[test]
    fn priorities_of_all_and_of_some() {
        let none = TorrentOptions::default();
        let some = patch(r#"{"files":[{"index":2,"priority":"skip"},{"index":0,"priority":"high"}]}"#);
        let after = some.applied_to(&none, 3).unwrap();
        assert_eq!(after.priorities, [Priority::High, Priority::Normal, Priority::Skip]);
        assert_eq!((after.priority(2), after.priority(9)), (Priority::Skip, Priority::Normal));
        let back = patch(r#"{"priorities":null}"#).applied_to(&after, 3).unwrap();
        assert_eq!(back, none);
        let all = patch(r#"{"priorities":["low","low","low"],"files":[{"index":1,"priority":"normal"}]}"#);
        let after = all.applied_to(&after, 3).unwrap();
        assert_eq!(after.priorities, [Priority::Low, Priority::Normal, Priority::Low]);
        // All normal is the same as none set.
        let normal = patch(r#"{"files":[{"index":0,"priority":"normal"},{"index":2,"priority":"normal"}]}"#);
        assert_eq!(normal.applied_to(&after, 3).unwrap(), none);
    }

    #[test]
    fn nonsense_is_refused() {
        let none = TorrentOptions::default();
        for (json, expected) in [
            (r#"{"priorities":["low"]}"#, OptionsError::Count { given: 1, files: 2 }),
            (r#"{"files":[{"index":2,"priority":"low"}]}"#, OptionsError::NoSuchFile { index: 2, files: 2 }),
        ] {
            assert_eq!(patch(json).applied_to(&none, 2), Err(expected), "{json}");
        }
        for (json, expected) in [
            (
                r#"{"max_connections":0}"#,
                "max_connections must be a whole number of connections from 1 to 65535",
            ),
            (r#"{"max_connections":18446744073709551615}"#, "max_connections must be"),
            (r#"{"seed_ratio":-0.5}"#, "seed_ratio must be a number from 0 to 1000000"),
            (r#"{"seed_ratio":1e308}"#, "seed_ratio must be"),
            (r#"{"seed_time_s":18446744073709551615}"#, "seed_time_s must be"),
            (r#"{"upload_limit":1099511627777}"#, "upload_limit must be"),
            (r#"{"download_limit":1099511627777}"#, "download_limit must be"),
        ] {
            let error = patch(json).applied_to(&none, 2).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{json}: {error}");
        }
        let infinite = OptionsPatch { seed_ratio: Some(Some(f64::NAN)), ..OptionsPatch::default() };
        assert!(matches!(infinite.check(), Err(OptionsError::Range(_))));
    }
}
