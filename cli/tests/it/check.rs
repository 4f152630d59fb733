//! `check`: every mistake of a file, and of the files it names, at its place.

use std::fs;

use crate::dir::{Dir, EDGE, Ran, SETTINGS, USAGE};

fn check(dir: &Dir, text: &str) -> Ran {
    fs::write(dir.path("it.toml"), text).expect("writable");
    dir.run("check it.toml")
}

#[test]
fn what_is_no_toml_is_told_of_a_file_that_could_be_anybodys() {
    let dir = Dir::new();
    check(&dir, "name = \"a\"\nworkers = = 2\n").failed(SETTINGS, &["it.toml:2:", "not TOML"]);
    check(&dir, "name = \"a\n").failed(SETTINGS, &["it.toml:1:", "not TOML"]);
    check(&dir, "<?xml version=\"1.0\"?>\n").failed(SETTINGS, &["it.toml:1:", "not TOML"]);
    let both = check(&dir, "name = \"a\"\nname = \"b\"\n");
    both.failed(SETTINGS, &["it.toml:2:1: not TOML: duplicate key", "it.toml:1:1: not clearly an edge's"]);
    check(&dir, "").failed(SETTINGS, &["it.toml:1:1: not clearly an edge's"]);
}

#[test]
fn a_file_may_be_named_as_everywhere() {
    let dir = Dir::new();
    let ran = dir.run("check -c connector.toml");
    ran.went_well();
    assert!(ran.out.starts_with("connector.toml: ok (connector)\n"), "{ran:?}");
    dir.run("check").failed(USAGE, &["underpass check edge.toml"]);
}

#[test]
fn a_file_of_the_other_program_is_told_as_that_and_no_more() {
    let dir = Dir::new();
    fs::write(dir.path("c.toml"), "edges = [\"127.0.0.1:7443\"]\n[[route]]\nvnet = \"v\"\n").expect("writable");
    fs::write(dir.path("e.toml"), EDGE).expect("writable");
    for (command, told) in [
        ("edge -c c.toml", "c.toml:1:1: a connector's file: it is for `underpass connector`"),
        ("connector -c e.toml", "e.toml:1:1: an edge's file: it is for `underpass edge`"),
    ] {
        let ran = dir.run(command);
        ran.failed(SETTINGS, &[told]);
        assert_eq!(ran.err.lines().count(), 2, "the mistake, and what to do: {ran:?}");
    }
}

#[test]
fn what_can_have_no_effect_is_warned_of_where_it_stands() {
    let dir = Dir::new();
    let text = "[[route]]\nvnet = \"v\"\ncidr = \"10.7.0.0/24\"\n[allow]\ntargets = [\"192.168.0.0/16:*\"]\n";
    let ran = check(&dir, text);
    ran.went_well();
    for told in ["it.toml:3:8: warning: route v 10.7.0.0/24", "it.toml:5:12: warning: allow: no route leads to"] {
        assert!(ran.out.contains(told), "{told}: {ran:?}");
    }
}

#[test]
fn a_file_that_is_named_and_cannot_be_used_is_told_where_it_is_named() {
    let dir = Dir::new();
    let mut text = format!("affinity_key = \"no.secret\"\nca = {{ certificate = 'ca.pem', key = 'ca.key' }}\n{EDGE}");
    text += &["one", "two"]
        .map(|name| {
            format!(
                "[[pool]]\nname = \"{name}\"\nupstream = \"https\"\ntls = {{ ca = \"{name}.pem\" }}\n\
                 [[pool.origin]]\nname = \"{name}\"\naddress = \"127.0.0.1:1\"\n"
            )
        })
        .concat();
    text += "[[load_balancer]]\nname = \"lb\"\npools = [\"one\", \"two\"]\n[[listener]]\nname = \"www\"\n\
             protocol = \"https\"\nlisten = \"127.0.0.1:3\"\nload_balancer = \"lb\"\n\
             certificates = [{ certificate = \"it.toml\", key = \"www.key\" }, { certificate = \"w2.pem\", key = \"w2.key\" }]\n";
    let told = check(&dir, &text);
    told.failed(SETTINGS, &[]);
    let lines: Vec<&str> = text.lines().collect();
    let place = |name: &str| {
        let (line, column) = lines
            .iter()
            .enumerate()
            .find_map(|(i, line)| {
                Some((i + 1, line.find(&format!("\"{name}\"")).or(line.find(&format!("'{name}'")))? + 1))
            })
            .expect("it is named");
        format!("it.toml:{line}:{column}: ")
    };
    for (name, whose) in [
        ("no.secret", "affinity_key"),
        ("ca.pem", "ca"),
        ("one.pem", "pool one"),
        ("two.pem", "pool two"),
        ("it.toml", "listener www"),
        ("w2.pem", "listener www"),
    ] {
        let at = place(name);
        assert!(told.err.lines().any(|l| l.starts_with(&at) && l.contains(name) && l.contains(whose)), "{at}{told:?}");
    }
    assert_eq!(told.err.lines().filter(|line| !line.starts_with("help: UP-102: ")).count(), 6, "{told:?}");
}

#[test]
fn the_schema_of_either_file_is_printed() {
    let dir = Dir::new();
    for (whose, key) in [("edge", "load_balancer"), ("connector", "links_per_edge")] {
        let ran = dir.run(&format!("check --schema {whose}"));
        ran.went_well();
        let schema: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
        assert!(schema["properties"][key].is_object(), "{whose}");
    }
}
