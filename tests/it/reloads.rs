//! Settings that change while an edge runs: how that is noticed, told and refused, and what it leaves alone.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use underpass_tests::harness::{
    Edge, Service, World,
    client::{self, Pattern, http::Connection},
    datagrams::{Right, SteadyUdp, UdpClient, UdpOrigin},
    http,
    load::{self, KeptAlive, LongFlow},
    origin::habits,
    process::Signal,
    wait,
};

/// What a change may take at most until it is in force.
const EFFECT: Duration = Duration::from_secs(1);

/// Reads settings again by the API; the answer.
fn reload(edge: &Edge, query: &str) -> (u16, Value) {
    let token = fs::read_to_string(edge.file.state_dir.join("admin.token")).expect("the edge made it");
    let fields = format!("Authorization: Bearer {}\r\n", token.trim());
    let answer = http::ask(edge.file.admin, "POST", &format!("/api/v1/reload{query}"), &fields).expect("it answers");
    (answer.code, serde_json::from_str(&answer.body).expect("JSON"))
}

fn replace(file: &Path, text: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, text).expect("writable");
    fs::rename(&beside, file).expect("renamed over it");
}

#[test]
fn whatever_way_a_file_is_written_it_is_in_force_within_a_second() {
    let world = World::new();
    let (one, two) = (habits::names_itself(world.free(), "one"), habits::names_itself(world.free(), "two"));
    let mut file = world.edge("edge-1").watched().service(&Service::tcp("who").direct(one.address()));
    // As a cluster mounts it: the file is a link into a folder that is a link itself.
    let (mounted, data) = (world.path("mounted"), |name: &str| world.path("mounted").join(name));
    fs::create_dir(&mounted).expect("writable");
    let to_one = file.text();
    let to_two = to_one.replace(&one.address().to_string(), &two.address().to_string());
    for (folder, text) in [("..1", &to_one), ("..2", &to_two)] {
        fs::create_dir(data(folder)).expect("writable");
        fs::write(data(folder).join("edge.toml"), text).expect("writable");
    }
    symlink("..1", data("..data")).expect("linked");
    symlink("..data/edge.toml", data("edge.toml")).expect("linked");
    file.path = data("edge.toml");
    let edge = file.start_as_it_is();
    let leads_to = |name: &str, since: Instant| {
        wait::soon_true(name, || client::listen_to(edge.listener("who")).is_ok_and(|told| told == name));
        let took = since.elapsed();
        assert!(took < EFFECT, "{name} after {took:?}");
    };
    leads_to("one", Instant::now());
    symlink("..2", data("..next")).expect("linked");
    fs::rename(data("..next"), data("..data")).expect("the link leads elsewhere");
    leads_to("two", Instant::now());
    fs::write(data("..2/edge.toml"), &to_one).expect("written in place");
    leads_to("one", Instant::now());
    replace(&data("..2/edge.toml"), &to_two);
    leads_to("two", Instant::now());
    // A bad one changes nothing, is told, and so is that it was mended.
    fs::write(data("..2/edge.toml"), "not toml").expect("written in place");
    wait::soon_true("the failure to be told", || edge.status()["reload"]["applied"] == false);
    assert!(edge.metrics().contains("underpass_config_last_reload_successful 0\n"));
    fs::write(data("..2/edge.toml"), &to_one).expect("written in place");
    leads_to("one", Instant::now());
    wait::soon_true("that it is well again", || {
        edge.metrics().contains("underpass_config_last_reload_successful 1\n")
            && edge.status()["reload"]["applied"] == true
    });
}

#[test]
fn a_file_that_was_something_else_for_a_while_is_noticed_when_it_is_back() {
    let world = World::new();
    let (one, two) = (habits::names_itself(world.free(), "one"), habits::names_itself(world.free(), "two"));
    let edge = world.edge("edge-1").watched().service(&Service::tcp("who").direct(one.address())).start();
    let right = edge.file.text();
    let other = right.replace(&one.address().to_string(), &two.address().to_string());
    let path = &edge.file.path;
    let leads_to = |name: &str| {
        wait::soon_true(name, || client::listen_to(edge.listener("who")).is_ok_and(|told| told == name));
    };
    // What is noticed says that the watch has begun.
    fs::write(path, &other).expect("written");
    leads_to("two");
    for (text, name) in [(&right, "one"), (&other, "two")] {
        fs::remove_file(path).expect("there");
        fs::create_dir(path).expect("a folder");
        wait::soon_true("that it is amiss to be told", || edge.status()["reload"]["applied"] == false);
        fs::remove_dir(path).expect("there");
        fs::write(path, text).expect("written");
        leads_to(name);
    }
}

