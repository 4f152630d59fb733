//! What must neither stop nor silence an edge or a connector: a log that nobody takes, and a bug in a task of theirs.

use std::{
    io::{PipeReader, pipe},
    process::Stdio,
    time::Duration,
};

use underpass_tests::harness::{
    Service, World, client,
    disk::SmallDisk,
    edge::Edge,
    http,
    origin::habits,
    process::Signal,
    wait::{self, SOON},
};

/// Flows whose access lines are more than a pipe holds.
const FLOWS: usize = 500;
/// What has nothing to wait for ends within this.
const AT_ONCE: Duration = Duration::from_secs(4);

fn flows(edge: &Edge, count: usize) {
    for _ in 0..count {
        let _ = client::exchange(edge.listener("echo"), b"hello").expect("it goes on serving");
    }
}

fn code(at: std::net::SocketAddr, path: &str) -> Option<u16> {
    http::get(at, path).map(|answer| answer.code)
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_flows_nor_the_end() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let (read, write) = pipe().expect("a pipe");
    let file = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("port");
    let file = file.service(&Service::tcp("echo").monitor("port").origin(&prod, origin.address()));
    let mut edge = file.log_level("debug").launch_writing(write.try_clone().expect("a handle").into());
    edge.wait_ready();
    let token = edge.token("dc1");
    let connector = world.connector("dc1").serve(&prod).token(&token).dial(&edge.file).log_level("trace");
    let mut dc1 = connector.launch_writing(write.into());
    edge.wait_health("echo-1", "healthy");

    flows(&edge, FLOWS);
    assert_eq!((code(edge.file.admin, "/readyz"), dc1.ready_code()), (Some(200), Some(200)));
    drop(origin);
    edge.wait_health("echo-1", "unhealthy");
    assert_eq!(dc1.process.terminate(AT_ONCE).code(), Some(0));
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0));
    drop(read);
}

#[test]
fn a_log_whose_reader_has_gone_is_lost_and_nothing_else() {
    let world = World::new();
    let origin = habits::echo(world.free());
    let (read, write) = pipe().expect("a pipe");
    let file = world.edge("edge-1").tcp_monitor("port");
    let file = file.service(&Service::tcp("echo").monitor("port").direct(origin.address()));
    let mut edge = file.launch_writing(write.into());
    edge.wait_ready();
    drop::<PipeReader>(read);
    flows(&edge, 20);
    wait::soon_true("lost lines to be counted", || {
        edge.metrics().lines().any(|l| l.starts_with("underpass_log_lines_lost_total") && !l.ends_with(" 0"))
    });
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0));
}

#[test]
fn a_log_on_a_full_disk_is_lost_for_as_long_as_it_is_full() {
    let world = World::new();
    let disk = SmallDisk::mount(&world, "logs");
    let origin = habits::echo(world.free());
    let at = origin.address();
    let file = world.edge("edge-1").tcp_monitor("port");
    let file = file.service(&Service::tcp("echo").monitor("port").direct(at));
    let path = disk.path.join("edge.log");
    let log = std::fs::File::options().create(true).append(true).open(&path).expect("an empty disk");
    let mut edge = file.launch_writing(Stdio::from(log));
    edge.wait_health("echo-1", "healthy");
    disk.fill();
    flows(&edge, 50);
    drop(origin);
    edge.wait_health("echo-1", "unhealthy");
    let _again = habits::echo(at);
    edge.wait_health("echo-1", "healthy");
    disk.empty();
    wait::soon_true("the log to go on, and to say what it lacks", || {
        flows(&edge, 1);
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        log.contains("lines of this log were lost") && log.lines().last().is_some_and(|line| line.contains("access"))
    });
    assert_eq!(edge.process.terminate(AT_ONCE).code(), Some(0));
}

