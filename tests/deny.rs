//! What `deny.toml` allows, held over what is built: licences, banned crates, crates that are there twice, where they come from.
//!
//! `cargo deny` reads the same file and knows more (advisories, which need a database from elsewhere); `./test` runs it where it is
//! installed. This needs nothing but cargo.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value as Json;
use toml::{Table, Value};

/// A crate, as cargo names it: name and version.
type Crate = (String, String);

/// What cargo says of a crate.
#[derive(Debug)]
struct About {
    licence: String,
    /// `None` for the workspace's own.
    source: Option<String>,
    /// Dependencies by any version that are not paths into the workspace.
    wildcards: Vec<String>,
    /// Dependencies from other registries than cargo's own.
    foreign: Vec<String>,
}

/// Everything that is built for one of the policy's targets, tests and build scripts included.
#[derive(Debug)]
struct Built(BTreeMap<Crate, About>);

fn policy() -> Table {
    let text = fs::read_to_string(root().join("deny.toml")).expect("the workspace has a policy");
    text.parse().expect("the policy is TOML")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let ran = Command::new(env!("CARGO")).current_dir(root()).args(arguments).args(["--locked", "--offline"]).output();
    let ran = ran.expect("cargo runs this test");
    assert!(ran.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("cargo prints text")
}

impl Built {
    fn read(policy: &Table) -> Self {
        let mut wanted = BTreeSet::new();
        let mut known = BTreeMap::new();
        for target in words(&policy["graph"]["targets"]) {
            // The tree tells what is built, features considered; the metadata what it is.
            let what = ["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}"];
            let tree = cargo(&[&what[..], &["--target", target]].concat());
            wanted.extend(tree.lines().filter_map(named));
            let metadata = cargo(&["metadata", "--format-version", "1", "--filter-platform", target]);
            let metadata: Json = serde_json::from_str(&metadata).expect("metadata is JSON");
            known.extend(metadata["packages"].as_array().into_iter().flatten().map(about));
        }
        known.retain(|name, _| wanted.contains(name));
        assert_eq!(known.len(), wanted.len(), "everything in the tree is known");
        Self(known)
    }
}

/// `NAME vVERSION …`.
fn named(line: &str) -> Option<Crate> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?);
    Some((name.to_owned(), version.strip_prefix('v')?.to_owned()))
}

fn about(package: &Json) -> (Crate, About) {
    let text = |field: &str| package[field].as_str().map(str::to_owned);
    let which = |is: fn(&Json) -> bool| {
        let found = package["dependencies"].as_array().into_iter().flatten().filter(|d| is(d));
        found.filter_map(|d| d["name"].as_str()).map(str::to_owned).collect()
    };
    let about = About {
        licence: text("license").unwrap_or_default(),
        source: text("source"),
        wildcards: which(|d| d["req"] == "*" && d["path"].is_null()),
        foreign: which(|d| !d["registry"].is_null()),
    };
    ((text("name").unwrap_or_default(), text("version").unwrap_or_default()), about)
}

