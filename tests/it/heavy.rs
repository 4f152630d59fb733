//! Tests that load the machine: throughput, ten thousand clients, links run full, the drill.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use underpass_tests::harness::{
    Service, World,
    client::{self, Pattern},
    origin::{habits, servers},
    process::{self, raise_file_limit},
    wait,
    world::underpass,
};

#[test]
fn iperf_runs_up_down_and_with_eight_streams() {
    let world = World::new();
    let prod = world.vnet("prod");
    let iperf = servers::iperf(&world, world.free_in(&prod, 40));
    let (edge, _dc1) = world.stand(&prod, &[&Service::tcp("iperf").origin(&prod, iperf.address)]);
    for arguments in [&[][..], &["-R"], &["-P", "8"], &["-R", "-P", "8"]] {
        let received = servers::iperf_received(edge.listener("iperf"), arguments);
        assert!(received > 5_000_000, "{arguments:?}: only {received} bytes in a second");
    }
}

#[test]
fn ten_thousand_silent_clients_are_held_cheaply() {
    let limit = raise_file_limit();
    let clients = usize::try_from(limit.saturating_sub(1000)).unwrap_or(0).min(10_000);
    assert!(clients >= 1000, "with {limit} files this machine cannot show anything");
    let world = World::new();
    let prod = world.vnet("prod");
    let redis = servers::redis(&world, world.free_in(&prod, 30));
    let service = Service::tcp("cache").listener("max_connections = 10000").origin(&prod, redis.address);
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).service(&service).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let at = edge.listener("cache");
    let before = (edge.process.memory_kib(), dc1.process.memory_kib());

    let mut held = Vec::with_capacity(clients);
    while held.len() < clients {
        held.push(client::connect(at).expect("the edge takes them all"));
    }
    let flows = || edge.try_status().and_then(|status| status["listeners"][0]["flows"].as_u64()).unwrap_or(0);
    wait::until("every client to be a flow", Duration::from_secs(30), || {
        (usize::try_from(flows()) == Ok(clients)).then_some(())
    });
    for client in [0, clients / 2, clients - 1] {
        let mut answer = [0; 7];
        held[client].write_all(b"PING\r\n").expect("the flow is open");
        held[client].read_exact(&mut answer).expect("Redis answers each of them");
        assert_eq!(&answer, b"+PONG\r\n");
    }
    let grown = |now: u64, before: u64| now.saturating_sub(before) / u64::try_from(clients).unwrap_or(1);
    let per_client = (grown(edge.process.memory_kib(), before.0), grown(dc1.process.memory_kib(), before.1));
    assert!(per_client.0 <= 64 && per_client.1 <= 64, "KiB a client at edge and connector: {per_client:?}");
}

#[test]
fn readers_that_take_nothing_do_not_freeze_a_link() {
    let world = World::new();
    let prod = world.vnet("prod");
    let pouring = habits::pours(world.free_in(&prod, 10), 1 << 30);
    let echo = habits::echo(world.free_in(&prod, 11));
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .service(&Service::tcp("pour").origin(&prod, pouring.address()))
        .service(&Service::tcp("echo").origin(&prod, echo.address()))
        .start();
    let _dc1 = world.connector("dc1").serve(&prod).links_per_edge(1).start(&[&edge]);
    let open = client::connect(edge.listener("echo")).expect("the edge listens");
    client::ping(&open, b"hello").expect("the flow is open");

    // Once more than a link's whole window.
    let mut stalled = Vec::new();
    for _ in 0..24 {
        let mut stream = client::connect(edge.listener("pour")).expect("the edge listens");
        stream.write_all(b"x").expect("the flow is open");
        stalled.push(stream);
    }
    let began = Instant::now();
    client::ping(&open, &Pattern::new(1).bytes(8192)).expect("an open flow goes on");
    assert!(began.elapsed() < Duration::from_secs(6), "an open flow stood still for {:?}", began.elapsed());
    let new = client::exchange(edge.listener("echo"), b"new");
    assert!(new.is_ok(), "a new flow comes through: {new:?} after {:?}", began.elapsed());
    assert!(edge.process.memory_kib() < 600_000, "{} KiB", edge.process.memory_kib());
}

#[test]
fn the_drill_keeps_its_promises_within_its_time() {
    let world = World::new();
    let mut drill = underpass();
    drill.args(["lab", "--drill"]).current_dir(world.path(""));
    let ran = process::run(drill, Duration::from_secs(55)).ok();
    assert!(ran.took < Duration::from_secs(45), "{:?}", ran.took);
    let _ = ran.says(&["connector", "origin", "edge"]);
}
