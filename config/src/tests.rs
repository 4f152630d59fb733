use std::{path::Path, time::Duration};

use ipnetwork::IpNetwork;
use proptest::prelude::*;

use super::*;

const COLOURS: Words<u8> = Words { now: &[("red", 1), ("green", 2)], later: &["ultraviolet"] };
const SECOND: Duration = Duration::from_secs(1);

/// Reads a document that uses every getter; returns what is wrong as `LINE:COLUMN: message`.
fn mistakes(text: &str) -> Vec<String> {
    told(&Spec::of_toml(text, Path::new("f.toml")))
}

/// The same of a spec.
fn told(spec: &Spec) -> Vec<String> {
    let result = spec.check(|root| {
        root.or("text", (), |v| v.string().map(|_| ()));
        root.or("colour", 0, |v| v.word(&COLOURS));
        root.or("number", 0_u16, |v| v.integer(1..=100));
        root.or("share", 0.0, |v| v.float(0.0..=0.5));
        root.or("flag", false, |v| v.boolean());
        root.or("wait", SECOND, |v| v.duration(SECOND..=SECOND * 3600).map(|at| at.value));
        root.or("network", (), |v| v.network().map(|_| ()));
        root.or("listen", (), |v| v.listen_address().map(|_| ()));
        root.or("list", 0, |v| Some(v.some_items()?.iter().filter_map(|i| i.integer::<u8>(0..=9)).count()));
        root.not_yet(&[Later { key: "shiny", instead: "dull" }]);
        root.table("sub", |t| t.required("inner", "a whole number").and_then(|v| v.integer::<u8>(0..=9)));
        Named::<String, u8>::read(root, "thing", "thing", |t, name| {
            let number = t.required("number", "a whole number").and_then(|v| v.integer(0..=9));
            name.and(number)
        })
        .all()
    });
    match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.list.iter().map(|m| format!("{}: {}", m.place, m.message)).collect(),
    }
}

fn check_all(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(mistakes(text), *expected, "{text}");
    }
}

#[test]
fn right_values_are_taken() {
    let good = "text = \"x\"\ncolour = \"red\"\nnumber = 0x1_0\nshare = 0\nflag = true\nwait = \"1h\"\n\
                network = \"fd00::/8\"\nlisten = \"[::]:0\"\nlist = [1]\nsub.inner = 9\n[[thing]]\nname = \"a\"\nnumber = 1";
    assert_eq!(mistakes(good), Vec::<String>::new());
    assert_eq!(mistakes(""), Vec::<String>::new());
}

#[test]
fn a_wrong_type_says_what_is_expected_and_what_was_found() {
    check_all(&[
        ("text = 5", &["1:8: `text` must be a string, found the integer 5"]),
        ("text = \"\"", &["1:8: `text` must not be empty"]),
        ("\n  number = \"5\"", &["2:12: `number` must be a whole number from 1 to 100, found the string \"5\""]),
        ("number = 101", &["1:10: `number` must be a whole number from 1 to 100, found the integer 101"]),
        ("number = -1", &["1:10: `number` must be a whole number from 1 to 100, found the integer -1"]),
        ("number = 1.0", &["1:10: `number` must be a whole number from 1 to 100, found the float 1.0"]),
        ("share = nan", &["1:9: `share` must be a number from 0.0 to 0.5, found the float nan"]),
        ("share = 1e999", &["1:9: `share` must be a number from 0.0 to 0.5, found the float 1e999"]),
        ("flag = \"yes\"", &["1:8: `flag` must be true or false, found the string \"yes\""]),
        ("wait = 5", &["1:8: `wait` must be a duration from \"1s\" to \"1h\", found the integer 5"]),
        ("wait = 1979-05-27", &["1:8: `wait` must be a duration from \"1s\" to \"1h\", found a date or time"]),
        ("list = 1", &["1:8: `list` must be a list in [ ], found the integer 1"]),
        ("list = []", &["1:8: `list` must name at least one"]),
        (
            "list = [1, 10, true]",
            &[
                "1:12: `list` must be a whole number from 0 to 9, found the integer 10",
                "1:16: `list` must be a whole number from 0 to 9, found true",
            ],
        ),
        ("[[sub]]\ninner = 1", &["1:1: `sub` must be one table, [sub] or sub = { … }, found a list"]),
        ("[thing]\nname = 1", &["1:1: `thing` must be a list of tables, [[thing]] or thing = [{ … }], found a table"]),
        (
            "thing = [1]",
            &["1:10: `thing` must be a list of tables, [[thing]] or thing = [{ … }], found the integer 1 in it"],
        ),
    ]);
}

