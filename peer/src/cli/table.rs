//! Tables for people: a header, aligned columns, nothing drawn around them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// The lines of a table, its header first: exactly one for every row, as wide as it needs to be. The cells must be safe
/// to print and have no line breaks.
pub fn lines(columns: &[(&str, Align)], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        table.add_row(row);
    }
    for (column, (_, align)) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if *align == Align::Right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_are_lines() {
        let rows = [vec!["a".into(), "1".into()], vec!["東京 long name".into(), "1000".into()]];
        let lines = lines(&[("Name", Align::Left), ("N", Align::Right)], rows);
        assert_eq!(lines, ["Name               N", "a                  1", "東京 long name  1000"]);
    }

    #[test]
    fn no_rows_is_a_header() {
        assert_eq!(lines(&[("Name", Align::Left)], []), ["Name"]);
    }
}
