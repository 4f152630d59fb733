//! A whole file: read under a size limit, and what could not be parsed of it.

use std::{
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use toml::de::{DeTable, DeValue};

use crate::{mistakes::Mistakes, notes::SyntaxError, source::Source};

/// Longest file or object that is read, bytes; a longer one is a mistake, not a wait.
pub const SIZE_MAX: u64 = 1024 * 1024;
/// What is said of a longer one.
pub(crate) const TOO_LONG: &str = "is longer than 1 MiB, the most a configuration may have";

/// The text of a file; one mistake if the file cannot be read, is longer than [`SIZE_MAX`], or is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, Mistakes> {
    let whole = |message: String| Mistakes::of_file(path, message);
    let bytes = bytes(path).map_err(|e| whole(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(whole(TOO_LONG.to_owned()));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let source = Source::text(path.display().to_string(), String::from_utf8_lossy(good).into_owned());
        let wrong = "is not UTF-8 from here on; save the file as UTF-8".to_owned();
        Mistakes { list: vec![source.mistake(good.len(), wrong)] }
    })
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What the parser says that it could not read.
pub(crate) fn syntax_errors(text: &str, tree: &DeTable<'_>, errors: &[toml::de::Error]) -> Vec<SyntaxError> {
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
