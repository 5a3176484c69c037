//! What the programs in src/bin do: arguments, output, exit codes, tables and progress.
//!
//! Each command ends with 0 when it is done, 1 when it failed (one line on standard error says why), 2 when it was
//! called wrongly. Results go to standard output, progress to standard error.

pub mod arguments;
pub mod assign;
mod choose;
pub mod daemon;
pub mod fetch;
pub mod format;
pub mod interrupt;
pub mod leech;
pub mod live;
pub mod one;
pub mod out;
pub mod picker;
pub mod progress;
pub mod seed;
pub mod settings;
pub mod status;
mod stop;
pub mod table;
pub mod test;

use std::process::ExitCode;

use crate::catalogue::CatalogueError;
use crate::control::ClientError;

pub use out::Out;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It cannot be done; what to do about it (exit code 1).
    #[error("{0}")]
    Failed(String),
    /// It was called wrongly (exit code 2).
    #[error("{0}")]
    Usage(String),
    /// The output could not be written (exit code 1), or nobody reads it any longer (0: they have what they wanted).
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

impl Failure {
    /// It cannot be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs a command: reads its arguments, does it, says what went wrong, and gives the exit code.
pub fn run<T: argh::TopLevelCommand>(
    name: &'static str,
    command: impl FnOnce(T, &mut Out) -> Result<(), Failure>,
) -> ExitCode {
    let mut out = Out::stdout();
    let result = match arguments::parse::<T>(name, std::env::args_os().skip(1)) {
        arguments::Parsed::Run(arguments) => command(arguments, &mut out).and_then(|()| out.flush()),
        arguments::Parsed::Print(text) => out.line(text.trim_end()).and_then(|()| out.flush()),
        arguments::Parsed::Wrong(message) => Err(Failure::Usage(message)),
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let code = failure.exit_code();
    if code != 0 {
        // What was printed before must not come after.
        let _ = out.flush();
        let text = failure.to_string();
        let text = if code == 1 { one_line(&text) } else { text.trim_end().to_owned() };
        // Names of files may be in it: what has no lines of its own shows them as they are.
        let lines: Vec<_> = text.lines().map(|line| format::message(line, usize::MAX)).collect();
        out::complain(&format!("{name}: {}", lines.join("\n")));
    }
    ExitCode::from(code)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
