//! Commands that answer and end: exit codes, what they print, which setting wins, what they ask an edge.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    thread,
};

use crate::dir::{CONNECTOR, Dir, EDGE, FAILED, REFUSED, SETTINGS, SOON, USAGE};

#[test]
fn each_kind_of_failure_has_its_code_and_says_what_would_be_right() {
    let dir = Dir::new();
    fs::write(dir.path("cut"), "upt1_abcdef\n").expect("writable");
    for (line, code, words) in [
        ("", USAGE, &["Usage"][..]),
        ("egde", USAGE, &["edge", "--help"]),
        ("edge", USAGE, &["-c edge.toml"]),
        ("token create dc1", USAGE, &["-c edge.toml"]),
        ("token create DC1 -c edge.toml", USAGE, &["a-z, 0-9"]),
        ("token create dc1 -c edge.toml --expires 31d", USAGE, &["30 days"]),
        ("token create dc2 -c edge.toml", SETTINGS, &["\"dc2\"", "did you mean \"dc1\"", "[[connector]]"]),
        ("token create dc1 -c edge.toml --out missing/token", FAILED, &["missing/token"]),
        ("token create dc1 -c edge.toml --out a,a", USAGE, &["--out a is given twice"]),
        ("status -c edge.toml", FAILED, &["http://127.0.0.1:2", "is it running"]),
        ("ready -c edge.toml", FAILED, &["no edge answers at http://127.0.0.1:2"]),
        ("ready -c connector.toml", SETTINGS, &["port 0", "--admin"]),
        ("ready -c missing.toml", SETTINGS, &["missing.toml:1:1: "]),
        ("ready --admin https://127.0.0.1:2", USAGE, &["http://"]),
        ("status -c missing.toml", SETTINGS, &["missing.toml:1:1: "]),
        ("status --admin https://127.0.0.1:2", USAGE, &["http://"]),
        ("status --log-level loud", USAGE, &["--log-level loud", "debug"]),
        ("connector list --admin 127.0.0.1:2", FAILED, &["http://127.0.0.1:2"]),
        ("connector revoke dc1 --admin 127.0.0.1:2", REFUSED, &["--admin-token-file"]),
        ("connector revoke dc1 -c edge.toml", REFUSED, &["edge-state/admin.token"]),
        ("drain pool", USAGE, &["<NAME>"]),
        ("drain route web", USAGE, &["connector, origin, pool, load-balancer, listener"]),
        ("drain pool web --wait --timeout soon", USAGE, &["\"5s\""]),
        ("drain pool web --admin 127.0.0.1:2", REFUSED, &["--admin-token-file"]),
        ("undrain pool web -c edge.toml", REFUSED, &["edge-state/admin.token"]),
        ("connector --state-dir s", SETTINGS, &["--edge"]),
        ("connector -c connector.toml", SETTINGS, &["token"]),
        ("connector -c connector.toml --token upt1_abcdef", SETTINGS, &["cut short or mistyped"]),
        ("connector -c connector.toml --token-file cut", SETTINGS, &["cut", "cut short or mistyped"]),
        ("connector -c connector.toml --token-file missing", SETTINGS, &["missing", "cannot be read"]),
        ("connector -c connector.toml --edge a --route b", USAGE, &["--edge a: ", "--route b: "]),
        ("check edge.toml missing.toml", SETTINGS, &["missing.toml:1:1: "]),
        ("completion cmd", USAGE, &["bash"]),
    ] {
        dir.run(line).failed(code, words);
    }
}

#[test]
fn check_tells_whose_file_it_is_and_every_mistake_in_it() {
    let dir = Dir::new();
    let right = dir.run("check edge.toml connector.toml");
    assert_eq!((right.code, right.out.as_str()), (0, "edge.toml: ok (edge)\nconnector.toml: ok (connector)\n"));

    let wrong = EDGE.replace("[tunnel]", "[tunel]").replace("10.0.0.0/16", "10.0.0.1/16");
    fs::write(dir.path("wrong.toml"), wrong).expect("writable");
    let told = dir.run("check wrong.toml");
    told.failed(SETTINGS, &["wrong.toml:4:2: ", "`tunnel`", "wrong.toml:10:", "10.0.0.0/16"]);
    let (places, last) = told.err.trim_end().rsplit_once('\n').expect("two lines");
    assert!(places.lines().all(|line| line.starts_with("wrong.toml:")), "{told:?}");
    assert!(last.starts_with("help: UP-102: "), "{told:?}");
    let started = dir.run("edge -c wrong.toml");
    assert_eq!((started.code, started.err), (SETTINGS, told.err));

    fs::write(dir.path("whose.toml"), "name = \"x\"\n").expect("writable");
    dir.run("check whose.toml").failed(SETTINGS, &["whose.toml:1:1: ", "[tunnel]"]);
}