#[test]
fn a_wrong_text_says_what_would_be_right() {
    let duration = "a duration is a whole number and a unit, such as \"250ms\", \"5s\", \"1m\", \"23h\" or \"1d\"";
    for text in ["5", "s", "5 s", "1.5s", "-1s", "5S", "1h30m", ""] {
        assert_eq!(mistakes(&format!("wait = \"{text}\"")), [format!("1:8: `wait` cannot be \"{text}\": {duration}")]);
    }
    for text in ["99999999999999999999s", "9999999999999999999d"] {
        let told = format!("1:8: `wait` cannot be \"{text}\": no duration is as long as this");
        assert_eq!(mistakes(&format!("wait = \"{text}\"")), [told]);
    }
    let network = "a network is ADDRESS/PREFIX, such as \"10.0.0.0/16\" or \"fd00::/8\"";
    let listen = "an address to listen on is IP:PORT, such as \"0.0.0.0:80\" or \"[::]:80\"";
    check_all(&[
        ("wait = \"2h\"", &["1:8: `wait` must be from \"1s\" to \"1h\", found \"2h\""]),
        ("colour = \"gren\"", &["1:10: `colour` cannot be \"gren\"; did you mean \"green\""]),
        ("colour = \"blue\"", &["1:10: `colour` cannot be \"blue\"; known: \"red\", \"green\""]),
        (
            "colour = \"ultraviolet\"",
            &["1:10: `colour` \"ultraviolet\" is not supported by this version; supported: \"red\", \"green\""],
        ),
        (
            "network = \"10.0.0.5/16\"",
            &[
                "1:11: `network` cannot be \"10.0.0.5/16\": it has bits set behind its prefix; the network is \"10.0.0.0/16\"",
            ],
        ),
        (
            "network = \"10.0.0.5\"",
            &[&format!("1:11: `network` cannot be \"10.0.0.5\": {network}; one address alone is \"10.0.0.5/32\"")],
        ),
        (
            "network = \"10.0.0.0/33\"",
            &["1:11: `network` cannot be \"10.0.0.0/33\": the prefix of this address is 0 to 32"],
        ),
        ("network = \"::/+8\"", &["1:11: `network` cannot be \"::/+8\": the prefix of this address is 0 to 128"]),
        (
            "network = \"::ffff:10.0.0.0/120\"",
            &["1:11: `network` cannot be \"::ffff:10.0.0.0/120\": write IPv4 networks as IPv4"],
        ),
        ("network = \"prod\"", &[&format!("1:11: `network` cannot be \"prod\": {network}")]),
        ("listen = \"localhost:80\"", &[&format!("1:10: `listen` cannot be \"localhost:80\": {listen}")]),
        ("listen = \":80\"", &[&format!("1:10: `listen` cannot be \":80\": {listen}")]),
    ]);
}

#[test]
fn keys_are_known_required_or_refused() {
    check_all(&[
        ("nmber = 5", &["1:1: unknown key `nmber`; did you mean `number`"]),
        ("[sub]\ninner = 1\n  iner = 2", &["3:3: unknown key `iner` in `sub`; did you mean `inner`"]),
        ("sub = { inner = 1, zzzz = 2 }", &["1:20: unknown key `zzzz` in `sub`; known: `inner`"]),
        ("\n[sub]\n", &["2:1: `inner` is missing in `sub`: a whole number"]),
        ("text = \"a\"\nsub = { }", &["2:7: `inner` is missing in `sub`: a whole number"]),
        ("shiny = 1", &["1:1: `shiny` is not supported by this version; supported: dull"]),
    ]);
}

