//! Choosing from a table with the arrow keys.

use inquire::list_option::ListOption;
use inquire::{InquireError, Select};

use super::Failure;

/// One of the rows below a table's header: its number, from 0; None when the user wants none (Esc, Ctrl-C). `names` are
/// what is shown of a row once it is chosen.
///
/// # Errors
/// [`Failure::Failed`] when the terminal does not take part.
pub fn pick(lines: Vec<String>, names: Vec<String>) -> Result<Option<usize>, Failure> {
    let mut lines = lines.into_iter();
    let header = lines.next().unwrap_or_default();
    let width = usize::from(terminal_width());
    let rows: Vec<String> = lines.map(|line| cut(&line, width)).collect();
    // As far to the right as the rows, which stand behind a cursor of two columns.
    let title = cut(&header, width);
    let name = |option: ListOption<&String>| names.get(option.index).cloned().unwrap_or_default();
    let choice = Select::new(&title, rows)
        .with_formatter(&name)
        .with_help_message("arrows move, typing filters, Enter takes, Esc leaves")
        .with_page_size(15)
        .raw_prompt();
    match choice {
        Ok(option) => Ok(Some(option.index)),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => Ok(None),
        Err(error) => Err(Failure::failed(format!("cannot ask on this terminal ({error}): say --info-hash"))),
    }
}

/// Columns of the terminal.
fn terminal_width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col)
}

/// Rows that wrap are hard to choose from.
fn cut(line: &str, width: usize) -> String {
    let room = width.saturating_sub(4).max(20);
    line.chars().take(room).collect()
}