#[test]
fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
    let dir = Dir::new();
    // Numbers out of bounds, so that the one in force is told.
    let variable = [("UNDERPASS_CONFIG", "connector.toml"), ("UNDERPASS_LINKS_PER_EDGE", "98")];
    dir.run_with(&variable, "connector --links-per-edge 99").failed(USAGE, &["--links-per-edge 99"]);
    dir.run_with(&variable, "connector").failed(USAGE, &["--links-per-edge 98"]);
    dir.run_with(&variable[..1], "connector").failed(SETTINGS, &["token"]);
    dir.run_with(&[("UNDERPASS_CONFIG", "missing.toml")], "check connector.toml -c x").went_well();
    dir.run_with(&[("UNDERPASS_CONFIG", "missing.toml")], "status -c edge.toml").failed(FAILED, &["127.0.0.1:2"]);
    dir.run_with(&[("UNDERPASS_EDGE", "a,b")], "connector").failed(USAGE, &["--edge a", "--edge b"]);
    dir.run_with(&[("UNDERPASS_LOG_LEVEL", "loud")], "status --log-level off -c missing")
        .failed(SETTINGS, &["missing"]);
    // What a container's template left empty is not there.
    let names = "CONFIG LOG_LEVEL LOG_FORMAT TOKEN TOKEN_FILE EDGE ROUTE ALLOW NAME STATE_DIR LINKS_PER_EDGE ADMIN_LISTEN \
                 WORKERS GRACE_PERIOD OUT EXPIRES ADMIN ADMIN_TOKEN_FILE JSON WATCH FORCE";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("UNDERPASS_{name}")).collect();
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    dir.run_with(&empty, "connector -c connector.toml").failed(SETTINGS, &["give a join token"]);
    dir.run_with(&empty, "token create dc1 -c edge.toml").went_well();
    dir.run_with(&empty, "status -c edge.toml").failed(FAILED, &["127.0.0.1:2"]);
    dir.run_with(&empty, "connector revoke dc1").failed(REFUSED, &["--admin-token-file"]);
    dir.run_with(&empty, "edge").failed(USAGE, &["-c edge.toml"]);
}

#[test]
fn a_join_token_is_printed_with_the_command_that_takes_it() {
    let dir = Dir::new();
    let made = dir.run("token create dc1 -c edge.toml --expires 10m");
    made.went_well();
    let command = made.out.lines().map(str::trim).find(|line| line.starts_with("underpass ")).expect("a command");
    let words: Vec<&str> = command.split(' ').collect();
    let ["underpass", "connector", "--token", token, ref rest @ ..] = words[..] else { panic!("{command}") };
    assert_eq!(rest, ["--edge", "127.0.0.1:1", "--route", "prod=10.0.0.0/16", "--route", "lab=fd00::/8"]);
    let token: certs::token::JoinToken = token.parse().expect("a token");
    assert_eq!(token.connector.as_str(), "dc1");
    assert!(made.out.contains("10m"), "{}", made.out);
    assert!(dir.path("edge-state/ca.pem").exists(), "the CA is made with the first token");

    let elsewhere = dir.run_with(&[("UNDERPASS_STATE_DIR", "other-state")], "token create dc1 -c edge.toml");
    elsewhere.went_well();
    assert!(dir.path("other-state/ca.pem").exists());
}

#[test]
fn a_token_file_is_bare_and_for_its_owner_alone() {
    let dir = Dir::new();
    dir.run("token create dc1 -c edge.toml --out token").went_well();
    let old = fs::read(dir.path("token")).expect("readable");
    let made = dir.run("token create dc1 -c edge.toml --out token");
    made.went_well();
    let text = fs::read_to_string(dir.path("token")).expect("readable");
    text.parse::<certs::token::JoinToken>().expect("a token and nothing else");
    assert_ne!(text.as_bytes(), old, "it takes the place of an old one");
    assert!(!made.out.contains(text.trim()), "what is written is not printed");
    assert!(made.out.contains("--token-file token --edge 127.0.0.1:1"), "{}", made.out);
    let mode = fs::metadata(dir.path("token")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    dir.run("token create dc2 -c edge.toml --out none").failed(SETTINGS, &["dc2"]);
    assert!(!dir.path("none").exists());
    let left = fs::read_dir(dir.0.path()).expect("readable").flatten();
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().starts_with(".token")));
}