#[test]
fn what_is_built_keeps_to_the_policy() {
    let policy = policy();
    let built = Built::read(&policy);
    assert!(built.0.len() > 100, "the tree is read");
    let wrong: Vec<String> =
        [licences(&built, &policy), banned(&built, &policy), twice(&built, &policy), sources(&built, &policy)].concat();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn licences(built: &Built, policy: &Table) -> Vec<String> {
    let allowed = words(&policy["licenses"]["allow"]);
    let wrong = built.0.iter().filter(|(_, about)| !is_licensed(&about.licence, &allowed));
    wrong.map(|((name, version), about)| format!("{name} {version}: licence \"{}\"", about.licence)).collect()
}

fn banned(built: &Built, policy: &Table) -> Vec<String> {
    let bans = policy["bans"]["deny"].as_array().into_iter().flatten();
    let banned: BTreeMap<_, _> =
        bans.filter_map(|ban| Some((ban["crate"].as_str()?, ban["reason"].as_str()?))).collect();
    let denied =
        built.0.keys().filter_map(|(name, _)| Some(format!("{name} is banned: {}", banned.get(name.as_str())?)));
    assert_eq!(policy["bans"]["wildcards"].as_str(), Some("deny"));
    let wild = built.0.iter().filter(|(_, about)| about.source.is_none());
    let wild =
        wild.flat_map(|((name, _), about)| about.wildcards.iter().map(move |d| format!("{name}: any version of {d}")));
    denied.chain(wild).collect()
}

/// Crates in two versions, but for those that the policy knows; and what it knows for nothing.
fn twice(built: &Built, policy: &Table) -> Vec<String> {
    assert_eq!(policy["bans"]["multiple-versions"].as_str(), Some("deny"));
    let skipped = policy["bans"]["skip"].as_array().into_iter().flatten();
    let skipped: BTreeSet<&str> = skipped.filter_map(|skip| skip["crate"].as_str()).collect();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut useless = skipped.clone();
    for (name, version) in built.0.keys() {
        if skipped.contains(format!("{name}@{version}").as_str()) {
            useless.remove(format!("{name}@{version}").as_str());
        } else {
            versions.entry(name).or_default().push(version);
        }
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let twice = twice.map(|(name, versions)| format!("{name} is there as {}", versions.join(" and ")));
    twice.chain(useless.iter().map(|name| format!("{name} is skipped and not there"))).collect()
}

/// Crates from anywhere but cargo's own registry.
fn sources(built: &Built, policy: &Table) -> Vec<String> {
    for kind in ["unknown-registry", "unknown-git"] {
        assert_eq!(policy["sources"][kind].as_str(), Some("deny"));
    }
    let wrong = built.0.iter().flat_map(|((name, _), about)| {
        let elsewhere = about.source.iter().filter(|source| !source.starts_with("registry+"));
        let elsewhere = elsewhere.map(move |source| format!("{name} comes from {source}"));
        elsewhere.chain(about.foreign.iter().map(move |other| format!("{name} takes {other} from another registry")))
    });
    wrong.collect()
}

/// Whether what is allowed is enough for an SPDX expression. `A/B` is an old way to write `A OR B`.
fn is_licensed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any(&mut words, allowed) && words.is_empty()
}

/// Takes an expression from the end of the words, which are in reverse.
fn any(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut enough = all(words, allowed);
    while words.pop_if(|word| *word == "OR").is_some() {
        enough |= all(words, allowed);
    }
    enough
}

fn all(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    let mut enough = one(words, allowed);
    while words.pop_if(|word| *word == "AND").is_some() {
        enough &= one(words, allowed);
    }
    enough
}

fn one(words: &mut Vec<&str>, allowed: &[&str]) -> bool {
    match words.pop() {
        Some("(") => {
            let enough = any(words, allowed);
            words.pop() == Some(")") && enough
        }
        Some(licence) => match words.pop_if(|word| *word == "WITH") {
            // An exception is a licence of its own.
            Some(_) => {
                words.pop().is_some_and(|exception| allowed.contains(&format!("{licence} WITH {exception}").as_str()))
            }
            None => allowed.contains(&licence),
        },
        None => false,
    }
}

#[test]
fn licences_are_read_as_spdx_has_them() {
    let allowed = ["MIT", "Apache-2.0"];
    for enough in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "MIT AND Apache-2.0",
        "(GPL-3.0 OR MIT) AND Apache-2.0",
        "(GPL-3.0 OR GPL-2.0) OR MIT",
    ] {
        assert!(is_licensed(enough, &allowed), "{enough}");
    }
    let exception = "Apache-2.0 WITH LLVM-exception";
    assert!(is_licensed(&format!("{exception} OR MIT"), &allowed) && is_licensed(exception, &[exception]));
    for wrong in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR GPL-3.0) AND GPL-3.0", exception, "MIT MIT", "(MIT"] {
        assert!(!is_licensed(wrong, &allowed), "{wrong}");
    }
}

#[test]
fn the_policy_is_seen_to_be_broken() {
    let mut policy = policy();
    let built = Built::read(&policy);
    set(&mut policy, "licenses", "allow", vec!["MIT".into()]);
    assert!(licences(&built, &policy).iter().any(|wrong| wrong.starts_with("aws-lc-sys ")));
    set(&mut policy, "bans", "skip", Vec::new());
    assert!(twice(&built, &policy).iter().any(|wrong| wrong.starts_with("getrandom ")));
    let elsewhere = About {
        licence: "MIT".to_owned(),
        source: Some("git+https://example.com/x".to_owned()),
        wildcards: Vec::new(),
        foreign: vec!["y".to_owned()],
    };
    let stray = Built([(("x".to_owned(), "1.0.0".to_owned()), elsewhere)].into());
    assert_eq!(sources(&stray, &policy).len(), 2);
    let ban = "crate = \"quinn\"\nreason = \"to see it\"".parse::<Table>().expect("a ban");
    set(&mut policy, "bans", "deny", vec![Value::Table(ban)]);
    assert_eq!(banned(&built, &policy), ["quinn is banned: to see it"]);
}

fn set(policy: &mut Table, section: &str, key: &str, list: Vec<Value>) {
    policy[section].as_table_mut().expect("a section").insert(key.to_owned(), Value::Array(list));
}
