use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/connector.toml"),
    include_str!("../../../examples/connector-minimal.toml"),
    include_str!("../../../examples/two-vnets-connector.toml"),
];

fn file() -> &'static Path {
    Path::new("/etc/underpass/connector.toml")
}

fn config(text: &str) -> Config {
    parse(text, file()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn mistakes(text: &str) -> Vec<String> {
    match parse(text, file()) {
        Ok(_) => Vec::new(),
        Err(wrong) => wrong.list.iter().map(|m| format!("{}: {}", m.place, m.message)).collect(),
    }
}

fn check_all(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(mistakes(text), *expected, "{text}");
    }
}

fn allow(text: &str) -> AllowEntry {
    text.parse().expect("a right entry")
}

fn flags(edit: impl FnOnce(&mut RawFlags)) -> RawFlags {
    let mut flags = RawFlags::default();
    edit(&mut flags);
    flags
}

#[test]
fn every_setting_is_read() {
    let config = config(EXAMPLES[0]);
    assert_eq!(config.name.as_ref().map(Name::as_str), Some("dc1"));
    assert_eq!(
        config.edges.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["edge-1.example.com:7843", "edge-2.example.com:7843"]
    );
    assert_eq!(config.token_file, Some("/run/secrets/join-token".into()));
    assert_eq!(config.routes[1].1.to_string(), "fd00:a::/32");
    let map = &config.maps[0];
    assert_eq!((map.from.to_string(), map.to.to_string()), ("10.0.7.0/24".to_owned(), "192.168.7.0/24".to_owned()));
    let entries = ["10.0.0.0/16:*", "192.168.7.0/24:8000-8100", "[fd00:a::/32]:443"].map(allow);
    assert_eq!(config.allow.as_deref(), Some(&entries[..]));
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let config = config("");
    assert_eq!(config, Config::default());
    assert_eq!((config.name, config.edges.len(), config.token_file), (None, 0, None));
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/underpass-connector"));
    assert_eq!((config.links_per_edge, config.routes.len(), config.maps.len(), config.allow), (2, 0, 0, None));
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:7841");
    assert!((1..=64).contains(&config.workers));
}

#[test]
fn examples_are_right_and_relative_paths_begin_at_the_file() {
    for example in EXAMPLES {
        config(example);
    }
    let config = config("state_dir = \"state\"\ntoken_file = \"token\"");
    assert_eq!(config.state_dir, PathBuf::from("/etc/underpass/state"));
    assert_eq!(config.token_file, Some("/etc/underpass/token".into()));
}

#[test]
fn mistakes_of_the_connector_itself() {
    let target =
        "a target is HOST:PORT with an IP address (IPv6 in brackets) or a DNS name, and a port from 1 to 65535";
    check_all(&[
        (
            "name = \"a\"\nedge = []\nlinks_per_edge = 17\nworkers = \"2\"",
            &[
                "2:1: unknown key `edge`; did you mean `edges`",
                "3:18: `links_per_edge` must be a whole number from 1 to 16, found the integer 17",
                "4:11: `workers` must be a whole number from 1 to 64, found the string \"2\"",
            ],
        ),
        ("edges = []", &["1:9: `edges` must name at least one; leave it out to dial the edges of the join token"]),
        (
            "edges = [\"e\", \"e:1\",\n\"e:1\"]",
            &[&format!("1:10: `edges` cannot be \"e\": {target}"), "2:1: `edges` names \"e:1\" twice"],
        ),
        (
            "[admin]\nlisten = 7841",
            &["2:10: `listen` must be an address and port such as \"0.0.0.0:80\", found the integer 7841"],
        ),
    ]);
}

#[test]
fn mistakes_of_routes() {
    check_all(&[
        (
            "[[route]]\nvnet = \"a\"\ncidr = \"10.0.0.0/8\"\n[[route]]\nvnet = \"a\"\ncidr = \"10.0.0.0/8\"\n",
            &["6:8: `cidr` 10.0.0.0/8 of vnet \"a\" is there twice, first in line 3"],
        ),
        ("[[route]]\nvnet = \"a\"\ncidr = \"10.0.0.0/8\"\n[[route]]\nvnet = \"b\"\ncidr = \"10.0.0.0/8\"\n", &[]),
        (
            "[[route]]\nvnet = \"A\"\n",
            &[
                "1:1: `cidr` is missing in `route`: a network such as \"10.0.0.0/16\"",
                "2:8: `vnet` cannot be \"A\": names are 1 to 63 of a-z, 0-9 and '-', and do not begin with '-'",
            ],
        ),
    ]);
    let many: String =
        (0..513).map(|n| format!("[[route]]\nvnet=\"a\"\ncidr=\"10.{}.{}.0/24\"\n", n / 256, n % 256)).collect();
    assert_eq!(mistakes(&many), ["1537:1: a connector claims at most 512 routes"]);
}

#[test]
fn mistakes_of_maps() {
    let route = "[[route]]\nvnet = \"a\"\ncidr = \"10.0.0.0/16\"\n";
    let map =
        |vnet: &str, from: &str, to: &str| format!("[[map]]\nvnet = \"{vnet}\"\nfrom = \"{from}\"\nto = \"{to}\"\n");
    let one = |vnet: &str, from: &str, to: &str| mistakes(&format!("{route}{}", map(vnet, from, to)));
    let none: [&str; 0] = [];
    assert_eq!(one("a", "10.0.1.0/24", "192.168.1.0/24"), none);
    assert_eq!(one("a", "10.0.0.0/16", "172.16.0.0/16"), none);
    assert_eq!(
        one("a", "10.0.0.0/15", "172.16.0.0/15"),
        ["6:8: `from` 10.0.0.0/15 is inside no route of vnet \"a\": 10.0.0.0/16"]
    );
    assert_eq!(one("b", "10.0.0.0/16", "172.16.0.0/16"), ["5:8: no route is in vnet \"b\"; did you mean \"a\""]);
    assert_eq!(
        one("a", "10.0.1.0/24", "192.168.0.0/16"),
        ["7:6: `to` 192.168.0.0/16 must have the prefix length of 10.0.1.0/24, /24, to translate one to one"]
    );
    assert_eq!(
        one("a", "10.0.1.0/24", "fd00::/24"),
        ["7:6: `to` fd00::/24 is of another address family than 10.0.1.0/24; a map translates one to one"]
    );
    let two = map("a", "10.0.1.0/24", "192.168.1.0/24") + &map("a", "10.0.1.128/25", "192.168.2.0/25");
    assert_eq!(mistakes(&format!("{route}{two}")), ["10:8: `from` 10.0.1.128/25 overlaps 10.0.1.0/24 of line 6"]);
    // A route with a mistake of its own may be the one that the map needs.
    assert_eq!(
        mistakes(&format!("[[route]]\nvnet = \"a\"\ncidr = 1\n{}", map("a", "10.0.1.0/24", "192.168.1.0/24"))).len(),
        1
    );
}

#[test]
fn allow_entries_parse_and_print_alike() {
    for good in
        ["10.0.0.0/16:*", "10.0.0.1/32:80", "10.0.0.0/16:8000-8100", "[fd00::/8]:443", "[::1/128]:*", "0.0.0.0/0:1"]
    {
        assert_eq!(allow(good).to_string(), good);
    }
    let form = "an entry is CIDR:PORTS, such as \"10.0.0.0/16:*\", \"10.0.0.0/16:80\", \"10.0.0.0/16:8000-8100\" or \
                \"[fd00::/8]:443\"";
    let ports = "ports are *, one from 1 to 65535, or FIRST-LAST";
    for (bad, why) in [
        ("", form),
        ("10.0.0.0/16", form),
        ("fd00::/8:443", form),
        ("[10.0.0.0/16]:80", form),
        ("10.0.0.0/16:", ports),
        ("10.0.0.0/16:0", ports),
        ("10.0.0.0/16:+80", ports),
        ("10.0.0.0/16:90-80", ports),
        ("10.0.0.0/16:65536", ports),
        ("10.0.0.1/16:80", "it has bits set behind its prefix; the network is \"10.0.0.0/16\""),
    ] {
        assert_eq!(bad.parse::<AllowEntry>().map_err(|e| e.to_string()), Err(why.to_owned()), "{bad}");
    }
    check_all(&[
        ("[allow]\n", &["1:1: `targets` is missing in `allow`: what may be dialled, such as [\"10.0.0.0/16:*\"]"]),
        ("[allow]\ntargets = [\"10.0.0.0/8:*\", \"10.0.0.0/8:*\"]", &["2:28: `targets` names \"10.0.0.0/8:*\" twice"]),
    ]);
    assert_eq!(config("[allow]\ntargets = []").allow, Some(Vec::new()), "nothing may be dialled");
}

#[test]
fn an_allow_entry_names_its_network_and_ports_only() {
    let entry = allow("10.0.0.0/16:8000-8100");
    for (ip, port, named) in [
        ("10.0.0.1", 8000, true),
        ("10.0.255.255", 8100, true),
        ("10.0.0.1", 7999, false),
        ("10.0.0.1", 8101, false),
        ("10.1.0.0", 8000, false),
        ("::ffff:10.0.0.1", 8000, false),
    ] {
        assert_eq!(entry.contains(ip.parse().expect("an address"), port), named, "{ip} {port}");
    }
}

#[test]
fn when_it_reads_again_and_what_it_withdraws_are_words() {
    let plain = config("");
    assert_eq!((plain.reload, plain.withdrawn), (Reload::Watch, Withdrawn::Finish));
    let other = config("reload = \"signal\"\nwithdrawn = \"cut\"\n");
    assert_eq!((other.reload, other.withdrawn), (Reload::Signal, Withdrawn::Cut));
    check_all(&[
        ("reload = \"wach\"", &["1:10: `reload` cannot be \"wach\"; did you mean \"watch\""]),
        ("withdrawn = true", &["1:13: `withdrawn` must be one of \"finish\", \"cut\", found true"]),
    ]);
}

#[test]
fn neither_a_pipe_nor_a_file_that_is_being_written_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("connector.toml");
    let settings = Settings { file: Some(file.clone()), over: flags(|f| f.links_per_edge = Some(3)) };
    assert!(settings.again(&Config::default()).is_err(), "there is none");
    std::fs::write(&file, "links_per_edge = 1\nname = \"dc1\"\n").expect("written");
    let read = settings.again(&Config::default()).expect("right");
    assert_eq!((read.links_per_edge, read.name.as_ref().map(Name::as_str)), (3, Some("dc1")), "flags are laid over it");
    std::fs::write(&file, " # soon\n").expect("written");
    assert_eq!(settings.again(&read).expect_err("it was emptied").lines().len(), 1);
    assert!(settings.again(&settings.current().expect("right")).is_ok(), "it was empty before");
    std::fs::write(&file, "[tunnel]\nlisten = \"0.0.0.0:1\"\n").expect("written");
    let wrong = settings.again(&Config::default()).expect_err("it is an edge's");
    assert!(wrong.lines().concat().contains("an edge's file"), "{wrong}");
    let settings = Settings { file: Some("/dev/null".into()), ..settings };
    assert!(!settings.is_lasting() && settings.current().is_ok());
    assert!(settings.again(&Config::default()).expect_err("empty by now").lines().concat().contains("no regular file"));
}