#[test]
fn every_mistake_is_told_in_the_order_of_the_file() {
    check_all(&[(
        "wait = 1\nflag = 2\n[[thing]]\nname = \"a\"\nnumber = 10\n[[thing]]\nname = \"a\"\nextra = 1\n[sub]\n",
        &[
            "1:8: `wait` must be a duration from \"1s\" to \"1h\", found the integer 1",
            "2:8: `flag` must be true or false, found the integer 2",
            "5:10: `number` must be a whole number from 0 to 9, found the integer 10",
            "6:1: `number` is missing in `thing`: a whole number",
            "7:8: `name` \"a\" is taken by the thing of line 4",
            "8:1: unknown key `extra` in `thing`; known: `name`, `number`",
            "9:1: `inner` is missing in `sub`: a whole number",
        ],
    )]);
}

#[test]
fn columns_count_characters_and_no_byte_order_mark() {
    check_all(&[
        ("\u{feff}nmber = 5", &["1:1: unknown key `nmber`; did you mean `number`"]),
        (
            "sub = { inner = 1, \"é\" = 1, x = 1 }",
            &["1:20: unknown key `é` in `sub`; known: `inner`", "1:29: unknown key `x` in `sub`; known: `inner`"],
        ),
        ("flag = true\r\nnmber = 5\r\n", &["2:1: unknown key `nmber`; did you mean `number`"]),
    ]);
}

#[test]
fn syntax_errors_are_told_with_what_is_certain_beside_them() {
    check_all(&[
        // Broken values leave the rest of the file readable.
        (
            "wait = 5s\nflag = 2",
            &[
                "1:8: not TOML: string values must be quoted, expected literal string",
                "2:8: `flag` must be true or false, found the integer 2",
            ],
        ),
        (
            "text = \"a\nnmber = 1",
            &["1:10: not TOML: invalid basic string, expected `\"`", "2:1: unknown key `nmber`; did you mean `number`"],
        ),
        (
            "flag = true\nflag = true\nwait = 1",
            &[
                "2:1: not TOML: duplicate key; a key is given once, a [table] too",
                "3:8: `wait` must be a duration from \"1s\" to \"1h\", found the integer 1",
            ],
        ),
        // Behind a broken header, keys may belong anywhere.
        (
            "wait = 1\n[sub\ninner = 1\n",
            &[
                "1:8: `wait` must be a duration from \"1s\" to \"1h\", found the integer 1",
                "2:5: not TOML: unclosed table, expected `]`",
            ],
        ),
        ("number\nwait = 1", &["1:7: not TOML: key with no value, expected `=`"]),
    ]);
}

#[test]
fn a_long_word_is_cut_and_escaped_in_messages() {
    let long = "x".repeat(1000);
    let told = mistakes(&format!("colour = \"{long}\""));
    assert!(told[0].len() < 150, "{told:?}");
    assert_eq!(mistakes("colour = \"\\u0007\"")[0], "1:10: `colour` cannot be \"\\u{7}\"; known: \"red\", \"green\"");
}

#[test]
fn deep_nesting_is_a_mistake_and_not_a_crash() {
    for text in ["a.".repeat(100_000) + "b = 1", format!("a = {}", "[".repeat(100_000)), "a={a=".repeat(100_000)] {
        assert!(!mistakes(&text).is_empty());
    }
}

#[test]
fn mistakes_print_one_a_line_after_the_file() {
    let spec = Spec::of_toml("a = 1\nb = 2", Path::new("/etc/edge.toml"));
    let wrong = spec.check(|_| Some(())).expect_err("unknown keys");
    assert_eq!(
        wrong.to_string(),
        "/etc/edge.toml:1:1: unknown key `a`; there is none\n/etc/edge.toml:2:1: unknown key `b`; there is none"
    );
}

#[test]
fn unreadable_files_are_mistakes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("edge.toml");
    let told = |path: &Path| {
        let read = Spec::read(path).map(drop);
        read.map_err(|m| (m.list[0].place.to_string(), m.list[0].message.clone()))
    };

    let (_, message) = told(&file).expect_err("it is not there");
    assert!(message.starts_with("cannot be read: "), "{message}");
    assert!(told(dir.path()).is_err(), "a directory is no file");

    std::fs::write(&file, b"a = 1\nb = \"\xff\"").expect("written");
    let not_utf8 = "is not UTF-8 from here on; save the file as UTF-8".to_owned();
    assert_eq!(told(&file), Err(("2:6".to_owned(), not_utf8)));

    std::fs::write(&file, vec![b'#'; 1024 * 1024]).expect("written");
    assert!(told(&file).is_ok());
    std::fs::write(&file, vec![b'#'; 1024 * 1024 + 1]).expect("written");
    assert_eq!(told(&file).map_err(|e| e.1), Err("is longer than 1 MiB, the most a configuration may have".to_owned()));
}

