//! Rules about the source itself, held without a reviewer: sizes, room order, documents, waiting in tests.
//!
//! Reads text, not syntax: rustfmt's layout (a closing brace stands under the line that opened it) is relied on.

#[path = "tidy/circles.rs"]
mod circles;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const PRODUCTION_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const INLINE_TEST_LINES_MAX: usize = 150;

/// Rooms of the edge from left to right.
const EDGE_ROOMS: &[&str] = &[
    "model", "config", "metrics", "tls", "store", "routing", "tunnel", "offramp", "health", "balancer", "listener",
    "admin", "edge",
];

/// Rooms within a room of the edge, from left to right.
const SUB_ROOMS: &[(&str, &[&str])] = &[
    (
        "listener",
        &[
            "proof",
            "sources",
            "guests",
            "scarce",
            "flows",
            "recent",
            "shared",
            "state",
            "flow",
            "tcp",
            "udp",
            "http",
            "explain",
            "trace",
            "accept",
            "table",
            "certificates",
        ],
    ),
    (
        "listener::http",
        &[
            "message",
            "imagined",
            "origin",
            "client",
            "kept",
            "connection",
            "carry",
            "traced",
            "serve",
            "accepted",
            "fuzzing",
        ],
    ),
];

/// The parts of a crate that another crate may use: the order of the workspace.
const CRATES: &[(&str, &[&str])] = &[
    ("net", &[]),
    ("config", &["protocol"]),
    ("protocol", &["net"]),
    ("certs", &["protocol"]),
    ("api", &[]),
    ("edge", &["net", "config", "protocol", "certs", "api"]),
    ("connector", &["net", "config", "protocol", "certs", "api"]),
    ("rig", &[]),
    ("cli", &["net", "config", "protocol", "certs", "api", "edge", "connector", "rig"]),
];

/// What decides and does not act: the time and the dice are brought to it, and it waits for nothing. A folder is all in it.
const DECIDING: &[&str] = &[
    "api/src/",
    "config/src/",
    "certs/src/rotation.rs",
    "protocol/src/limiter.rs",
    "protocol/src/liveness.rs",
    "protocol/src/sparing.rs",
    "protocol/src/windows/ledger.rs",
    "edge/src/model",
    "edge/src/config/",
    "edge/src/store/plan.rs",
    "edge/src/routing/",
    "edge/src/health/destination.rs",
    "edge/src/health/state.rs",
    "edge/src/health/rollup.rs",
    "edge/src/health/schedule.rs",
    "edge/src/health/view.rs",
    "edge/src/balancer/",
    "edge/src/listener/proof.rs",
    "edge/src/listener/udp/silence.rs",
    "edge/src/listener/recent.rs",
    "edge/src/listener/flow/weighed.rs",
    "edge/src/listener/http/message/",
    "edge/src/listener/http/origin/failed.rs",
    "connector/src/config/",
    "connector/src/link/backoff.rs",
    "connector/src/link/hedge.rs",
    "connector/src/link/slot.rs",
    "connector/src/serve/policy.rs",
    "rig/src/dns.rs",
    "rig/src/sample.rs",
    "rig/src/judge/",
];

/// Words of the glossary that are easily used for something else, and the files in which a type may be called so: the noun
/// itself, its form at the admin endpoints, and its two ends.
const NOUNS: &[(&str, &[&str])] = &[
    ("Link", &["edge/src/tunnel/link.rs", "api/src/edge.rs", "api/src/connector.rs"]),
    ("Tunnel", &["api/src/edge.rs"]),
    ("Grant", &["edge/src/model.rs"]),
    ("Route", &["edge/src/model.rs", "api/src/lib.rs"]),
    ("Path", &["api/src/edge.rs"]),
    ("Way", &["edge/src/offramp/way.rs"]),
    ("Pool", &["edge/src/model.rs", "api/src/edge.rs"]),
    ("Monitor", &["edge/src/model.rs"]),
    ("Session", &["protocol/src/session.rs", "edge/src/offramp/udp.rs", "edge/src/listener/udp/session.rs"]),
];

