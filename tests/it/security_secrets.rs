//! What must never be shown: tokens, keys, payload, cookies. A whole run of an edge and a connector at the level that shows most,
//! and everything that they say searched for it.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use underpass_tests::harness::{
    Connector, Edge, Service, World, client, http,
    origin::{habits, web},
    process,
    rogue::read_token,
    wait::{SOON, soon_true},
};

/// Texts that clients and origins send, and nobody else has any business with.
const PAYLOAD: [&str; 5] =
    ["tcp-payload-5f2d", "body-of-a-request-77aa", "cookie-value-91be", "bearer-value-c3d4", "query-value-e5f6"];

#[test]
fn a_whole_run_at_trace_level_shows_no_secret() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (echo, mirror) = (habits::echo(world.free_in(&prod, 10)), web::mirror(world.free_in(&prod, 11)));
    let affinity = "session_affinity = { type = \"cookie\", ttl = \"1h\" }";
    let mut edge = world
        .edge("edge-1")
        .log_level("trace")
        .grant("dc1", &[&prod])
        .tcp_monitor("tcp")
        .service(&Service::tcp("echo").origin(&prod, echo.address()).monitor("tcp"))
        .service(&Service::http("web").origin(&prod, mirror.address()).balancer(affinity))
        .start();
    let token_file = edge.token("dc1");
    let token = read_token(&token_file);
    let mut dc1 = world.connector("dc1").log_level("trace").serve(&prod).token(&token_file).start_enrolled(&[&edge]);
    let mut secrets = kept_in(&edge.file.state_dir);
    secrets.extend(kept_in(&dc1.file.state_dir));
    assert!(secrets.len() >= 6, "CA, endpoint, admin token, identity: {} secrets", secrets.len());
    secrets.push(("the token".to_owned(), fs::read(&token_file).expect("it is there").trim_ascii().to_vec()));
    secrets.push(("the token's secret".to_owned(), token.secret.expose().to_vec()));

    assert_eq!(
        client::exchange(edge.listener("echo"), PAYLOAD[0].as_bytes()).expect("it serves"),
        PAYLOAD[0].as_bytes()
    );
    let answer = browse(&edge);
    assert!(
        PAYLOAD[2..].iter().all(|text| answer.contains(text)),
        "what is in its head went through and came back: {answer}"
    );
    let cookie = answer.lines().find_map(|line| line.to_lowercase().strip_prefix("set-cookie:").map(str::to_owned));
    let sealed =
        cookie.as_deref().and_then(|cookie| cookie.split(['=', ';']).nth(1)).expect("affinity sets one").to_owned();
    let _ = edge.command(&["connector", "revoke", "dc1"]).ok();
    soon_true("the edge to close its links", || edge.links("dc1") == 0);
    let _ = dc1.process.wait_log(&["revoked"]);

    let sayings = sayings(&mut edge, &mut dc1);
    for (what, secret) in &secrets {
        for spelling in spellings(secret) {
            assert_unsaid(&sayings, what, &spelling);
        }
    }
    for text in PAYLOAD.iter().copied().chain([sealed.as_str()]) {
        for spelling in spellings(text.as_bytes()) {
            assert_unsaid(&sayings, text, &spelling);
        }
    }
}

/// A request with a secret in each place that may hold one; its origin mirrors the head.
fn browse(edge: &Edge) -> String {
    let [_, body, cookie, bearer, query] = PAYLOAD;
    let at = edge.listener("web");
    let mut stream = client::connect(at).expect("the edge listens");
    let head = format!(
        "POST /path?key={query} HTTP/1.1\r\nHost: {at}\r\nCookie: id={cookie}\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the edge reads");
    String::from_utf8_lossy(&client::read_all(&stream).0).into_owned()
}

