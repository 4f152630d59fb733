//! A whole file: read under a size limit, parsed with recovery, handed to the room's checks as a tree.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use toml::de::{DeTable, DeValue};

use crate::{
    mistakes::Mistakes,
    notes::{Notes, SyntaxError},
    table::Table,
};

/// Largest file that is read, bytes; a longer one is a mistake, not a wait.
pub const SIZE_MAX: u64 = 1024 * 1024;

/// The text of a file.
///
/// # Errors
/// One mistake if the file cannot be read, is longer than [`SIZE_MAX`], or is not UTF-8.
pub fn read(path: &Path) -> Result<String, Mistakes> {
    let whole = |message: String| Mistakes::of_file(path.to_owned(), message);
    let bytes = bytes(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(whole("is longer than 1 MiB, the most a configuration may have".to_owned()));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let notes_text = String::from_utf8_lossy(good);
        let notes = Notes::new(&notes_text);
        notes.wrong(good.len(), "is not UTF-8 from here on; save the file as UTF-8".to_owned());
        notes.finish(path.to_owned(), Vec::new()).expect("one mistake was noted")
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Walks a text with a room's checks.
///
/// `check` returns `None` only after it noted a mistake. What it did not ask for is an unknown key.
///
/// # Errors
/// Every mistake of the text.
pub fn check<T>(text: &str, path: &Path, check: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, Mistakes> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    let tree = tree.into_inner();
    let syntax = syntax_errors(text, &tree, &errors);
    let notes = Notes::new(text);
    let checked = Table::root(&notes, &tree).read(check);
    match notes.finish(path.to_owned(), syntax) {
        Some(mistakes) => Err(mistakes),
        None => Ok(checked.expect("a part is left out only where a mistake was noted")),
    }
}

fn syntax_errors(text: &str, tree: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<SyntaxError> {
    if errors.is_empty() {
        return Vec::new();
    }
    let scalars = scalars(tree);
    errors
        .iter()
        .map(|error| {
            let span = error.span().unwrap_or(0..0);
            let span = span.start.min(text.len())..span.end.min(text.len());
            let twice = error.message().starts_with("duplicate key");
            let contained = twice || scalars.iter().any(|s| s.start <= span.start && span.end <= s.end);
            let advice = if twice { "; a key is given once, a [table] too" } else { "" };
            SyntaxError { span, contained, message: format!("not TOML: {}{advice}", error.message()) }
        })
        .collect()
}

/// Where the plain values are, in no order.
fn scalars(tree: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut left: Vec<_> = tree.values().collect();
    while let Some(value) = left.pop() {
        match value.get_ref() {
            DeValue::Table(table) => left.extend(table.values()),
            DeValue::Array(array) => left.extend(array.iter()),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => spans.push(value.span()),
        }
    }
    spans
}