#[test]
fn several_replicas_get_a_token_each() {
    let dir = Dir::new();
    let made = dir.run_with(&[("UNDERPASS_OUT", "one,two")], "token create dc1 -c edge.toml");
    made.went_well();
    let token = |name: &str| {
        let text = fs::read_to_string(dir.path(name)).expect("readable");
        assert!(made.out.contains(&format!("--token-file {name} --edge")), "{}", made.out);
        text.parse::<certs::token::JoinToken>().expect("a token and nothing else").reveal()
    };
    assert_ne!(token("one"), token("two"));

    // Nothing is made unless every file can be: a token without a file is nobody's.
    let open = || fs::read_dir(dir.path("edge-state/tokens")).expect("readable").count();
    let before = open();
    dir.run("token create dc1 -c edge.toml --out three,missing/four").failed(FAILED, &["missing/four"]);
    assert_eq!((open(), dir.path("three").exists()), (before, false));
}

#[test]
fn a_token_in_a_variable_does_not_show_in_help() {
    let dir = Dir::new();
    let help = dir.run_with(&[("UNDERPASS_TOKEN", "upt1_secret")], "connector --help");
    help.went_well();
    assert!(help.out.contains("UNDERPASS_TOKEN") && !help.out.contains("upt1_secret"), "{}", help.out);
}

#[test]
fn completion_and_version_are_printed() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.run(&format!("completion {shell}"));
        assert!(script.code == 0 && script.out.contains("underpass") && script.err.is_empty(), "{shell}");
    }
    for line in ["--version", "edge --version", "connector list --version"] {
        let version = dir.run(line);
        assert!(version.out.contains(env!("CARGO_PKG_VERSION")), "{line}: {version:?}");
    }
}

/// Answers each question in turn, and tells what it was asked.
fn edge_that_answers(answers: Vec<(u16, &'static str)>) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let at = listener.local_addr().expect("bound");
    let asked = thread::spawn(move || {
        let answer = |(code, body): (u16, &str)| {
            let (stream, _) = listener.accept().expect("somebody asks");
            stream.set_read_timeout(Some(SOON)).expect("settable");
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).expect("readable") > 0, "a whole head: {head}");
            }
            let length = body.len();
            let head_back = format!("HTTP/1.1 {code} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            (&stream).write_all((head_back + body).as_bytes()).expect("writable");
            head.to_ascii_lowercase()
        };
        answers.into_iter().map(answer).collect()
    });
    (at, asked)
}

const STATUS: &str = r#"{"edge":"edge-1","version":"9","catalog_version":3,"tunnels":[{"connector":"dc1","health":"healthy",
"links":[],"routes":[{"vnet":"prod","cidr":"10.0.0.0/16"}],"refused_routes":[]}]}"#;

#[test]
fn status_and_list_print_what_the_edge_says() {
    let dir = Dir::new();
    let (at, asked) = edge_that_answers(vec![(200, STATUS); 3]);
    let tables = dir.run(&format!("status --admin http://{at}"));
    assert!(tables.out.contains("edge edge-1, version 9, catalog 3") && tables.out.contains("dc1"), "{tables:?}");
    let json = dir.run(&format!("status --json --admin {at}"));
    assert_eq!(json.out.trim_end(), STATUS);
    let list = dir.run(&format!("connector list --admin {at}"));
    assert!(list.out.contains("prod 10.0.0.0/16") && !list.out.contains("listeners"), "{list:?}");
    for head in asked.join().expect("three questions") {
        assert!(head.starts_with("get /api/v1/status http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {at}\r\n")) && !head.contains("authorization"), "{head}");
    }
}

#[test]
fn a_watch_ends_with_its_reader_and_not_with_the_edge() {
    let dir = Dir::new();
    let (at, asked) = edge_that_answers(vec![(200, STATUS)]);
    let (reader, out) = std::io::pipe().expect("a pipe");
    let mut watch = dir.command(&format!("status --watch --admin {at}")).stdout(out).spawn().expect("the binary runs");
    asked.join().expect("one question");
    let mut lines = BufReader::new(reader).lines();
    // The edge is gone, and is asked again.
    let gone = lines.by_ref().map_while(Result::ok).find(|line| line.contains("is it running"));
    assert!(gone.is_some(), "the watch has ended");
    drop(lines);
    assert!(watch.wait().expect("our child").success());
}