#[test]
fn flags_go_before_the_file_and_the_file_before_the_defaults() {
    let below = || config(EXAMPLES[0]);
    assert_eq!(RawFlags::default().merge(below()), Ok(below()));
    let merged = flags(|f| {
        f.name = Some("dc9".to_owned());
        f.edges = vec!["e:1".to_owned()];
        f.routes = vec!["prod=10.0.0.0/8".to_owned(), "test=10.0.0.0/8".to_owned()];
        f.allow = vec!["10.0.0.0/8:80".to_owned()];
        f.state_dir = Some("s".into());
        f.token_file = Some("t".into());
        f.links_per_edge = Some(4);
        f.admin_listen = Some("127.0.0.1:0".to_owned());
        f.workers = Some(3);
    })
    .merge(below())
    .expect("right flags");
    assert_eq!(
        merged,
        Config {
            name: "dc9".parse().ok(),
            edges: vec!["e:1".parse().expect("a target")],
            routes: ["prod", "test"]
                .map(|v| (v.parse().expect("a name"), "10.0.0.0/8".parse().expect("a network")))
                .to_vec(),
            allow: Some(vec![allow("10.0.0.0/8:80")]),
            state_dir: "s".into(),
            token_file: Some("t".into()),
            links_per_edge: 4,
            admin_listen: "127.0.0.1:0".parse().expect("an address"),
            workers: 3,
            maps: below().maps,
            withdrawn: below().withdrawn,
            reload: below().reload,
        }
    );
}

