//! What TLS asks of clients: certificates, and not too old a version; and what origins are told of them.

use std::{fs, path::Path};

use underpass_tests::harness::{
    Edge, Service, World,
    origin::recorder::Recorder,
    process::{self, Ran, command},
    wait::{self, SOON},
};

use crate::origin_tls::Authority;

const FILES: &str = "certificates = [{ certificate = \"www.pem\", key = \"www.key\" }]\n";

/// The authorities `ca` (of the server) and `clients`, the server's certificate, and one of each of these clients.
fn certificates(world: &World, clients: &[&str]) {
    Authority::new(world, "ca").issue(world, "www", "www.test");
    let authority = Authority::new(world, "clients");
    clients.iter().for_each(|client| authority.issue(world, client, "client.test"));
    Authority::new(world, "stranger").issue(world, "strange", "client.test");
}

fn curl(world: &World, edge: &Edge, arguments: &[&str]) -> Ran {
    let at = edge.listener("www");
    let mut curl = command("curl");
    curl.current_dir(world.path("")).args(["-sS", "--max-time", "20", "--cacert", "ca.pem"]);
    curl.args(["--resolve", &format!("www.test:{}:{}", at.port(), at.ip())]).args(arguments);
    curl.arg(format!("https://www.test:{}/", at.port()));
    process::run(curl, SOON)
}

/// What `Client-Cert` is for whoever shows this file.
fn field(file: &Path) -> String {
    let pem = fs::read_to_string(file).expect("a file");
    let lines = pem.lines().skip(1).take_while(|line| !line.starts_with("-----"));
    format!("client-cert: :{}:", lines.collect::<String>())
}

fn shows<'a>(name: &'a str, files: &'a mut Vec<String>) -> Vec<&'a str> {
    *files = vec!["--cert".to_owned(), format!("{name}.pem"), "--key".to_owned(), format!("{name}.key")];
    files.iter().map(String::as_str).collect()
}

fn heads(recorder: &Recorder) -> String {
    recorder.take().concat()
}

#[test]
fn client_certificates_are_demanded_and_told_to_origins_and_nobody_makes_them_up() {
    let world = World::new();
    certificates(&world, &["alice", "bob"]);
    let origin = Recorder::start(world.free());
    let lines = format!("{FILES}client_certificates = {{ ca = \"clients.pem\" }}");
    let edge = world.edge("edge-1").service(&Service::https("www").listener(&lines).direct(origin.address())).start();
    let mut files = Vec::new();
    let forged =
        ["-H", "Client-Cert: :Zm9yZ2Vk:", "-H", "Client_Cert: :Zm9yZ2Vk:", "-H", "Client-Cert-Chain: :Zm9yZ2Vk:"];
    for version in ["--http1.1", "--http2"] {
        for client in ["alice", "bob"] {
            let ran = curl(&world, &edge, &[&shows(client, &mut files)[..], &forged, &[version]].concat());
            assert_eq!(ran.ok().out, "ok");
            let head = heads(&origin).to_lowercase();
            let expected = field(&world.path(&format!("{client}.pem"))).to_lowercase();
            assert!(head.contains(&expected), "{expected}: {head}");
            assert!(!head.contains("zm9yz2vk"), "{head}");
        }
    }
    for arguments in [vec![], shows("strange", &mut files)] {
        assert_ne!(curl(&world, &edge, &arguments).code, 0, "{arguments:?}");
    }
    assert_eq!(heads(&origin), "");
    let counted = || edge.metrics().contains("underpass_flows_refused_total{listener=\"www\",why=\"tls_handshake\"} 2");
    wait::soon_true("the refusals to be counted", counted);
}

#[test]
fn client_certificates_that_are_optional_are_told_where_there_are_some() {
    let world = World::new();
    certificates(&world, &["alice"]);
    let origin = Recorder::start(world.free());
    let lines = format!("{FILES}client_certificates = {{ ca = \"clients.pem\", optional = true }}");
    let plain = Service::http("plain").direct(origin.address());
    let edge = world
        .edge("edge-1")
        .service(&Service::https("www").listener(&lines).direct(origin.address()))
        .service(&plain)
        .start();
    let mut files = Vec::new();
    let forged = ["-H", "Client-Cert: :Zm9yZ2Vk:"];
    assert_eq!(curl(&world, &edge, &forged).ok().out, "ok");
    assert!(!heads(&origin).to_lowercase().contains("client-cert"));
    let _ = curl(&world, &edge, &shows("alice", &mut files)).ok();
    assert!(heads(&origin).contains(&field(&world.path("alice.pem"))));
    assert_ne!(curl(&world, &edge, &shows("strange", &mut files)).code, 0, "what is shown is judged");
    // Where no certificate is asked for, none is told of either.
    let mut asking = command("curl");
    asking.args(["-sS", "--max-time", "20", "-H", forged[1]]).arg(format!("http://{}/", edge.listener("plain")));
    assert_eq!(process::run(asking, SOON).ok().out, "ok");
    assert!(!heads(&origin).to_lowercase().contains("client-cert"));
}

#[test]
fn client_certificates_go_by_the_authorities_that_are_in_the_file_now() {
    let world = World::new();
    certificates(&world, &["alice"]);
    let origin = Recorder::start(world.free());
    let lines = format!("{FILES}client_certificates = {{ ca = \"clients.pem\" }}");
    let file = world.edge("edge-1").service(&Service::https("www").listener(&lines).direct(origin.address()));
    let edge = file.start();
    let mut files = Vec::new();
    assert_eq!(curl(&world, &edge, &shows("alice", &mut files)).code, 0);
    fs::copy(world.path("stranger.pem"), world.path("clients.pem")).expect("writable");
    wait::soon_true("the new authority to be believed", || {
        curl(&world, &edge, &shows("strange", &mut Vec::new())).code == 0
    });
    assert_ne!(curl(&world, &edge, &shows("alice", &mut files)).code, 0);
}

#[test]
fn versions_that_are_too_old_are_refused() {
    let world = World::new();
    certificates(&world, &[]);
    let origin = Recorder::start(world.free());
    let lines = format!("{FILES}minimum_tls = \"1.3\"");
    let edge = world.edge("edge-1").service(&Service::https("www").listener(&lines).direct(origin.address())).start();
    assert_eq!(curl(&world, &edge, &[]).ok().out, "ok");
    assert_ne!(curl(&world, &edge, &["--tls-max", "1.2"]).code, 0);
}

#[test]
fn client_certificates_without_authorities_are_refused_at_the_start() {
    let world = World::new();
    certificates(&world, &[]);
    let lines = format!("{FILES}client_certificates = {{ ca = \"none.pem\" }}");
    let file = world.edge("edge-1").service(&Service::https("www").listener(&lines).direct(world.free()));
    file.write();
    let ran = world.underpass(&["check", &file.path.display().to_string()]);
    let _ = ran.exited(3).says(&["none.pem", "listener www"]);
}