#[test]
fn settings_that_came_through_a_pipe_are_not_read_again() {
    let world = World::new();
    let origin = habits::names_itself(world.free(), "one");
    let mut file = world.edge("edge-1").watched().service(&Service::tcp("who").direct(origin.address()));
    let (text, pipe) = (file.text(), world.path("piped"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it is there");
    assert!(made.success());
    let written = pipe.clone();
    let writer = std::thread::spawn(move || fs::write(written, text));
    file.path.clone_from(&pipe);
    let edge = file.start_as_it_is();
    writer.join().expect("no panic").expect("it was read");
    // What is wished for later is served later: had the edge wished to read it, it would wait for a writer now.
    let (code, reloaded) = {
        let again = edge.file.text();
        let writer = std::thread::spawn(move || fs::write(pipe, again));
        let answer = reload(&edge, "");
        writer.join().expect("no panic").expect("it was read");
        answer
    };
    assert_eq!((code, &reloaded["catalog_version"]), (200, &2.into()), "{reloaded}");
}

#[test]
fn where_only_a_signal_is_to_a_written_file_waits_for_it() {
    let world = World::new();
    let (one, two) = (habits::names_itself(world.free(), "one"), habits::names_itself(world.free(), "two"));
    let file = world.edge("edge-1").watched().service(&Service::tcp("who").direct(one.address()));
    let edge = file.start();
    let leads_to = |name: &str| {
        wait::soon_true(name, || client::listen_to(edge.listener("who")).is_ok_and(|told| told == name));
    };
    let to_two = edge.file.text().replace(&one.address().to_string(), &two.address().to_string());
    // The last change that is noticed by itself says that none is from then on.
    let by_signal = format!("reload = \"signal\"\n{}", edge.file.text());
    fs::write(&edge.file.path, &by_signal).expect("writable");
    wait::soon_true("the change", || edge.status()["catalog_version"] == 2);
    fs::write(&edge.file.path, format!("reload = \"signal\"\n{to_two}")).expect("writable");
    // What would be noticed is noticed before this: another is asked for, and changes nothing in between.
    let (code, dry) = reload(&edge, "?dry_run=true");
    assert_eq!((code, &dry["catalog_version"]), (200, &2.into()), "{dry}");
    leads_to("one");
    edge.process.signal(Signal::HUP);
    leads_to("two");
}

#[test]
fn a_reload_says_what_differs_and_is_over_when_it_is_in_force() {
    let world = World::new();
    let (one, two) = (habits::names_itself(world.free(), "one"), habits::names_itself(world.free(), "two"));
    let who = Service::tcp("who").direct(one.address());
    let edge = world.edge("edge-1").service(&who).service(&Service::tcp("same").direct(one.address())).start();
    let right = edge.file.text();
    let next = right.replacen(
        &format!("address = \"{}\"", one.address()),
        &format!("address = \"{}\"\nweight = 0.5", two.address()),
        1,
    );
    fs::write(&edge.file.path, &next).expect("writable");
    let dry = edge.command(&["reload", "--dry-run"]).ok().out;
    for part in ["pool who: ", "weight of who-1 unset → 0.5", "listener same: unchanged", "catalog 1 stays in force"]
    {
        assert!(dry.contains(part), "{part}: {dry}");
    }
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "one", "nothing was changed");
    let done = edge.command(&["reload"]).ok().out;
    assert!(done.contains("pool who: ") && done.ends_with("in force: catalog 2\n"), "{done}");
    assert_eq!(client::listen_to(edge.listener("who")).expect("it serves"), "two", "at once");

    // What is wrong is said as a check says it, and with its exit code.
    fs::write(&edge.file.path, next.replace("weight = 0.5", "wait = 0.5")).expect("writable");
    let refused = edge.command(&["reload"]).exited(3);
    let checked = edge.command(&["check"]).exited(3);
    assert_eq!(refused.err, checked.err);
    assert_eq!(edge.status()["catalog_version"], 2);
    let told = edge.status()["reload"].clone();
    assert_eq!(told["applied"], false);
    assert!(told["mistakes"][0].as_str().is_some_and(|mistake| mistake.contains("`wait`")), "{told}");
    assert!(edge.metrics().contains("underpass_reload_failed_total 1\n"));
    let shown = edge.command(&["status"]).ok().out;
    assert!(!shown.contains("nothing fails"), "{shown}");
    assert!(shown.contains("refused (UP-108): ") && shown.contains("`wait`"), "{shown}");

    // What needs a restart is told, and does not keep the rest from being applied.
    fs::write(&edge.file.path, next.replace("[tunnel]", "workers = 3\n[tunnel]")).expect("writable");
    let done = edge.command(&["reload"]).ok().out;
    assert!(done.contains("workers: differs, and changes only with a restart (UP-109)\n"), "{done}");
    // Without the token nobody reloads.
    let answer = http::ask(edge.file.admin, "POST", "/api/v1/reload", "").expect("it answers");
    assert_eq!(answer.code, 401);
}

#[test]
fn a_file_that_cannot_be_read_is_told_as_a_check_tells_it() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let secure = Service::tcp("echo").direct(origin.address());
    let edge = world.edge("edge-1").service(&secure).start();
    let listener = format!(
        "\n[[listener]]\nname = \"www\"\nprotocol = \"https\"\nlisten = \"{}\"\nload_balancer = \"echo\"\n\
         certificates = [{{ certificate = \"gone.pem\", key = \"gone.key\" }}]\n",
        world.free()
    );
    fs::write(&edge.file.path, edge.file.text() + &listener).expect("writable");
    let refused = edge.command(&["reload"]).exited(3);
    assert_eq!(refused.err, edge.command(&["check"]).exited(3).err);
    assert_eq!(edge.command(&["reload", "--dry-run"]).exited(3).err, refused.err);
    assert!(refused.err.contains("gone.pem"), "{}", refused.err);
}