#[test]
fn ready_is_an_exit_code_with_the_reasons_beside_it() {
    let dir = Dir::new();
    let (at, asked) =
        edge_that_answers(vec![(200, "ok\n"), (503, "edge-1:7843 link 0: dialling\n"), (404, ""), (200, "ok\n")]);
    let ready = dir.run(&format!("ready --admin http://{at}"));
    assert_eq!((ready.code, ready.out.as_str(), ready.err.as_str()), (0, "ready\n", ""));
    dir.run(&format!("ready --admin {at}")).failed(FAILED, &["not ready: edge-1:7843 link 0: dialling"]);
    dir.run(&format!("ready --admin {at}")).failed(FAILED, &["answered 404"]);
    // The file, here a connector's, says where to ask.
    fs::write(dir.path("here.toml"), CONNECTOR.replace("127.0.0.1:0", &at.to_string())).expect("writable");
    dir.run_with(&[("UNDERPASS_CONFIG", "here.toml")], "ready").went_well();
    for head in asked.join().expect("four questions") {
        assert!(head.starts_with("get /readyz http/1.1\r\n") && !head.contains("authorization"), "{head}");
    }
}

#[test]
fn a_revocation_carries_the_admin_token_of_the_edge_s_state_dir() {
    let dir = Dir::new();
    let refusal = r#"{"error":"no connector has this name"}"#;
    let (at, asked) = edge_that_answers(vec![(200, r#"{"links_closed":2}"#), (404, refusal), (401, "wrong token")]);
    fs::create_dir(dir.path("edge-state")).expect("writable");
    fs::write(dir.path("edge-state/admin.token"), "t0ken\n").expect("writable");
    fs::write(dir.path("edge.toml"), EDGE.replace("127.0.0.1:2", &at.to_string())).expect("writable");

    let revoked = dir.run("connector revoke dc1 -c edge.toml");
    assert!(
        revoked.code == 0 && revoked.out.contains("dc1 is revoked") && revoked.out.contains("2 links"),
        "{revoked:?}"
    );
    dir.run("connector revoke dc9 -c edge.toml").failed(FAILED, &["no connector has this name"]);
    let named = format!("connector revoke dc1 --admin {at} --admin-token-file edge-state/admin.token");
    dir.run(&named).failed(REFUSED, &["edge-state/admin.token", "not this edge's"]);
    let asked = asked.join().expect("three questions");
    assert!(asked[0].starts_with("post /api/v1/connectors/dc1/revoke "), "{}", asked[0]);
    for head in asked {
        assert!(head.contains("authorization: bearer t0ken\r\n"), "{head}");
    }
}

#[test]
fn what_answers_nonsense_is_told_apart_from_what_does_not_answer() {
    let dir = Dir::new();
    let (at, asked) = edge_that_answers(vec![(200, "<html>"), (500, "")]);
    dir.run(&format!("status --admin {at}")).failed(FAILED, &["cannot be understood"]);
    dir.run(&format!("status --admin {at}")).failed(FAILED, &[&at.to_string(), "500"]);
    asked.join().expect("two questions");
}

#[test]
fn an_error_has_a_code_and_for_programs_it_is_an_object() {
    let dir = Dir::new();
    let refusal = r#"{"error":"it stays","code":"UP-406","help":"later"}"#;
    let (at, asked) =
        edge_that_answers(vec![(409, refusal), (409, refusal), (500, r#"{"error":"x","code":"UP-999"}"#)]);
    let told = dir.run(&format!("status --admin http://{at}"));
    told.failed(FAILED, &["answered 409: it stays\nhelp: UP-406: "]);
    let told = dir.run(&format!("status --json --admin http://{at}"));
    told.failed(FAILED, &["answered 409: it stays"]);
    let problem: serde_json::Value = serde_json::from_str(&told.err).expect("one object");
    assert_eq!((&problem["code"], told.out.as_str()), (&serde_json::json!("UP-406"), ""), "{told:?}");
    assert!(problem["help"].as_str().is_some_and(|help| !help.is_empty()), "{told:?}");
    // A code of a later version is none of ours.
    dir.run(&format!("status --admin http://{at}")).failed(FAILED, &["answered 500: x\nhelp: UP-408: "]);
    let _ = asked.join().expect("three questions");
    dir.run("status --admin http://127.0.0.1:1").failed(FAILED, &["\nhelp: UP-401: "]);
}
