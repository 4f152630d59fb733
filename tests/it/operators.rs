//! What an operator meets over a year: endings, reloads, files that run out, and what status and metrics say meanwhile.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt,
    process::Command,
    time::{Duration, Instant},
};

use crate::http::certificate;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use underpass_tests::harness::{
    Process, Service, World, client, http,
    origin::habits,
    process::Signal,
    wait::{self, SOON},
};

/// Opening a pipe fails while nobody reads it (Linux).
const O_NONBLOCK: i32 = 0o4000;
/// What has nothing to wait for ends within this, with room for a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(4);

fn says(at: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = client::connect(at).expect("it listens");
    stream.write_all(bytes).expect("a fresh connection takes it");
    stream
}

#[test]
fn a_byte_to_an_admin_port_holds_up_no_end() {
    let world = World::new();
    let prod = world.vnet("prod");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let mut dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let _held = [says(dc1.file.admin, b"G"), says(edge.file.admin, b"G"), says(edge.file.admin, b"")];
    assert_eq!(dc1.process.terminate(AT_ONCE).code(), Some(0));
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0));
}

#[test]
fn clients_that_have_asked_for_nothing_hold_up_no_end() {
    let world = World::new();
    let origin = habits::echo(world.free());
    certificate(&world, "a", "a.example");
    let files = "certificates = [{ certificate = \"a.pem\", key = \"a.key\" }]";
    let tls = Service::https("tls").listener(files).direct(origin.address());
    let proxied = Service::tcp("proxied").listener("proxy_protocol = [\"127.0.0.0/8\"]").direct(origin.address());
    let file = world.edge("edge-1").service(&tls).service(&Service::http("plain").direct(origin.address()));
    let mut edge = file.service(&proxied).start();
    let _held = [
        says(edge.listener("tls"), b""),
        says(edge.listener("tls"), &[0x16, 3, 1]),
        says(edge.listener("plain"), b""),
        says(edge.listener("plain"), b"GET / HT"),
        says(edge.listener("plain"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        says(edge.listener("proxied"), b"PROXY"),
    ];
    wait::soon_true("all to be taken", || {
        edge.status()["listeners"].as_array().is_some_and(|all| all.iter().all(|l| l["flows"].as_u64() >= Some(1)))
    });
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0));
}

fn limit_files(process: &Process, files: u64) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(files), maximum: Some(20_000) };
    let _ = prlimit(pid, Resource::Nofile, limit).expect("root limits a process's files");
}

#[test]
fn clients_that_use_up_all_files_leave_the_operator_some_and_idle_ones_make_room() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::http(world.free(), "one").0;
    let file = world.edge("edge-1").grant("dc1", &[&prod]).service(&Service::http("web").direct(origin.address()));
    let edge = file.start();
    limit_files(&edge.process, edge.process.files() + 16 + 40);
    let at = edge.listener("web");
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
        stream.read(&mut [0; 512])
    };
    // Kept open after their answers, until there is no room.
    let mut held: Vec<TcpStream> = Vec::new();
    wait::soon_true("files to be used up", || {
        // One that is refused is reset.
        if let Ok(mut stream) = client::connect(at) {
            let _ = ask(&mut stream);
            held.push(stream);
        }
        http::get(edge.file.admin, "/metrics").is_some_and(|answer| {
            answer.body.lines().any(|line| {
                line.starts_with("underpass_flows_refused_total") && line.contains("accept") && !line.ends_with(" 0")
            })
        })
    });
    for _ in 0..3 {
        assert_eq!(http::get(edge.file.admin, "/readyz").map(|answer| answer.code), Some(200));
    }
    let revoked = edge.command(&["connector", "revoke", "dc1"]).ok();
    assert!(revoked.out.contains("revoked"), "{}", revoked.out);
    edge.process.signal(Signal::HUP);
    let _ = edge.process.wait_log(&["catalog in force", "nothing"]);
    wait::soon_true("an idle client to have made room for another", || {
        client::connect(at).is_ok_and(|mut stream| matches!(ask(&mut stream), Ok(1..)))
    });
    let told = edge.process.log().lines().filter(|line| line.contains("files are used up")).count();
    assert!((1..200).contains(&told), "{told} lines");
}

