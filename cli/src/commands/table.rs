//! Aligned columns of text. It knows nothing of what they show.

use std::fmt::Write;

/// Between two columns.
const GAP: &str = "  ";

/// A heading, column titles and rows.
#[derive(Debug)]
pub(super) struct Table {
    heading: &'static str,
    titles: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(heading: &'static str, titles: &[&'static str]) -> Self {
        Self { heading, titles: titles.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, one cell a title. Cells hold what strangers wrote, so nothing in them reaches a terminal as a command.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.titles.len(), "one cell a title");
        self.rows.push(cells.into_iter().map(|cell| shown(&cell)).collect());
    }

    /// The table as text, indented under its heading; an empty one says so.
    pub(super) fn text(&self) -> String {
        if self.rows.is_empty() {
            return format!("{}: none\n", self.heading);
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(self.titles[column].len())
        };
        let widths: Vec<usize> = (0..self.titles.len()).map(width).collect();
        let titles: Vec<String> = self.titles.iter().map(|title| (*title).to_owned()).collect();
        let mut text = format!("{}\n", self.heading);
        for row in [&titles].into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(line, "{GAP}{cell:<width$}");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn shown(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
