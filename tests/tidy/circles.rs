//! Which files of a crate use which others, as their paths say, and whether that goes round.

use std::collections::{BTreeMap, BTreeSet};

/// A module by its path from the crate's root, `["listener", "http"]`.
type Module = Vec<String>;

/// The modules of one crate, each with the text of its code.
#[derive(Default)]
pub(super) struct Crate(BTreeMap<Module, String>);

impl Crate {
    /// Adds a file by its path below `src/`.
    pub(super) fn add(&mut self, inside: &str, code: String) {
        let path = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        let root = ["lib", "main"].contains(&path);
        let module = if root { Vec::new() } else { path.split('/').map(str::to_owned).collect() };
        self.0.insert(module, code);
    }

    /// A way round, if there is one: modules of which each uses the next. That a module uses the one it is in, as a private part of
    /// it may, is no step of such a way.
    pub(super) fn circle(&self) -> Option<Vec<String>> {
        let uses: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.keys().map(|module| (module, self.used_by(module))).collect();
        let mut done = BTreeSet::new();
        let found = uses.keys().find_map(|module| round(module, &uses, &mut Vec::new(), &mut done));
        found.map(|way| way.into_iter().map(|module| module.join("::")).collect())
    }

    /// Every use of one module by another, by their names.
    pub(super) fn uses(&self) -> Vec<(String, String)> {
        let of = |module: &Module| {
            let from = module.join("::");
            self.used_by(module).into_iter().map(move |to| (from.clone(), to.join("::"))).collect::<Vec<_>>()
        };
        self.0.keys().flat_map(of).collect()
    }

    fn used_by(&self, module: &Module) -> BTreeSet<&Module> {
        let paths = paths(&self.0[module]);
        let used = paths.iter().filter_map(|path| self.resolve(module, path));
        used.filter(|used| !module.starts_with(used)).collect()
    }

    /// The module that a path leads into.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<&Module> {
        let mut at = from.clone();
        let mut rest = path;
        match rest.first().map(String::as_str) {
            Some("crate") => {
                at.clear();
                rest = &rest[1..];
            }
            Some("self") => rest = &rest[1..],
            Some("super") => {
                while rest.first().is_some_and(|word| word == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            Some(_) | None => {}
        }
        let is_relative = std::ptr::eq(rest, path);
        let mut found = None;
        for (index, word) in rest.iter().enumerate() {
            at.push(word.clone());
            found = self.0.get_key_value(&at).map(|(module, _)| module).or(found);
            if is_relative && index == 0 && found.is_none() {
                // Another crate's, or a name of this file's own.
                return None;
            }
        }
        let facade = &from[..from.len().saturating_sub(path.iter().take_while(|word| *word == "super").count())];
        found.or_else(|| self.0.get_key_value(facade).map(|(module, _)| module))
    }
}

fn round<'a>(
    module: &'a Module,
    uses: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    way: &mut Vec<&'a Module>,
    done: &mut BTreeSet<&'a Module>,
) -> Option<Vec<&'a Module>> {
    if let Some(at) = way.iter().position(|passed| *passed == module) {
        return Some(way[at..].to_vec());
    }
    if !done.insert(module) {
        return None;
    }
    way.push(module);
    let found = uses.get(module).into_iter().flatten().find_map(|next| round(next, uses, way, done));
    way.pop();
    found
}

/// Every path that code names: those of its `use`, and those that begin with `crate::` or `super::`.
fn paths(code: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut statements = code;
    while let Some(at) = statements.find("use ") {
        let is_word = statements[..at].chars().next_back().is_none_or(char::is_whitespace);
        let Some(end) = statements[at..].find(';') else { break };
        if is_word {
            let tree: String = statements[at + 4..at + end].split_whitespace().collect();
            expand("", &tree, &mut found);
        }
        statements = &statements[at + 4..];
    }
    for begins in ["crate::", "super::"] {
        for (at, _) in code.match_indices(begins) {
            if !code[..at].ends_with("::") {
                let path: String =
                    code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
                expand("", path.trim_end_matches(':'), &mut found);
            }
        }
    }
    found
}

/// The paths of a tree, its braces undone.
fn expand(before: &str, tree: &str, found: &mut BTreeSet<Vec<String>>) {
    for part in parts(tree) {
        match part.split_once('{') {
            Some((stem, inner)) => expand(&format!("{before}{stem}"), inner.trim_end_matches('}'), found),
            None => {
                let path = format!("{before}{part}");
                found.insert(path.split("::").map(str::to_owned).collect());
            }
        }
    }
}

/// What stands between commas, outside of inner braces.
fn parts(tree: &str) -> Vec<&str> {
    let (mut depth, mut from, mut all) = (0, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(&tree[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    all.push(&tree[from..]);
    all.retain(|part| !part.is_empty());
    all
}

#[test]
fn a_circle_is_seen_and_a_parents_private_part_is_none() {
    let of = |files: &[(&str, &str)]| {
        let mut all = Crate::default();
        files.iter().for_each(|(path, code)| all.add(path, (*code).to_owned()));
        all.circle()
    };
    let way = of(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "use crate::{b::{self, B}, x};"),
        ("b/mod.rs", "use super::a::A;"),
        ("x.rs", ""),
    ]);
    assert_eq!(way, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(
        of(&[("lib.rs", "pub use a::A;"), ("a.rs", "use super::X; use self::c::C;"), ("a/c.rs", "use super::A;")]),
        None
    );
    assert_eq!(of(&[("a.rs", "fn f() { super::b::g() }"), ("b.rs", "use crate::c::C;"), ("c.rs", "")]), None);
    let longer =
        of(&[("a.rs", "super::b::g()"), ("b.rs", "use crate::c::C;"), ("c.rs", "use super::{\n    a::A,\n    d,\n};")]);
    assert_eq!(longer.map(|way| way.len()), Some(3));
    assert_eq!(of(&[("a.rs", "use std::b::C; use d::E;"), ("b.rs", "use super::a::A;"), ("d.rs", "")]), None);
}
