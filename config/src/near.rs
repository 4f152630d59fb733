//! Which known word a misspelt one was meant to be.

/// Most known words listed when none is near.
const LISTED_MAX: usize = 12;

/// The known word nearest to `word`, if one is near enough to be meant: about one slip in three letters.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= slips_max(word.len().min(candidate.len())))
        .min()
        .map(|(_, candidate)| candidate)
}

fn slips_max(length: usize) -> usize {
    (length / 3).max(1)
}

/// The end of a message about a word that is not known: `; did you mean "web"`, else what is known, else what to do.
#[must_use]
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    hint_quoted(word, known, '"')
}

pub(crate) fn hint_quoted<'k>(word: &str, known: impl IntoIterator<Item = &'k str>, quote: char) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.dedup();
    if let Some(near) = nearest(word, known.iter().copied()) {
        return format!("; did you mean {quote}{near}{quote}");
    }
    if known.is_empty() {
        return "; there is none".to_owned();
    }
    let listed: Vec<String> = known.iter().take(LISTED_MAX).map(|w| format!("{quote}{w}{quote}")).collect();
    let more = if known.len() > LISTED_MAX { ", …" } else { "" };
    format!("; known: {}{more}", listed.join(", "))
}
