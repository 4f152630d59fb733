//! `docs/errors.md` has a section for every code and for nothing else, and every code can be met.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use api::code::Code;

const MANUAL: &str = include_str!("../../docs/errors.md");
/// Where codes are declared: what is used nowhere else is met by nobody.
const DECLARED: &str = "api/src/code.rs";
/// Crates whose code meets people.
const CRATES: [&str; 4] = ["api", "cli", "connector", "edge"];

/// What stands under each heading of a code.
fn sections() -> BTreeMap<&'static str, &'static str> {
    let sections = MANUAL.split("\n## ").skip(1).map(|section| section.split_once('\n').expect("a heading has a text"));
    let all: Vec<_> = sections.collect();
    let by_heading: BTreeMap<_, _> = all.iter().copied().collect();
    assert_eq!(by_heading.len(), all.len(), "no heading is there twice");
    by_heading
}

#[test]
fn every_code_has_its_section_and_every_section_its_code() {
    let mut sections = sections();
    for code in Code::ALL {
        let heading = format!("{code}: {}", code.title());
        let text =
            sections.remove(&heading[..]).unwrap_or_else(|| panic!("docs/errors.md has no section `## {heading}`"));
        for part in [format!("**Cause:** {}.", code.cause()), format!("**What to do:** {}.", code.remedy())] {
            assert!(text.lines().any(|line| line == part), "the section of {code} has no line: {part}");
        }
        let example = text.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
        let shows = example.is_some_and(|example| example.contains(code.as_str()));
        assert!(shows, "the section of {code} has no example that shows the code");
    }
    assert!(sections.is_empty(), "these sections are of no code: {:?}", sections.keys());
}

#[test]
fn a_number_is_given_once_and_comes_back() {
    let mut before = "UP-100";
    for code in Code::ALL {
        let number = code.as_str();
        assert!(number.len() == 6 && before < number, "{number} stands behind {before}");
        assert_eq!(Code::of(number), Some(*code));
        before = number;
    }
    assert_eq!(Code::of("UP-999"), None);
}

#[test]
fn causes_and_remedies_are_one_line_each() {
    for code in Code::ALL {
        for text in [code.title(), code.cause(), code.remedy()] {
            assert!(
                !text.is_empty() && !text.contains('\n') && !text.ends_with('.') && text.len() < 130,
                "{code}: {text}"
            );
        }
    }
}

#[test]
fn every_code_can_be_met() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for krate in CRATES {
        gather(&root.join(krate).join("src"), &mut code);
    }
    let words: std::collections::BTreeSet<_> = code.split("Code::").skip(1).map(first_word).collect();
    let unmet: Vec<_> = Code::ALL.iter().filter(|code| !words.contains(&format!("{code:?}")[..])).collect();
    assert!(unmet.is_empty(), "nobody meets {unmet:?}");
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()
}

/// The production code of a directory: what stands before the tests of each file.
fn gather(dir: &Path, text: &mut String) {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            gather(&path, text);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("tests.rs")
            && !path.ends_with(DECLARED)
        {
            let source = fs::read_to_string(&path).expect("a text");
            text.push_str(source.split("#[cfg(test)]").next().unwrap_or_default());
        }
    }
}
