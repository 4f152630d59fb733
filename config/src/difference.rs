//! What two specs say differently of an object, in words, by their trees alone.
//!
//! Values of tables within an object are not told: their keys may be the user's own, such as header fields, and hold secrets.

use std::collections::BTreeMap;

use crate::{
    spec::Spec,
    tree::{Entries, Entry, Node, Word},
    value::cut,
};

/// An object of a spec, in its own words.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a>(&'a Entries);

impl Spec {
    /// The objects of a kind that have a name, by name.
    #[must_use]
    pub fn objects(&self, kind: &str) -> BTreeMap<&str, Object<'_>> {
        match self.root.get(kind) {
            Some(Entry { node: Node { word: Word::List(list), .. }, .. }) => {
                list.iter().filter_map(named).map(|(name, entries)| (name, Object(entries))).collect()
            }
            Some(_) | None => BTreeMap::new(),
        }
    }
}

impl Object<'_> {
    /// What the next one says differently: `origin web-3 added`, `weight of web-1 1 → 0.5`.
    #[must_use]
    pub fn changes(self, next: Object<'_>) -> Vec<String> {
        let mut told = Vec::new();
        tell((self.0, next.0), "", &mut told);
        told
    }
}

/// A table that has a name.
fn named(node: &Node) -> Option<(&str, &Entries)> {
    let Word::Table(entries) = &node.word else { return None };
    let Word::Text(name) = &entries.get("name")?.node.word else { return None };
    Some((name, entries))
}

/// The values under one key, before and after.
type Values<'a> = (Option<&'a Word>, Option<&'a Word>);

fn tell((old, new): (&Entries, &Entries), of: &str, told: &mut Vec<String>) {
    for (key, values) in differing(old, new) {
        if let Some((before, after)) = objects(values) {
            tell_objects(key, (&before, &after), of, told);
            continue;
        }
        match values {
            (Some(Word::Table(before)), Some(Word::Table(after))) => {
                let keys = differing(before, after);
                told.extend(keys.into_iter().map(|(inner, values)| format!("{inner} of {key}{of} {}", what(values))));
            }
            (before, after) => match (spelt(before), spelt(after)) {
                (Some(before), Some(after)) => told.push(format!("{key}{of} {before} → {after}")),
                (None, _) | (_, None) => told.push(format!("{key}{of} {}", what((before, after)))),
            },
        }
    }
}

/// Keys whose values are not the same, in the new order, then those that are gone.
fn differing<'a>(old: &'a Entries, new: &'a Entries) -> Vec<(&'a str, Values<'a>)> {
    fn value<'a>(entries: &'a Entries, key: &str) -> Option<&'a Word> {
        entries.get(key).map(|entry| &entry.node.word)
    }
    let gone = old.0.iter().filter(|entry| new.get(&entry.key).is_none());
    let keys = new.0.iter().chain(gone).map(|entry| entry.key.as_str());
    let both = keys.map(|key| (key, (value(old, key), value(new, key))));
    both.filter(|(_, (before, after))| before != after).collect()
}

type Objects<'a> = Vec<(&'a str, &'a Entries)>;

/// Both lists, if all in them have names; a list that is absent is empty.
fn objects((before, after): Values<'_>) -> Option<(Objects<'_>, Objects<'_>)> {
    let list = |word: Option<_>| word.map_or(Some(Vec::new()), of_names);
    let (before, after) = (list(before)?, list(after)?);
    (!before.is_empty() || !after.is_empty()).then_some((before, after))
}

fn of_names(word: &Word) -> Option<Objects<'_>> {
    let Word::List(list) = word else { return None };
    list.iter().map(named).collect()
}

fn tell_objects(key: &str, (before, after): (&Objects<'_>, &Objects<'_>), of: &str, told: &mut Vec<String>) {
    let old: BTreeMap<_, _> = before.iter().copied().collect();
    let new: BTreeMap<_, _> = after.iter().copied().collect();
    for (name, entries) in after {
        match old.get(name) {
            None => told.push(format!("{key} {name} added{of}")),
            Some(there) => tell((there, entries), &format!(" of {name}{of}"), told),
        }
    }
    let gone = before.iter().filter(|(name, _)| !new.contains_key(name));
    told.extend(gone.map(|(name, _)| format!("{key} {name} removed{of}")));
}

/// What became of values that are not told.
fn what((before, after): Values<'_>) -> &'static str {
    match (before, after) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "changed",
    }
}

/// A plain value, or a list of such, as it is told; what is absent is unset.
fn spelt(word: Option<&Word>) -> Option<String> {
    let text = match word {
        None => "unset".to_owned(),
        Some(Word::Text(text) | Word::Integer(text) | Word::Float(text) | Word::Date(text)) => {
            text.escape_debug().to_string()
        }
        Some(Word::Truth(truth)) => truth.to_string(),
        Some(Word::Nothing) => "null".to_owned(),
        Some(Word::List(items)) => {
            let items: Option<Vec<String>> = items.iter().map(|item| spelt(Some(&item.word))).collect();
            format!("[{}]", items?.join(", "))
        }
        Some(Word::Table(_)) => return None,
    };
    Some(cut(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(old: &str, new: &str) -> Vec<String> {
        let spec = |text: &str| Spec::of_toml(&format!("[[pool]]\nname = \"web\"\n{text}"), "f.toml".as_ref());
        let (old, new) = (spec(old), spec(new));
        old.objects("pool")["web"].changes(new.objects("pool")["web"])
    }

    #[test]
    fn what_an_object_says_differently_is_told_in_its_words() {
        let old = "steering = \"random\"\norigin = [{ name = \"a\", weight = 1 }, { name = \"b\" }]\nhosts = [\"x\"]";
        let new =
            "origin = [{ name = \"c\" }, { name = \"a\", weight = 0.5 }]\nmonitor = \"m\"\nhosts = [\"x\", \"y\"]";
        assert_eq!(
            changes(old, new),
            [
                "origin c added",
                "weight of a 1 → 0.5",
                "origin b removed",
                "monitor unset → m",
                "hosts [x] → [x, y]",
                "steering random → unset",
            ]
        );
        assert_eq!(changes(old, old), Vec::<String>::new());
        assert_eq!(changes("", "origin = [{ name = \"a\" }]"), ["origin a added"]);
    }

    #[test]
    fn values_under_keys_of_the_users_own_are_not_told() {
        let (old, new) =
            ("headers = { a = \"secret\", b = \"secret\" }", "headers = { a = \"other\", c = \"secret\" }");
        let told = changes(&format!("{old}\nrule = [{{ set = {{ a = \"secret\" }} }}]"), &format!("{new}\nrule = []"));
        assert_eq!(told, ["a of headers changed", "c of headers added", "b of headers removed", "rule changed"]);
        assert_eq!(changes("", old), ["headers added"]);
    }

    #[test]
    fn long_values_are_cut() {
        let told = changes("path = \"/\"", &format!("path = \"{}\\n\"", "x".repeat(1_000)));
        assert!(told[0].len() < 100, "{told:?}");
        assert_eq!(changes("path = \"/\"", "path = \"/\\n\""), ["path / → /\\n"]);
    }

    #[test]
    fn only_what_has_a_name_is_an_object() {
        let spec = Spec::of_toml("pool = [{ name = \"a\" }, { name = 1 }, 1]\nname = \"e\"", "f.toml".as_ref());
        assert_eq!(spec.objects("pool").into_keys().collect::<Vec<_>>(), ["a"]);
        assert!(spec.objects("name").is_empty() && spec.objects("none").is_empty());
    }
}
