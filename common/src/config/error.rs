//! What is wrong with a configuration, where, and what was meant.

use std::path::PathBuf;

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has sections, and none is ours.
    #[error(
        "{path} has neither a [tracker] nor a [peer] section: it seems to belong to another program \
         (--config FILE names another file)",
        path = path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// Something in the file.
    #[error("{path}:{line}: {problem}", path = path.display())]
    At {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        problem: Problem,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not a line of an INI file.
    #[error("expected [section], KEY = value, or a comment that begins with #")]
    Syntax,
    /// A key above the first section.
    #[error("{key} stands before the first section: put [tracker] or [peer] above it")]
    NoSection {
        /// The key.
        key: String,
    },
    /// No such section.
    #[error("unknown section [{section}]: {hint}")]
    UnknownSection {
        /// As it is in the file.
        section: String,
        /// What was probably meant.
        hint: String,
    },
    /// No such key in the section.
    #[error("unknown key {key} in [{section}]: {hint}")]
    UnknownKey {
        /// The section.
        section: &'static str,
        /// As it is in the file.
        key: String,
        /// What was probably meant.
        hint: String,
    },
    /// A key for the second time.
    #[error("{key} in [{section}] was given already in line {first_line}")]
    Repeated {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// Where it stood first.
        first_line: usize,
    },
    /// A value that the key does not take.
    #[error("{key} in [{section}] is {value:?}, and must be {expected}")]
    Value {
        /// The section.
        section: &'static str,
        /// The key.
        key: &'static str,
        /// As it is in the file.
        value: String,
        /// What the key takes.
        expected: String,
    },
}
