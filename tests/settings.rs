//! `docs/configuration.md` and the schemas of both files are made of what the checks ask of settings, and of `docs/configuration.toml`,
//! which says in words what each setting does. `UPDATE=1` writes them anew.

#[path = "settings/schema.rs"]
mod schema;
#[path = "settings/table.rs"]
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use config::{FileKind, Kind, Spec, Survey};
use serde_json::Value as Json;
use toml::Table;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Edge,
    Connector,
}

impl Whose {
    const ALL: [Self; 2] = [Self::Edge, Self::Connector];

    fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Connector => "connector",
        }
    }

    /// Where it is said that a key counts only with a restart.
    fn restart(self) -> &'static str {
        match self {
            Self::Edge => include_str!("../edge/src/edge/reload.rs").split("fn fixed").nth(1),
            Self::Connector => include_str!("../connector/src/config/difference.rs").split("fn restart").nth(1),
        }
        .and_then(|rest| rest.split("\n}\n").next())
        .expect("it is said there")
    }
}

/// One setting, with all there is to say of it.
#[derive(Debug)]
struct Setting {
    table: String,
    key: &'static str,
    asked: config::Key,
    required: bool,
    default: String,
    about: String,
    restart: bool,
}

/// All of a file's, and the tables whose keys are the user's own.
#[derive(Debug)]
struct Settings {
    whose: Whose,
    all: Vec<Setting>,
    /// Tables whose keys are the user's own, with what may stand there.
    open: BTreeMap<String, Vec<Kind>>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// An example with the settings that it shows as comments.
fn in_full(example: &str) -> String {
    let is_key = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let line = |line: &str| line.strip_prefix("# ").filter(|rest| is_key(rest)).unwrap_or(line).to_owned() + "\n";
    example.lines().map(line).collect()
}

fn surveyed(whose: Whose) -> Survey {
    let texts = match whose {
        Whose::Edge => vec![in_full(&read("examples/edge.toml")), read("tests/settings/rest.toml")],
        Whose::Connector => vec![in_full(&read("examples/connector.toml"))],
    };
    texts.iter().fold(Survey::default(), |all, text| {
        let (file, spec) = (Path::new("/all.toml"), Spec::of_toml(text, Path::new("/all.toml")));
        let (found, mistakes) = match whose {
            Whose::Edge => edge::config::survey(&spec, file),
            Whose::Connector => connector::config::survey(&spec, file),
        };
        assert_eq!(mistakes, None, "settings that are right");
        all.and(found)
    })
}

impl Settings {
    fn of(whose: Whose) -> Self {
        let words: Table = read("docs/configuration.toml").parse().expect("TOML");
        let restart: BTreeSet<&str> =
            words["restart"][whose.as_str()].as_array().into_iter().flatten().filter_map(|key| key.as_str()).collect();
        let said = words[whose.as_str()].as_table().expect("tables");
        let Survey(survey) = surveyed(whose);
        let mut unknown: BTreeSet<String> = said
            .iter()
            .flat_map(|(title, keys)| keys.as_table().into_iter().flatten().map(move |(key, _)| full(title, key)))
            .collect();
        let (mut all, mut untold, mut unread) = (Vec::new(), Vec::new(), Vec::new());
        for (table, keys) in &survey {
            for (&key, asked) in &keys.keys {
                let name = full(table, key);
                unknown.remove(&name);
                let words = said.get(table).and_then(|keys| keys.get(key)).and_then(|words| words.as_array());
                let Some([default, about]) = words.map(Vec::as_slice) else {
                    untold.push(name);
                    continue;
                };
                let text = |words: &toml::Value| words.as_str().expect("a text").to_owned();
                let (default, about) = (text(default), text(about));
                if asked.kinds.is_empty() {
                    unread.push(name.clone());
                }
                assert!(!keys.requires(key) || default.starts_with("required"), "`{name}` has no default: {default}");
                all.push(Setting {
                    required: default == "required",
                    restart: waits(&name, &restart),
                    table: table.clone(),
                    key,
                    asked: asked.clone(),
                    default,
                    about,
                });
            }
        }
        assert!(untold.is_empty(), "docs/configuration.toml says nothing of {untold:?}");
        assert!(unread.is_empty(), "no settings that are read here have {unread:?}: give tests/settings/rest.toml one");
        assert!(unknown.is_empty(), "docs/configuration.toml tells of what no check knows: {unknown:?}");
        let open =
            survey.into_iter().filter(|(_, keys)| keys.open).map(|(title, keys)| (title, keys.entries)).collect();
        Self { whose, all, open }
    }
}

/// Whether a key counts only with a restart, or the table that it is in. The CA may be named in two places.
fn waits(name: &str, restart: &BTreeSet<&str>) -> bool {
    let of_ca = name.strip_prefix("tunnel.").filter(|rest| *rest == "ca" || rest.starts_with("ca."));
    let name = of_ca.unwrap_or(name);
    restart.contains(name) || restart.contains(name.split('.').next().unwrap_or_default())
}

/// A key with the table that it is in.
fn full(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// What is generated is what is there.
fn assert_same(file: &str, generated: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join(file), generated).expect("it can be written");
    }
    assert!(read(file) == generated, "{file} is not what the checks say: UPDATE=1 with this test writes it anew");
}