#[test]
fn every_mistake_in_the_flags_is_told() {
    let wrong = flags(|f| {
        f.name = Some("DC".to_owned());
        f.edges = vec!["e".to_owned(), "e:1".to_owned(), "e:1".to_owned()];
        f.routes = vec!["10.0.0.0/8".to_owned(), "a=10.0.0.1/8".to_owned()];
        f.links_per_edge = Some(0);
        f.admin_listen = Some("7841".to_owned());
    })
    .merge(Config::default())
    .expect_err("all of it is wrong");
    assert_eq!(wrong.to_string(), [
        "--name DC: names are 1 to 63 of a-z, 0-9 and '-', and do not begin with '-'",
        "--edge e: a target is HOST:PORT with an IP address (IPv6 in brackets) or a DNS name, and a port from 1 to 65535",
        "--edge e:1 is given twice",
        "--route 10.0.0.0/8: a route is VNET=CIDR, such as prod=10.0.0.0/16",
        "--route a=10.0.0.1/8: it has bits set behind its prefix; the network is \"10.0.0.0/8\"",
        "--links-per-edge 0: must be from 1 to 16",
        "--admin-listen 7841: an address to listen on is IP:PORT, such as 127.0.0.1:7841",
    ]
    .join("\n"));
}

#[test]
fn routes_of_flags_must_still_hold_the_maps_of_the_file() {
    let merged = flags(|f| f.routes = vec!["prod=10.1.0.0/16".to_owned()]).merge(config(EXAMPLES[0]));
    let why = "--route: the file maps 10.0.7.0/24 of vnet prod, which is inside none of the routes";
    assert_eq!(merged, Err(FlagMistakes(vec![why.to_owned()])));
}