#[test]
fn a_listener_moves_between_one_address_and_all_by_a_reload() {
    let world = World::new();
    let (one, sink) = (habits::names_itself(world.free(), "one"), habits::echo(world.free()));
    let file = world.edge("edge-1").service(&Service::tcp("who").direct(one.address()));
    let mut edge = file.service(&Service::tcp("echo").direct(sink.address())).start();
    let at = edge.listener("who");
    let flow = client::connect(edge.listener("echo")).expect("it listens");
    let right = edge.file.text();
    let everywhere = right.replace(&format!("listen = \"{at}\""), &format!("listen = \"0.0.0.0:{}\"", at.port()));
    assert_ne!(right, everywhere);
    for (version, text) in [(2, &everywhere), (3, &right)] {
        fs::write(&edge.file.path, text).expect("writable");
        edge.process.signal(Signal::HUP);
        wait::soon_true("the reload", || edge.status()["catalog_version"] == version);
        assert_eq!(client::listen_to(at).expect("it listens"), "one");
        client::ping(&flow, b"still").expect("others are not touched");
    }
    // An address that somebody else has is not had, and what was there is there again.
    let taken = std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, 0, 0, 77), at.port())).expect("free");
    fs::write(&edge.file.path, &everywhere).expect("writable");
    edge.process.signal(Signal::HUP);
    let _ = edge.process.wait_log(&["reload refused"]);
    wait::soon_true("the old listener", || client::listen_to(at).is_ok_and(|name| name == "one"));
    drop(taken);
    assert!(edge.process.is_running());
}

#[test]
fn every_reload_that_is_refused_is_counted_and_what_one_changes_is_told() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let edge = world.edge("edge-1").service(&Service::tcp("echo").direct(origin.address()));
    let edge = edge.service(&Service::tcp("gone").direct(origin.address())).start();
    let right = edge.file.text();
    let refused = |count: usize| {
        edge.process.signal(Signal::HUP);
        wait::soon_true(&format!("{count} refused reloads"), || {
            edge.metrics().contains(&format!("underpass_reloads_total{{outcome=\"refused\"}} {count}\n"))
        });
    };
    let applied =
        |count: usize| edge.metrics().contains(&format!("underpass_reloads_total{{outcome=\"applied\"}} {count}\n"));
    assert!(applied(0), "a start is no reload");
    fs::write(&edge.file.path, "not toml at all").expect("writable");
    refused(1);
    fs::remove_file(&edge.file.path).expect("it was there");
    refused(2);
    let _ = client::exchange(edge.listener("gone"), b"hello").expect("it serves");
    assert!(edge.metrics().contains("\"gone\""));
    let without = right.split("[[listener]]\nname = \"gone\"").next().expect("the last listener").to_owned();
    fs::write(&edge.file.path, without).expect("writable");
    edge.process.signal(Signal::HUP);
    let _ = edge.process.wait_log(&["catalog in force", "listener gone"]);
    wait::soon_true("its series to be gone", || !edge.metrics().contains("\"gone\""));
    wait::soon_true("the reload to be counted", || applied(1));
}

#[test]
fn status_of_an_edge_that_ends_says_so_and_a_connector_has_one_of_its_own() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let service = Service::tcp("echo").origin(&prod, origin.address());
    let (mut edge, dc1) = world.stand(&prod, &[&service]);
    let ran = |arguments: &[&str]| {
        let mut command = underpass_tests::harness::world::underpass();
        command.args(arguments).arg("-c").arg(&dc1.file.path);
        underpass_tests::harness::process::run(command, Duration::from_secs(20))
    };
    let shown = ran(&["status"]).ok();
    for part in ["connector dc1", "certificate until", "edge-1", "2 of 2", "prod 10.", " ms"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let json: serde_json::Value = serde_json::from_str(&ran(&["status", "--json"]).ok().out).expect("JSON");
    assert_eq!(json["edges"][0]["links"].as_array().map(Vec::len), Some(2));
    assert!(http::get(dc1.file.admin, "/metrics").is_some_and(|answer| {
        answer.body.contains(&format!("underpass_links_up{{edge=\"{}\"}} 2", edge.file.tunnel))
    }));
    assert_eq!(ran(&["ready"]).ok().out, "ready\n");

    let held = client::connect(edge.listener("echo")).expect("it listens");
    client::ping(&held, b"hello").expect("it echoes");
    edge.process.signal(Signal::TERM);
    wait::soon_true("the end to be told", || {
        edge.try_status().is_some_and(|status| status["unready"][0] == "the edge is shutting down")
    });
    assert!(edge.command(&["status"]).ok().out.contains("not ready: the edge is shutting down"));
    drop(held);
    assert_eq!(edge.process.wait(SOON).code(), Some(0));
}

#[test]
fn a_connector_that_is_ready_tells_of_an_edge_without_links() {
    let world = World::new();
    let prod = world.vnet("prod");
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).start();
    let nobody = world.free();
    let dc1 = world.connector("dc1").serve(&prod).dial_at(nobody).start(&[&edge]);
    wait::soon_true("it to tell", || {
        let answer = http::get(dc1.file.admin, "/readyz");
        answer.is_some_and(|a| a.code == 200 && a.body.contains(&format!("{nobody}: 0 of 2 links up")))
    });
}

#[test]
fn metrics_are_openmetrics_for_who_asks_and_whole_from_the_start() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let edge = world.edge("edge-1").service(&Service::tcp("echo").direct(origin.address())).start();
    let plain = edge.metrics();
    assert!(!plain.contains("# EOF") && plain.contains("# TYPE underpass_flows_ended_total counter"), "{plain}");
    assert!(plain.contains("underpass_flows_ended_total{listener=\"echo\",ended=\"stalled\"} 0"), "{plain}");
    let asked = http::ask(edge.file.admin, "GET", "/metrics", "Accept: application/openmetrics-text\r\n");
    assert!(asked.is_some_and(|answer| answer.body.ends_with("# EOF\n")));
    let began = Instant::now();
    assert!(http::get(edge.file.admin, "/livez").is_some() && began.elapsed() < AT_ONCE);
}

