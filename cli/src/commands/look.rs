//! What is looked at: how wide and how high it is, and whether it shows colours.

use std::env;

use crate::output;

/// Columns and lines where nobody says how many there are.
const WIDTH: usize = 80;
const LINES: usize = 50;

/// A terminal, or what stands for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Columns.
    pub(super) width: usize,
    /// Lines.
    pub(super) lines: usize,
    /// Words of health have colours.
    pub(super) colours: bool,
}

impl Look {
    /// Neither colours nor bounds.
    pub(super) const PLAIN: Self = Self { width: usize::MAX, lines: usize::MAX, colours: false };

    /// What standard output is. What is printed once may be longer than a small terminal; what is drawn again may not.
    pub(super) fn here(is_drawn_again: bool) -> Self {
        let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        let number = |name: &str| variable(name).and_then(|value| value.parse().ok()).filter(|number| *number > 0);
        let (columns, lines) = output::terminal_size().unwrap_or((WIDTH, LINES));
        let lines = number("LINES").unwrap_or(lines);
        // See no-color.org.
        let wants_none = variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb");
        Self {
            width: number("COLUMNS").unwrap_or(columns),
            // The line below the text is the shell's.
            lines: if is_drawn_again { lines } else { lines.max(LINES) } - 1,
            colours: output::is_terminal() && !wants_none,
        }
    }

    /// A piece of text that is this word, in the word's colour, if it has one and colours are shown.
    pub(super) fn painted(self, word: &str, text: &str) -> String {
        match colour(word).filter(|_| self.colours) {
            Some(colour) => format!("\x1b[{colour}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

/// Green for what is well, yellow for what may become worse, red for what is lost.
fn colour(word: &str) -> Option<&'static str> {
    match word {
        "healthy" | "up" => Some("32"),
        "degraded" | "suspect" | "draining" | "inactive" | "dialling" | "ends_soon" | "refused" => Some("33"),
        "unhealthy" | "critical" | "down" | "dead" | "expired" | "not_begun" => Some("31"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_health_have_colours_and_only_where_they_show() {
        let look = Look { colours: true, ..Look::PLAIN };
        assert_eq!(look.painted("down", "down  "), "\x1b[31mdown  \x1b[0m");
        assert_eq!(look.painted("web", "web"), "web");
        assert_eq!(Look::PLAIN.painted("down", "down"), "down");
    }
}