/// Leaves out, doubles or replaces a few pieces of a text.
fn mutated(text: &str, changes: &[(prop::sample::Index, usize, u8)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, what) in changes {
        let at = at.index(chars.len() + 1);
        let end = (at + length).min(chars.len());
        match what % 3 {
            0 => drop(chars.drain(at..end)),
            1 => {
                let twice = chars[at..end].to_vec();
                chars.splice(at..at, twice);
            }
            _ => drop(chars.splice(at..end, [char::from(what % 95 + 32)])),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn no_change_of_an_example_panics(
        example in 0..EXAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, any::<u8>()), 1..8),
    ) {
        let text = mutated(EXAMPLES[example], &changes);
        if let Err(wrong) = parse(&text, file()) {
            let sorted = wrong.list.is_sorted();
            prop_assert!(sorted && !wrong.list.is_empty());
        }
    }

    #[test]
    fn no_flag_panics(text in "\\PC{0,40}|[0-9a-z=./:\\[\\]*-]{0,40}") {
        let list = vec![text.clone()];
        let _ = RawFlags {
            name: Some(text.clone()),
            edges: list.clone(),
            routes: list.clone(),
            allow: list,
            admin_listen: Some(text),
            ..RawFlags::default()
        }
        .merge(Config::default());
    }
}