/// Where the library that carries links has a name: the room of the link that it implements, and the network below it.
const CARRIED_BY_QUINN: &[&str] = &["protocol/src/link/transport/quic/", "net/src/"];

/// A source file, and where its production code ends.
struct Source {
    /// From the workspace's root.
    path: String,
    lines: Vec<String>,
    production: usize,
}

impl Source {
    fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
    }

    fn production(&self) -> &[String] {
        if self.is_test() { &[] } else { &self.lines[..self.production] }
    }

    /// Lines of code with their numbers, comments left out.
    fn code(lines: &[String]) -> impl Iterator<Item = (usize, &str)> {
        let numbered = lines.iter().enumerate().map(|(i, line)| (i + 1, line.as_str()));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

#[test]
fn files_stay_small() {
    check(|source, complain| {
        let production = source.production().len();
        if production > PRODUCTION_LINES_MAX {
            complain(1, format!("{production} production lines, at most {PRODUCTION_LINES_MAX}"));
        }
        let inline = source.lines.len() - source.production;
        if !source.is_test() && inline > INLINE_TEST_LINES_MAX {
            complain(source.production + 1, format!("{inline} lines of inline tests: move them to a tests.rs"));
        }
    });
}

#[test]
fn functions_stay_short() {
    check(|source, complain| {
        for (first, last) in functions(&source.lines) {
            let length = last - first + 1;
            if length > FUNCTION_LINES_MAX {
                complain(first, format!("a function of {length} lines, at most {FUNCTION_LINES_MAX}"));
            }
        }
    });
}

#[test]
fn every_file_says_what_it_owns() {
    check(|source, complain| {
        let documented = source.lines.first().is_some_and(|line| line.starts_with("//! ") && line.len() > 8);
        // Out-of-line tests and the empty file of a binary's stub say it in the module they belong to.
        if !documented && !source.path.ends_with("/tests.rs") {
            complain(1, "a file begins with a //! line that says what it owns".to_owned());
        }
    });
}

#[test]
fn production_code_does_not_unwrap() {
    check(|source, complain| {
        for (number, line) in Source::code(source.production()) {
            if line.contains(".unwrap()") {
                complain(number, "unwrap: use expect with the invariant, or handle it".to_owned());
            }
        }
    });
}

#[test]
fn what_decides_reads_no_clock_throws_no_dice_and_waits_for_nothing() {
    let banned = ["Instant::now()", "SystemTime::now()", ".elapsed()", "rand::rng()", ".await", "async fn"];
    let sources = sources();
    for part in DECIDING {
        assert!(sources.iter().any(|source| source.path.starts_with(part)), "{part} is gone: take it off the list");
    }
    check(|source, complain| {
        if !DECIDING.iter().any(|part| source.path.starts_with(part)) {
            return;
        }
        for (number, line) in Source::code(source.production()) {
            for word in banned.iter().filter(|word| has_word(line, word)) {
                complain(number, format!("{word}: this decides, so whoever acts brings the time and the dice"));
            }
        }
    });
}

/// Whether a line has this, and not as the beginning of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// The modules of a crate.
fn modules(krate: &str, sources: &[Source]) -> circles::Crate {
    let mut all = circles::Crate::default();
    for source in sources {
        if let Some(inside) = source.path.strip_prefix(&format!("{krate}/src/")) {
            let code: Vec<&str> = Source::code(source.production()).map(|(_, line)| line).collect();
            all.add(inside, code.join("\n"));
        }
    }
    all
}

#[test]
fn rooms_within_a_room_use_only_those_to_their_left() {
    let mut wrong = Vec::new();
    for (from, to) in modules("edge", &sources()).uses() {
        for (room, order) in SUB_ROOMS {
            let place = |module: &str| {
                let inside = module.strip_prefix(room)?.strip_prefix("::")?;
                let sub = inside.split("::").next()?;
                Some(
                    order
                        .iter()
                        .position(|known| *known == sub)
                        .unwrap_or_else(|| panic!("{module} is in no known room")),
                )
            };
            if let (Some(own), Some(other)) = (place(&from), place(&to))
                && other > own
            {
                wrong.push(format!("{from} uses {to}, which is not to its left"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_use_each_other_in_one_direction() {
    let sources = sources();
    for (krate, _) in CRATES {
        let all = modules(krate, &sources);
        if let Some(way) = all.circle() {
            panic!("files of {krate} use each other in a circle: {way:?}");
        }
    }
}

#[test]
fn a_word_of_the_glossary_has_one_meaning() {
    let declares = |line: &str, noun: &str| {
        ["struct ", "enum ", "type ", "trait ", "union "].iter().any(|word| {
            line.split_once(word).is_some_and(|(_, rest)| {
                rest.strip_prefix(noun).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            })
        })
    };
    for (noun, files) in NOUNS {
        for file in *files {
            let source = sources().into_iter().find(|source| source.path == *file);
            let is_there = source.is_some_and(|source| source.lines.iter().any(|line| declares(line, noun)));
            assert!(is_there, "{file} has no {noun} any more: take it off the list");
        }
    }
    check(|source, complain| {
        if source.is_test() {
            return;
        }
        for (number, line) in Source::code(source.production()) {
            for (noun, files) in NOUNS {
                if declares(line, noun) && !files.contains(&&source.path[..]) {
                    complain(number, format!("{noun} is a word of the glossary, and this is something else"));
                }
            }
        }
    });
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TODO", "FIXME", "XXX", "#[ignore"];
    check(|source, complain| {
        if source.path == "tests/tidy.rs" {
            return;
        }
        for (i, line) in source.lines.iter().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                complain(i + 1, "do it, or file it".to_owned());
            }
        }
    });
}

#[test]
fn only_the_harness_waits_by_the_clock() {
    check(|source, complain| {
        let own = ["tests/harness/wait.rs", "tests/tidy.rs"].contains(&source.path.as_str());
        let before = if source.is_test() { 0 } else { source.production };
        for (number, line) in Source::code(&source.lines[before..]).map(|(number, line)| (before + number, line)) {
            let sleeps = line.contains("thread::sleep") || line.contains("time::sleep") || line.contains("sleep(Dur");
            if sleeps && !own && !is_paused(source, number) {
                complain(number, "tests do not sleep: wait for a condition, or pause the clock".to_owned());
            }
        }
    });
}

/// Whether the test around a line runs under a paused clock, where a sleep takes no time.
fn is_paused(source: &Source, number: usize) -> bool {
    let before = &source.lines[..number];
    before.iter().rev().find(|line| line.contains("#[tokio::test")).is_some_and(|line| line.contains("start_paused"))
}

#[test]
fn rooms_of_the_edge_use_only_rooms_to_their_left() {
    check(|source, complain| {
        let Some(inside) = source.path.strip_prefix("edge/src/") else { return };
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if room == "lib" || source.is_test() {
            return;
        }
        let Some(place) = place_of(room) else {
            complain(1, format!("{room} is no room of the edge: {EDGE_ROOMS:?}"));
            return;
        };
        for (number, used) in used_rooms(source.production()) {
            match place_of(&used) {
                Some(other) if other <= place => {}
                Some(_) => complain(number, format!("{room} uses {used}, which is not to its left")),
                None => complain(number, format!("{used} is no room of the edge")),
            }
        }
    });
}

#[test]
fn crates_use_only_those_below_them() {
    check(|source, complain| {
        let Some((krate, _)) = source.path.split_once("/src/") else { return };
        let Some((_, allowed)) = CRATES.iter().find(|(name, _)| *name == krate) else { return };
        for (number, line) in Source::code(source.production()) {
            for (other, _) in CRATES {
                let begins = [format!("use {other}::"), format!("use ::{other}::")];
                let uses = begins.iter().any(|begin| line.starts_with(begin.as_str()));
                if uses && *other != krate && !allowed.contains(other) && !is_own_module(krate, other) {
                    complain(number, format!("{krate} does not use {other}"));
                }
            }
        }
    });
}

#[test]
fn what_carries_a_link_has_a_name_in_its_own_room_alone() {
    let sources = sources();
    for room in CARRIED_BY_QUINN {
        let names = |source: &Source| source.path.starts_with(room) && has_quinn(source).next().is_some();
        assert!(sources.iter().any(names), "{room} does not name quinn any more: take it off the list");
    }
    check(|source, complain| {
        if CARRIED_BY_QUINN.iter().any(|room| source.path.starts_with(room)) {
            return;
        }
        for number in has_quinn(source) {
            let instead = "speak of protocol::link, and add to it what it lacks: something else may carry the link";
            complain(number, format!("quinn: {instead}"));
        }
    });
}

/// Lines of production that name quinn, comments among them: what they say is true of one transport alone.
fn has_quinn(source: &Source) -> impl Iterator<Item = usize> {
    let numbered = source.production().iter().enumerate();
    numbered.filter(|(_, line)| line.contains("quinn")).map(|(i, _)| i + 1)
}

#[test]
fn members_say_what_they_are_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).expect("members").0;
    let mut wrong: Vec<String> = Vec::new();
    for line in members.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (member, purpose) = line.split_once('#').unwrap_or((line, ""));
        if purpose.trim().len() < 10 {
            wrong.push(format!("Cargo.toml: member {member} has no purpose beside it"));
        }
        let name = member.trim().trim_matches([',', '"']);
        let own = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap_or_default();
        if !own.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{name}/Cargo.toml does not take the workspace's lints"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn an_image_is_built_from_every_member_and_from_what_is_compiled_in() {
    let (manifest, kept) = ["Cargo.toml", ".dockerignore"].map(|file| read(&root().join(file)).lines).into();
    let members = manifest.iter().skip_while(|line| !line.starts_with("members")).skip(1);
    let members: Vec<_> =
        members.take_while(|line| !line.starts_with(']')).filter_map(|line| line.split('"').nth(1)).collect();
    assert!(members.len() > 5, "they are found");
    for path in members.into_iter().chain(["docs/schema"]) {
        assert!(kept.contains(&format!("!{path}")), ".dockerignore keeps {path} out of the image's build");
    }
}

#[test]
fn a_word_that_the_test_script_does_not_know_is_told_what_would_be_right() {
    for words in [&["--al"][..], &["all"], &["--all", "--all", "links"], &[""]] {
        // Without programs to call: a script that goes on past its words ends there.
        let mut script = Command::new("/bin/bash");
        script.arg(root().join("test")).args(words).env("PATH", "").stdin(Stdio::null());
        let done = script.output().expect("the script starts");
        let told = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{words:?}: {told}");
        assert!(told.contains("--all") && done.stdout.is_empty(), "{words:?}: {told}");
    }
}

#[test]
fn every_threat_has_a_drill_that_is_there() {
    let model = fs::read_to_string(root().join("docs/security.md")).expect("there is a threat model");
    let table = model.split_once("## Threats, defences, drills").expect("it has a table").1;
    let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
    let rows = rows.split(|line| !line.starts_with('|')).next().unwrap_or_default();
    assert!(rows.len() > 20, "the table is read");
    let tests: BTreeSet<String> = sources().iter().flat_map(|source| test_names(&source.lines)).collect();
    let mut wrong = Vec::new();
    for row in rows {
        let drills: Vec<&str> =
            row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if drills.is_empty() {
            wrong.push(format!("no drill: {row}"));
        }
        wrong.extend(
            drills.iter().filter(|drill| !tests.contains(**drill)).map(|drill| format!("no test is named {drill}")),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Functions that stand under a test's attribute.
fn test_names(lines: &[String]) -> impl Iterator<Item = String> {
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let heads = lines.windows(2).filter(move |pair| is_test(pair[0].trim_start()));
    heads.filter_map(|pair| Some(word(pair[1].trim_start().trim_start_matches("async ").strip_prefix("fn ")?)))
}

/// A module named like a crate, as `config` is in the edge.
fn is_own_module(krate: &str, name: &str) -> bool {
    let source = root().join(krate).join("src");
    source.join(name).is_dir() || source.join(name).with_extension("rs").is_file()
}

fn place_of(room: &str) -> Option<usize> {
    EDGE_ROOMS.iter().position(|known| *known == room)
}

/// Rooms that come after `crate::`, alone or in braces.
fn used_rooms(lines: &[String]) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let mut nested = false;
    for (number, line) in Source::code(lines) {
        if line == "use crate::{" {
            nested = true;
        } else if nested && line == "};" {
            nested = false;
        } else if nested && line.starts_with("    ") && !line.starts_with("     ") {
            used.extend(first_words(line).map(|word| (number, word)));
        }
        for rest in line.split("crate::").skip(1) {
            match rest.strip_prefix('{') {
                Some(list) if list.contains('}') => used.extend(first_words(list).map(|word| (number, word))),
                Some(_) => {}
                None => used.push((number, word(rest))),
            }
        }
    }
    used.retain(|(_, room)| room.starts_with(|c: char| c.is_ascii_lowercase()));
    used
}

/// The first word of every part of a list, outside of inner braces.
fn first_words(list: &str) -> impl Iterator<Item = String> {
    let mut depth = 0;
    let outer: String = list
        .trim_end_matches(';')
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth <= 0
        })
        .collect();
    outer.split(',').map(|part| word(part.trim())).filter(|word| !word.is_empty()).collect::<Vec<_>>().into_iter()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// First and last line of every function.
fn functions(lines: &[String]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (number, line) in Source::code(lines) {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let head = match head.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ").map_or(rest, |(_, rest)| rest),
            None => head.strip_prefix("pub ").unwrap_or(head),
        };
        let words = ["const ", "async "];
        let head = words.iter().fold(head, |head, word| head.strip_prefix(word).unwrap_or(head));
        if !head.starts_with("fn ") || line.trim_end().ends_with([';', '}']) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let last = lines[number..].iter().position(|line| *line == end).map_or(number, |i| number + i + 1);
        found.push((number, last));
    }
    found
}

/// Runs a rule over every source file and fails with all that it complains about.
fn check(rule: impl Fn(&Source, &mut dyn FnMut(usize, String))) {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        rule(&source, &mut |line, what| {
            wrong.insert(format!("{}:{line}: {what}", source.path));
        });
    }
    let wrong: Vec<String> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    assert!(paths.len() > 20, "the walk finds the sources");
    paths.into_iter().map(|path| read(&path)).collect()
}

fn read(path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source file is text");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let tests = |i: &usize| lines[*i] == "#[cfg(test)]" && lines.get(i + 1).is_some_and(|l| l.starts_with("mod tests"));
    let production = (0..lines.len()).find(tests).unwrap_or(lines.len());
    let path = path.strip_prefix(root()).expect("inside the workspace").display().to_string();
    Source { path, lines, production }
}

fn walk(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace can be read").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, paths);
            }
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

#[test]
fn the_rules_see_what_they_look_for() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let rooms = used_rooms(&lines(
        "use crate::{\n    health::view::{A, B},\n    model::C, store,\n};\nuse crate::tunnel::X;\nuse crate::{admin, edge::Y};",
    ));
    let rooms: Vec<String> = rooms.into_iter().map(|(_, room)| room).collect();
    assert_eq!(rooms, ["health", "model", "store", "tunnel", "admin", "edge"]);
    let tests: Vec<String> =
        test_names(&lines("#[test]\nfn a() {\n    #[tokio::test(x)]\n    async fn b() {\nfn c() {")).collect();
    assert_eq!(tests, ["a", "b"]);
    let found = functions(&lines("fn a() {\n}\nimpl B {\n    pub(crate) async fn b() {\n        x\n    }\n}\nfn c();"));
    assert_eq!(found, [(1, 2), (4, 6)]);
}