/// An edge and a connector that panic when asked, with a healthy origin behind.
fn drilled(world: &World) -> (Edge, underpass_tests::harness::Connector, underpass_tests::harness::Origin) {
    let prod = world.vnet("prod");
    let origin = habits::echo(world.free_in(&prod, 10));
    let file = world.edge("edge-1").drilled().grant("dc1", &[&prod]).tcp_monitor("port");
    let edge = file.service(&Service::tcp("echo").monitor("port").origin(&prod, origin.address())).start();
    let dc1 = world.connector("dc1").drilled().serve(&prod).start(&[&edge]);
    edge.wait_health("echo-1", "healthy");
    (edge, dc1, origin)
}

fn panics(metrics: &str, task: &str) -> bool {
    metrics.lines().any(|line| line.starts_with("underpass_task_panics_total") && line.contains(task))
}

#[test]
fn a_bug_in_a_task_that_can_be_begun_anew_costs_a_moment_and_is_told() {
    let world = World::new();
    let (edge, dc1, origin) = drilled(&world);
    for (point, task) in [
        ("board", "the health board"),
        ("accept", "a listener"),
        ("endpoint", "the tunnel endpoint"),
        ("link", "a link"),
    ] {
        // The accepting tasks turn only when somebody comes.
        if point == "accept" {
            let wish = edge.file.path.with_extension("drill").join(point);
            std::fs::write(&wish, "").expect("writable");
            let _ = client::connect(edge.listener("echo"));
            let _ = client::connect(edge.listener("echo"));
        } else if point == "endpoint" {
            let wish = edge.file.path.with_extension("drill").join(point);
            std::fs::write(&wish, "").expect("writable");
            dc1.drill("renewal");
        } else {
            edge.drill(point);
        }
        wait::soon_true(&format!("the panic in {point} to be counted"), || panics(&edge.metrics(), task));
        wait::soon_true("it to be ready again", || code(edge.file.admin, "/readyz") == Some(200));
        wait::soon_true("both links", || edge.links("dc1") == 2);
        wait::soon_true("flows again", || client::exchange(edge.listener("echo"), b"hello").is_ok());
    }
    let _ = edge.process.wait_log(&["panic", "a drill wished for this"]);
    drop(origin);
    edge.wait_health("echo-1", "unhealthy");
}

#[test]
fn a_bug_in_a_connectors_link_costs_that_link_and_no_more() {
    let world = World::new();
    let (edge, mut dc1, _origin) = drilled(&world);
    for (point, task) in [("renewal", "a link"), ("slot", "a link's keeper")] {
        if point == "slot" {
            let wish = dc1.file.path.with_extension("drill").join(point);
            std::fs::write(&wish, "").expect("writable");
            // A slot turns when one of its links ends.
            dc1.drill("renewal");
            wait::soon_true("the slot's keeper to fail", || !wish.exists());
        } else {
            dc1.drill(point);
        }
        let metrics = || http::get(dc1.file.admin, "/metrics").map(|answer| answer.body).unwrap_or_default();
        wait::soon_true(&format!("the panic in {point} to be counted"), || panics(&metrics(), task));
        wait::soon_true("both links, healthy", || {
            edge.tunnel("dc1").is_some_and(|tunnel| tunnel["health"] == "healthy") && edge.links("dc1") == 2
        });
        wait::soon_true("it to be ready again", || dc1.ready_code() == Some(200));
    }
    flows(&edge, 5);
    assert_eq!(dc1.process.terminate(SOON).code(), Some(0));
}

#[test]
fn a_bug_in_what_cannot_be_begun_anew_ends_the_process_so_that_it_is_started_anew() {
    for point in ["registry", "listeners"] {
        let world = World::new();
        let (mut edge, mut dc1, _origin) = drilled(&world);
        let wish = edge.file.path.with_extension("drill").join(point);
        std::fs::write(&wish, "").expect("writable");
        if point == "registry" {
            let _ = dc1.process.terminate(SOON);
        } else {
            edge.process.signal(Signal::HUP);
        }
        assert_eq!(edge.process.wait(SOON).code(), Some(1), "{point}");
        assert!(edge.process.log().contains("which is a bug"), "{point}");
    }
}