#[test]
fn a_listener_speaks_another_protocol_on_its_port_after_a_reload() {
    let world = World::new();
    let (origin, _code) = habits::http(world.free(), "web");
    let edge = world.edge("edge-1").service(&Service::tcp("web").direct(origin.address())).start();
    let at = edge.listener("web");
    // One that has asked nothing yet goes on as it began.
    let mut early = Connection::open(at, wait::SOON).expect("it listens");
    let right = edge.file.text();
    for (protocol, is_read) in [("http", true), ("tcp", false)] {
        fs::write(&edge.file.path, right.replace("protocol = \"tcp\"", &format!("protocol = \"{protocol}\"")))
            .expect("writable");
        let _ = edge.command(&["reload"]).ok();
        let answer = http::ask(at, "GET", "/who", "").expect("it answers");
        assert_eq!((answer.code, answer.body.as_str()), (200, "web"));
        let bad = http::ask(at, "GET", "nonsense", "").map(|answer| answer.code);
        assert_eq!(bad == Some(400), is_read, "{protocol}: {bad:?}");
    }
    let answer = early.exchange(b"GET /who HTTP/1.1\r\nhost: a\r\n\r\n").expect("it is served");
    assert_eq!(answer.body, "web");
}

#[test]
fn what_is_logged_changes_with_the_file() {
    let world = World::new();
    let origin = habits::names_itself(world.free(), "one");
    let edge = world.edge("edge-1").service(&Service::tcp("who").direct(origin.address())).start();
    let right = edge.file.text();
    let logs = |level: &str| {
        fs::write(&edge.file.path, format!("log_level = \"{level}\"\n{right}")).expect("writable");
        let _ = edge.command(&["reload"]).ok();
    };
    let lines = || edge.process.log().lines().filter(|line| line.contains("access")).count();
    logs("info,access=off");
    let _ = client::listen_to(edge.listener("who")).expect("it serves");
    logs("info");
    assert_eq!(lines(), 0, "the flow before was not told");
    let _ = client::listen_to(edge.listener("who")).expect("it serves");
    wait::soon_true("the next flow to be told", || lines() == 1);
    fs::write(&edge.file.path, format!("log_level = \"loud\"\n{right}")).expect("writable");
    assert!(edge.command(&["reload"]).exited(3).err.contains("`log_level`"));
}

