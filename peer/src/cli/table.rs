//! Tables for people: a header, aligned columns, nothing drawn around them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Rows for which it is worth to do without measuring how wide each character is.
const MANY: usize = 200;

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
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    if rows.len() >= MANY && rows.iter().flatten().all(|cell| cell.is_ascii()) {
        return plain_lines(columns, &rows);
    }
    measured_lines(columns, rows)
}

/// The same for texts in which every byte is as wide as any other: tables of thousands of rows are shown while somebody
/// waits.
fn plain_lines(columns: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = columns.iter().map(|(title, _)| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::with_capacity(widths.iter().sum::<usize>() + 2 * widths.len());
        for ((cell, &width), (_, align)) in cells.zip(&widths).zip(columns) {
            let space = width.saturating_sub(cell.len());
            let (before, after) = if *align == Align::Right { (space, 0) } else { (0, space) };
            line.extend(std::iter::repeat_n(' ', before));
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', after + 2));
        }
        line.truncate(line.trim_end().len());
        line
    };
    let header = line(&mut columns.iter().map(|(title, _)| *title));
    let rows = rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(header).chain(rows).collect()
}

fn measured_lines(columns: &[(&str, Align)], rows: Vec<Vec<String>>) -> Vec<String> {
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
    fn many_plain_rows_are_shown_like_few() {
        let columns = [("Name", Align::Left), ("N", Align::Right), ("", Align::Left)];
        let row = |n: usize| vec!["x".repeat(n % 7), (n * n).to_string(), ["", "end"][n % 2].to_owned()];
        let rows: Vec<_> = (0..2 * MANY).map(row).collect();
        assert_eq!(lines(&columns, rows.clone()), measured_lines(&columns, rows.clone()));
        let mut wide = rows;
        wide.push(vec!["東京".into(), "1".into(), String::new()]);
        assert_eq!(lines(&columns, wide.clone()), measured_lines(&columns, wide));
    }

    #[test]
    fn no_rows_is_a_header() {
        assert_eq!(lines(&[("Name", Align::Left)], []), ["Name"]);
    }
}