#[test]
fn a_file_that_does_not_answer_holds_up_a_reload_and_nobody_else() {
    let world = World::new();
    let origin = habits::echo(world.free());
    certificate(&world, "a", "a.example");
    let ca = world.path("a.pem");
    let pem = fs::read(&ca).expect("it was made");
    let over_tls = Service::http("web").pool("upstream = \"https\"\ntls = { ca = \"a.pem\" }").direct(origin.address());
    let mut edge =
        world.edge("edge-1").service(&over_tls).service(&Service::tcp("echo").direct(origin.address())).start();
    let version = edge.status()["catalog_version"].as_u64().expect("a number");
    // As on a disk that has gone away: a pipe into which nobody writes.
    fs::remove_file(&ca).expect("it is there");
    let made = Command::new("mkfifo").arg(&ca).status().expect("coreutils are there");
    assert!(made.success());
    edge.process.signal(Signal::HUP);
    let mut writer =
        wait::soon("the file to be read", || File::options().write(true).custom_flags(O_NONBLOCK).open(&ca).ok());
    let began = Instant::now();
    assert!(http::get(edge.file.admin, "/livez").is_some_and(|answer| answer.code == 200));
    let mut client = says(edge.listener("echo"), b"hello");
    client.read_exact(&mut [0; 5]).expect("flows go on");
    drop(client);
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(edge.status()["catalog_version"].as_u64(), Some(version), "nothing is in force before all is read");
    writer.write_all(&pem).expect("it is small");
    drop(writer);
    wait::soon_true("the reload", || edge.status()["catalog_version"].as_u64() == Some(version + 1));
    edge.process.signal(Signal::HUP);
    let _reader =
        wait::soon("the file to be read", || File::options().write(true).custom_flags(O_NONBLOCK).open(&ca).ok());
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0), "nor does it hold up the end");
}

#[test]
fn check_reads_the_files_that_settings_name_and_warns_of_ends() {
    let world = World::new();
    let origin = habits::echo(world.free());
    certificate(&world, "a", "a.example");
    certificate(&world, "b", "b.example");
    let checked = |certificate: &str, key: &str, top: &str, ahead: Option<&str>| {
        let files = format!("certificates = [{{ certificate = \"{certificate}\", key = \"{key}\" }}]");
        let service = Service::https("tls").listener(&files).direct(origin.address());
        let file = world.edge("edge-1").top(top).service(&service);
        file.write();
        let mut command = underpass_tests::harness::world::underpass();
        command.arg("check").arg(&file.path);
        if let Some(ahead) = ahead {
            underpass_tests::harness::process::set_clock(&mut command, ahead, &world.path("clock"));
        }
        underpass_tests::harness::process::run(command, Duration::from_secs(20))
    };
    let _ = checked("a.pem", "a.key", "", None).ok().says(&["ok (edge)"]);
    let _ = checked("a.pem", "b.key", "", None).exited(3).says(&["listener tls", "b.key", "not the key of"]);
    let _ = checked("none.pem", "a.key", "", None).exited(3).says(&["listener tls", "none.pem"]);
    let _ = checked("a.pem", "a.key", "affinity_key = \"none.key\"", None).exited(3).says(&["none.key"]);
    let ca = "ca = { certificate = \"a.pem\", key = \"b.key\" }";
    let _ = checked("a.pem", "a.key", ca, None).exited(3);
    let _ = checked("a.pem", "a.key", "", Some("+25d")).ok().says(&["warning", "ends in 4 days"]);
    let _ = checked("a.pem", "a.key", "", Some("+40d")).ok().says(&["warning", "expired 10 days ago"]);
}

#[test]
fn a_certificate_that_has_expired_is_told_by_log_status_and_metric() {
    let world = World::new();
    let origin = habits::echo(world.free());
    certificate(&world, "a", "a.example");
    let files = "certificates = [{ certificate = \"a.pem\", key = \"a.key\" }]";
    let file = world.edge("edge-1").service(&Service::https("tls").listener(files).direct(origin.address()));
    let mut edge = file.start();
    assert_eq!(edge.status()["listeners"][0]["certificates"][0]["state"], "good");
    edge.travel("+40d");
    edge.wait_ready();
    let _ = edge.process.wait_log(&["WARN", "a.pem", "expired 10 days ago"]);
    let shown = edge.status()["listeners"][0]["certificates"][0].clone();
    assert_eq!((&shown["state"], &shown["names"][0]), (&"expired".into(), &"a.example".into()));
    assert!(edge.metrics().contains("underpass_certificate_expires_timestamp_seconds{listener=\"tls\""));
}