#[test]
fn relative_paths_begin_at_the_file() {
    for (file, path, expected) in [
        ("/etc/underpass/edge.toml", "ca.pem", "/etc/underpass/ca.pem"),
        ("/etc/underpass/edge.toml", "/ca.pem", "/ca.pem"),
        ("edge.toml", "ca.pem", "ca.pem"),
    ] {
        assert_eq!(beside(Path::new(file), path), Path::new(expected));
    }
}

#[test]
fn a_file_says_whose_it_is() {
    for (text, expected) in [
        ("[tunnel]\n", Some(FileKind::Edge)),
        ("[[listner]]\n", Some(FileKind::Edge)),
        ("name = 'a'\nedges = []\n", Some(FileKind::Connector)),
        ("[[rote]]\n[admin]\n", Some(FileKind::Connector)),
        ("[[pool]]\n[[listener]]\n[[map]]\n", Some(FileKind::Edge)),
        ("[[pool]]\nname = \n[[listener]]\n", Some(FileKind::Edge)),
        ("name = 'a'\n[admin]\n", None),
        ("", None),
    ] {
        assert_eq!(Spec::of_toml(text, Path::new("f.toml")).kind(), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|[\\[\\]{}=.,\"'#\n a-z0-9\\\\]{0,200}") {
        let _ = mistakes(&text);
        let _ = Spec::of_toml(&text, Path::new("f.toml")).kind();
    }

    #[test]
    fn a_network_is_taken_only_as_it_prints(bits: u32, prefix in 0_u8..=32) {
        let ip = std::net::Ipv4Addr::from(bits);
        let read = cidr(&format!("{ip}/{prefix}"));
        let network = IpNetwork::new(ip.into(), prefix).expect("the prefix fits").network();
        prop_assert_eq!(read.is_ok(), network == ip);
        if let Err(message) = read {
            let meant = format!("\"{network}/{prefix}\"");
            prop_assert!(message.contains(&meant), "{}", message);
        }
    }
}

#[test]
fn what_is_asked_of_settings_is_known_with_what_it_may_be() {
    let text = "workers = 3\nnames = [\"a\", 4]\n[[pool]]\nname = \"a\"\n[[pool]]\nname = \"b\"\nwait = \"5s\"\n[free]\nx = 1\n";
    let (survey, mistakes) = Spec::of_toml(text, Path::new("a.toml")).survey(|root| {
        let _: Option<u64> = root.optional("workers").and_then(|v| v.integer(1..=9));
        for item in root.optional("names").and_then(|v| v.items()).unwrap_or_default() {
            let _: Option<u64> = if item.is_integer() { item.integer(4..=4) } else { item.string().map(|_| 0) };
        }
        root.tables("pool", |t| {
            let _ = t.required("name", "a name").and_then(|v| v.string());
            let second = Duration::from_secs(1);
            let _ = t.optional("wait").and_then(|v| v.duration(second..=second * 9));
        });
        root.table("free", |t| t.entries().len());
        root.optional("absent").map(drop)
    });
    assert_eq!(mistakes, None);
    let (top, pool) = (&survey.0[""], &survey.0["pool"]);
    assert_eq!((&top.keys["workers"].kinds[..], top.keys["workers"].list), (&[Kind::Integer(1, 9)][..], false));
    let text = Kind::Text("a string".to_owned());
    assert_eq!((&top.keys["names"].kinds[..], top.keys["names"].list), (&[text, Kind::Integer(4, 4)][..], true));
    assert_eq!(top.keys["pool"].kinds, [Kind::Tables]);
    assert_eq!(pool.keys["wait"].kinds, [Kind::Duration(Duration::from_secs(1), Duration::from_secs(9))]);
    assert!(pool.requires("name") && !pool.requires("wait") && !top.requires("workers"));
    assert!(survey.0["free"].open && top.keys["absent"].kinds.is_empty());
    // A table that was read once more without it.
    let both = survey
        .clone()
        .and(Spec::of_toml("[[pool]]\n", Path::new("b.toml")).survey(|root| Some(root.tables("pool", |_| ()))).0);
    assert!(!both.0["pool"].requires("name"));
}
