//! Standard output that may be closed, and standard error that may be closed too: neither is a reason to panic.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::Failure;

/// Standard output.
pub struct Out {
    inner: Box<dyn Write>,
    is_terminal: bool,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("is_terminal", &self.is_terminal).finish_non_exhaustive()
    }
}

impl Out {
    /// The process's.
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self { inner: Box::new(io::BufWriter::new(stdout)), is_terminal }
    }

    /// Somewhere else.
    pub fn to(inner: impl Write + 'static) -> Self {
        Self { inner: Box::new(inner), is_terminal: false }
    }

    /// Whether a person reads it as it comes.
    pub const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints a line.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        writeln!(self.inner, "{text}").map_err(Failure::Output)
    }

    /// Prints text as it stands.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn text(&mut self, text: impl Display) -> Result<(), Failure> {
        write!(self.inner, "{text}").map_err(Failure::Output)
    }

    /// Prints JSON for people and programs.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from).map_err(Failure::Output)?;
        self.line(text)
    }

    /// Prints JSON on one line.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(io::Error::from).map_err(Failure::Output)?;
        self.line(text)
    }

    /// Shows what has been printed.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.inner.flush().map_err(Failure::Output)
    }
}

/// A line on standard error; if that is closed, nobody wants to know.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