#[test]
fn the_manual_of_settings_is_what_the_checks_ask_for() {
    let both = Whose::ALL.map(Settings::of);
    assert_same("docs/configuration.md", &table::page(&both));
}

#[test]
fn the_schemas_are_what_the_checks_ask_for() {
    for whose in Whose::ALL {
        let schema = schema::of(&Settings::of(whose));
        let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
        assert_same(&format!("docs/schema/{}.json", whose.as_str()), &text);
    }
}

#[test]
fn what_needs_a_restart_is_what_a_reload_says_does() {
    let words: Table = read("docs/configuration.toml").parse().expect("TOML");
    for whose in Whose::ALL {
        let told: BTreeSet<&str> =
            words["restart"][whose.as_str()].as_array().into_iter().flatten().filter_map(|key| key.as_str()).collect();
        let known: BTreeSet<&str> =
            whose.restart().split("(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(told, known, "{}", whose.as_str());
    }
}

fn validator(whose: Whose) -> jsonschema::Validator {
    let schema: Json = serde_json::from_str(&read(&format!("docs/schema/{}.json", whose.as_str()))).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// What an editor makes of a text.
fn object(text: &str) -> Json {
    serde_json::to_value(text.parse::<Table>().expect("TOML")).expect("JSON")
}

#[test]
fn files_that_are_shown_keep_to_the_schemas() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["examples", "deploy/lab", "tests/settings"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "toml")));
    }
    let readme = read("README.md");
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned);
    let mut texts: Vec<String> =
        files.iter().map(|file| fs::read_to_string(file).expect("a text")).chain(blocks).collect();
    texts.extend(["examples/edge.toml", "examples/connector.toml"].map(|file| in_full(&read(file))));
    assert!(texts.len() > 10, "they are found");
    for text in texts {
        let whose = match Spec::of_toml(&text, Path::new("a.toml")).kind() {
            Some(FileKind::Edge) => Whose::Edge,
            Some(FileKind::Connector) => Whose::Connector,
            None => panic!("nobody's: {text}"),
        };
        let wrong: Vec<_> = validator(whose).iter_errors(&object(&text)).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{text}");
    }
}

#[test]
fn what_is_plainly_wrong_breaks_the_schema_as_it_breaks_the_check() {
    let right = read("examples/edge-minimal.toml") + "\n[admin]\nlisten = \"127.0.0.1:7842\"\n";
    let edge = validator(Whose::Edge);
    let checked = |text: &str| edge::config::parse(text, Path::new("/e.toml")).is_ok();
    assert!(edge.is_valid(&object(&right)) && checked(&right));
    for wrong in [
        format!("wokers = 3\n{right}"),
        format!("workers = 0\n{right}"),
        format!("workers = 65\n{right}"),
        format!("workers = \"3\"\n{right}"),
        format!("reload = \"never\"\n{right}"),
        format!("{right}authenticate_reads = \"no\"\n"),
        format!("{right}[[monitor]]\nname = \"m\"\ntype = \"tcp\"\ninterval = \"5\"\n"),
        format!("{right}[[monitor]]\nname = \"m\"\ntype = \"tcp\"\njitter = 0.6\n"),
        format!("{right}[[monitor]]\nname = \"A b\"\ntype = \"tcp\"\n"),
        format!("{right}[[monitor]]\ntype = \"tcp\"\n"),
        format!("{right}[[monitor]]\nname = \"m\"\ntype = \"http\"\nheaders = {{ a = 1 }}\n"),
    ] {
        assert!(!edge.is_valid(&object(&wrong)) && !checked(&wrong), "{wrong}");
    }
}