/// Everything that either says to anybody but the parties of a flow, with where.
fn sayings(edge: &mut Edge, dc1: &mut Connector) -> Vec<(&'static str, String)> {
    let shown = |id: u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let connector_says = |path| http::get(dc1.file.admin, path).expect("it answers").body;
    vec![
        ("the edge's metrics", edge.metrics()),
        ("the connector's metrics", connector_says("/metrics")),
        ("the connector's readiness", connector_says("/readyz")),
        ("the status", edge.status().to_string()),
        ("`status`", edge.command(&["status"]).ok().text()),
        ("`connector list`", edge.command(&["connector", "list"]).ok().text()),
        ("the edge's arguments", shown(edge.process.id())),
        ("the connector's arguments", shown(dc1.process.id())),
        ("the connector's log", dc1.process.log_to_its_end()),
        ("the edge's log", edge.process.log_to_its_end()),
    ]
}

/// The secrets in the files of a state directory: texts of private keys, and what else is private in its nature.
fn kept_in(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for path in files(dir) {
        let bytes = fs::read(&path).expect("it is there");
        let name = path.display().to_string();
        match path.file_name().and_then(|name| name.to_str()) {
            Some("endpoint.keys") => found.extend([(name.clone(), bytes[..64].to_vec()), (name, bytes[64..].to_vec())]),
            Some("admin.token" | "affinity.key") => found.push((name, bytes)),
            _ => found.extend(private_key(&bytes).map(|key| (name, key))),
        }
    }
    found
}

/// The first full line of a private key in PEM: no two keys share their second.
fn private_key(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = str::from_utf8(bytes).ok()?;
    let key = text.split("PRIVATE KEY-----").nth(1)?;
    key.lines().nth(2).map(|line| line.as_bytes().to_vec())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    // The door of a hand-over is no file that holds anything.
    let is_file = |path: &PathBuf| path.is_file() || path.is_dir();
    let entries = fs::read_dir(dir).expect("a state directory").flatten().map(|entry| entry.path()).filter(is_file);
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// How bytes come to be printed: as they are, in hexadecimal digits of either case, in either base64, as a list of numbers.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut spellings = vec![hex.to_uppercase(), hex, list.join(", "), list.join(",")];
    spellings.extend(base64(secret));
    spellings.extend(str::from_utf8(secret).map(str::to_owned));
    spellings
}

/// By the machine's own program, with what is padding left out.
fn base64(bytes: &[u8]) -> [String; 2] {
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let mut encode = process::command("sh");
    encode.args(["-c", "printf \"$0\" | base64 -w0", &octal]);
    let text = process::run(encode, SOON).ok().out;
    // The last digits depend on what follows.
    let text = text.trim_end_matches('=');
    let text = &text[..text.len().saturating_sub(1)];
    [text.to_owned(), text.replace('+', "-").replace('/', "_")]
}

fn assert_unsaid(sayings: &[(&str, String)], what: &str, spelling: &str) {
    assert!(spelling.len() >= 8, "{what}: too short to be told from chance: {spelling:?}");
    for (place, text) in sayings {
        let at = text.lines().find(|line| line.contains(spelling));
        assert!(at.is_none(), "{place} shows {what}: {}", at.unwrap_or_default());
    }
}

#[test]
fn a_token_file_takes_the_place_of_a_link_and_is_its_owners() {
    let world = World::new();
    let file = world.edge("edge-1").grant("dc1", &[&world.vnet("prod")]);
    file.write();
    // Somebody else's file, open to all, and a link to it where the token is to be written.
    let (victim, out) = (world.write("victim", "mine"), world.path("dc1.token"));
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o666)).expect("it is ours");
    std::os::unix::fs::symlink(&victim, &out).expect("a link");
    let (config, to) = (file.path.display().to_string(), out.display().to_string());
    let _ = world.underpass(&["token", "create", "dc1", "-c", &config, "--out", &to]).ok();
    assert_eq!(fs::read_to_string(&victim).expect("it is there"), "mine");
    let about = fs::symlink_metadata(&out).expect("it is there");
    assert!(about.is_file() && about.permissions().mode() & 0o777 == 0o600, "{about:?}");
    assert!(read_token(&out).connector.as_str() == "dc1");
}

#[test]
fn the_search_finds_what_is_there() {
    let spelled = spellings(b"secret-\xff\x00\x01");
    assert!(spelled.iter().any(|text| text == "7365637265742dff0001"));
    assert!(spelled.iter().any(|text| text.starts_with("c2VjcmV0Lf8A")));
    assert!(spelled.iter().any(|text| text.starts_with("115, 101, 99")));
}