/// How often is reloaded under load.
const RELOADS: u64 = 1_000;

/// Objects that nobody uses, different each time: pools of several weights, monitors, load balancers, grants and a listener that
/// comes and goes.
fn others(dice: &mut Pattern, listen: &str) -> String {
    let mut number = |most: u8| dice.bytes(1)[0] % most;
    let mut text = format!("\n[[monitor]]\nname = \"aside\"\ntype = \"tcp\"\ninterval = \"{}s\"\n", 5 + number(20));
    for pool in 0..=number(4) {
        text += &format!("\n[[pool]]\nname = \"aside-{pool}\"\n");
        if number(2) == 0 {
            text += "monitor = \"aside\"\n";
        }
        for origin in 0..=number(3) {
            let (host, weight) = (number(250), 1 + number(9));
            text += &format!(
                "[[pool.origin]]\nname = \"o{origin}\"\nvnet = \"aside\"\naddress = \"10.99.0.{host}:80\"\nweight = 0.{weight}\n"
            );
        }
    }
    text += "\n[[load_balancer]]\nname = \"aside\"\npools = [\"aside-0\"]\n";
    text += &format!(
        "\n[[connector]]\nname = \"aside\"\nroutes = [{{ vnet = \"aside\", cidr = \"10.99.0.0/{}\" }}]\n",
        16 + number(9)
    );
    if number(3) > 0 {
        let protocol = ["tcp", "http", "udp"][usize::from(number(3))];
        text += &format!(
            "\n[[listener]]\nname = \"aside\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\nload_balancer = \"aside\"\n"
        );
    }
    text
}

#[test]
fn a_thousand_reloads_of_other_objects_harm_nothing() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (web, _code) = habits::http(world.free_in(&prod, 10), "web");
    let echo = habits::echo(world.free_in(&prod, 11));
    let questions = UdpOrigin::echo(world.free_in(&prod, 12));
    let who = habits::names_itself(world.free_in(&prod, 13), "who");
    let services = [
        Service::http("web").origin(&prod, web.address()),
        Service::tcp("echo").origin(&prod, echo.address()),
        Service::udp("ask").origin(&prod, questions.address()),
        Service::tcp("who").origin(&prod, who.address()),
    ];
    let (edge, _dc1) = world.stand(&prod, &services.each_ref());
    let requests = KeptAlive::start(edge.listener("web"), 2, Duration::from_millis(10));
    let flow = LongFlow::start(edge.listener("echo"), 1).expect("it opens");
    let asking = SteadyUdp::start(UdpClient::new(edge.listener("ask")), Right::Echo);
    let connects = load::Load::start(edge.listener("who"), 1, Duration::from_millis(20));
    let (right, listen, mut dice) = (edge.file.text(), world.free().to_string(), Pattern::new(11));
    let mut settled = None;
    for number in 1..=RELOADS {
        replace(&edge.file.path, &(right.clone() + &others(&mut dice, &listen)));
        let (code, told) = reload(&edge, "");
        assert_eq!(code, 200, "reload {number}: {told}");
        let others_only = told["changes"].as_array().expect("a list").iter().all(|change| {
            change["fate"] == "unchanged" || change["name"].as_str().is_some_and(|name| name.starts_with("aside"))
        });
        assert!(others_only, "reload {number}: {told}");
        if number == RELOADS / 5 {
            settled = Some((edge.process.memory_kib(), edge.process.files()));
        }
    }
    let (memory, files) = settled.expect("there were as many");
    load::holds(&requests.stop(), None);
    load::holds(&connects.stop(), None);
    load::holds(&asking.stop(Duration::ZERO), None);
    let blocks = flow.stop().expect("the long flow is whole");
    assert!(blocks > 100, "{blocks}");
    let (grown, more) = (edge.process.memory_kib().saturating_sub(memory), edge.process.files().saturating_sub(files));
    assert!(grown < 8 * 1024, "{grown} KiB more than after a fifth of the reloads");
    assert!(more < 40, "{more} descriptors more than after a fifth of the reloads");
    assert_eq!(edge.status()["catalog_version"], 1 + RELOADS);
}
