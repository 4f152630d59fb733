//! gRPC, with its own library on both sides.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::Stdio,
};

use underpass_tests::harness::{
    Edge, Service, World,
    origin::servers,
    process::{self, command},
    wait::SOON,
};

use super::out;

fn called(edge: &Edge, service: &str, what: &str) -> String {
    let mut client = servers::python_client("grpc_client");
    client.args([&edge.listener(service).to_string(), what]);
    out(client)
}

#[test]
fn calls_of_every_kind_go_through() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = servers::python(&world, "grpc_origin", world.free_in(&prod, 10));
    let services = [
        Service::http("rpc").origin(&prod, origin.address).pool("upstream = \"h2c\""),
        Service::http("nobody").origin(&prod, world.free_in(&prod, 11)).pool("upstream = \"h2c\""),
    ];
    let (edge, _dc1) = world.stand(&prod, &[&services[0], &services[1]]);
    assert_eq!(called(&edge, "rpc", "everything"), "good\n");
    origin.process.wait_log(&["cancelled client"]);
    assert_eq!(called(&edge, "nobody", "status"), "UNAVAILABLE connect_refused\n");
}

#[test]
fn a_call_whose_connector_dies_is_told_that_its_server_is_unavailable() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origin = servers::python(&world, "grpc_origin", world.free_in(&prod, 10));
    let service = Service::http("rpc").origin(&prod, origin.address).pool("upstream = \"h2c\"");
    let (edge, mut dc1) = world.stand(&prod, &[&service]);
    let mut client = servers::python_client("grpc_client");
    client.args([&edge.listener("rpc").to_string(), "broken"]).stdout(Stdio::piped());
    let mut client = client.spawn().expect("python runs");
    let mut said = BufReader::new(client.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    assert_eq!(said.next().as_deref(), Some("begun"));
    dc1.process.kill();
    assert_eq!(said.next().as_deref(), Some("UNAVAILABLE link_lost"));
    assert!(client.wait().expect("our child").success());
}

#[test]
fn a_call_is_over_at_its_deadline_and_its_origin_learns_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    // It knows nothing of gRPC, so the deadline is the edge's to keep.
    let origin = servers::python(&world, "http2_origin", world.free_in(&prod, 10));
    let service = Service::http("rpc").origin(&prod, origin.address).pool("upstream = \"h2c\"");
    let (edge, _dc1) = world.stand(&prod, &[&service]);
    let message = world.path("message");
    fs::write(&message, b"\0\0\0\0\x04once").expect("writable");
    let call = |path: &str, timeout: &str| {
        let mut nghttp = command("nghttp");
        nghttp.args(["-v", "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", timeout]);
        nghttp.arg("-d").arg(&message).arg(format!("http://{}{path}", edge.listener("rpc")));
        process::run(nghttp, SOON).ok().out
    };
    let silent = call("/silent", "grpc-timeout: 300m");
    assert!(silent.contains(":status: 200") && silent.contains("grpc-status: 4"), "{silent}");
    origin.process.wait_log(&["cancelled /silent"]);
    let begun = call("/begins", "grpc-timeout: 500m");
    let answer = begun.find("once").expect("the begin of the answer");
    assert!(begun[answer..].contains("grpc-status: 4") && begun.contains("grpc-message: grpc_deadline"), "{begun}");
    origin.process.wait_log(&["cancelled /begins"]);
    let wrong = call("/silent", "grpc-timeout: soon");
    assert!(wrong.contains("grpc-status: 13") && wrong.contains("bad_grpc_timeout"), "{wrong}");
}
