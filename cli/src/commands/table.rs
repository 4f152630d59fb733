//! Aligned columns of text. It knows nothing of what they show.

use super::look::Look;

/// Between two columns.
const GAP: &str = "  ";

/// A heading, column titles and rows.
#[derive(Debug)]
pub(super) struct Table {
    heading: &'static str,
    titles: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// What stands under them.
    note: Option<String>,
}

impl Table {
    pub(super) fn new(heading: &'static str, titles: &[&'static str]) -> Self {
        Self { heading, titles: titles.to_vec(), rows: Vec::new(), note: None }
    }

    /// Adds a row, one cell a title. Cells hold what strangers wrote, so nothing in them reaches a terminal as a command.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// The same of cells that somebody else has counted.
    pub(super) fn cells(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.titles.len(), "one cell a title");
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// Adds a line under the rows.
    pub(super) fn note(&mut self, text: String) {
        self.note = Some(text);
    }

    /// Whether it has rows.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, indented under its heading; an empty one says so.
    pub(super) fn text(&self) -> String {
        self.drawn(Look::PLAIN)
    }

    /// The same for what is looked at: lines end where it ends, and words of health have their colours.
    pub(super) fn drawn(&self, look: Look) -> String {
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
            text.push_str(&line(row, &widths, look));
            text.push('\n');
        }
        if let Some(note) = &self.note {
            text.push_str(&cut(&format!("{GAP}{note}"), look.width));
            text.push('\n');
        }
        text
    }
}

/// A row, each cell as wide as its column, as far as there is room.
fn line(row: &[String], widths: &[usize], look: Look) -> String {
    let last = row.len() - 1;
    let (mut line, mut left) = (String::new(), look.width);
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let Some(room) = left.checked_sub(GAP.len()).filter(|room| *room > 0) else { break };
        let text = cut(cell, room);
        line.push_str(GAP);
        line.push_str(&look.painted(cell, &text));
        let padding = if at == last { 0 } else { width - cell.chars().count() };
        line.extend(std::iter::repeat_n(' ', padding.min(room - text.chars().count())));
        left = room.saturating_sub(*width);
    }
    line.truncate(line.trim_end().len());
    line
}

/// As much of a text as has room, with a sign that there is more.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn shown(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    cell.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
