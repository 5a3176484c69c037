//! Names for files that are damaged: kept beside their place, a few of them.

use std::fs;
use std::path::{Path, PathBuf};

/// Damaged files that are kept, of one path.
pub(crate) const MAX: u32 = 5;

/// The name of a damaged file: `.bad`, then `.bad.2` and so on.
pub(crate) fn name(path: &Path, number: u32) -> PathBuf {
    match number {
        1 => with_suffix(path, ".bad"),
        _ => with_suffix(path, &format!(".bad.{number}")),
    }
}

/// The first name that is free, also with each of these suffixes; the last name if none is: the first ones know most, and
/// what was set aside later was made of what they had.
pub(crate) fn place(path: &Path, suffixes: &[&str]) -> PathBuf {
    let is_free = |path: &PathBuf| {
        suffixes.iter().all(|suffix| fs::symlink_metadata(with_suffix(path, suffix)).is_err())
    };
    (1..=MAX).map(|number| name(path, number)).find(is_free).unwrap_or_else(|| {
        log::warn!("{MAX} damaged files are kept already: the last of them is written over");
        name(path, MAX)
    })
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
