//! Which origin takes a flow, the same over TCP, UDP and HTTP: by keys, by networks, and little by little.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use underpass_tests::harness::{
    Service, World, client,
    datagrams::{UdpClient, UdpOrigin},
    origin::habits,
    process::{self, command},
    wait::{self, SOON},
};

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

#[test]
fn a_key_of_a_request_leads_to_one_origin_whoever_sends_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    let origins =
        NAMES.map(|name| habits::http(world.free_in(&prod, 10 + name.len() as u8 + name.as_bytes()[0]), name));
    let service = |name: &str, on: &str| {
        let pool = format!("steering = \"hash\"\nhash = {{ on = \"{on}\", name = \"x-user\" }}");
        origins
            .iter()
            .fold(Service::http(name).pool(&pool), |service, (origin, _)| service.origin(&prod, origin.address()))
    };
    let (edge, _dc1) = world.stand(&prod, &[&service("field", "header"), &service("crumb", "cookie")]);
    for (listener, field) in [("field", "X-User: "), ("crumb", "Cookie: a=1; x-user=")] {
        let mut all = BTreeMap::new();
        for user in 0..24 {
            let told: BTreeSet<String> = [201, 202, 203]
                .map(|host| {
                    let mut curl = command("curl");
                    curl.args(["-sS", "--fail", "--max-time", "20", "-H", &format!("{field}user-{user}")]);
                    curl.args(["--interface", &world.source(host).ip().to_string()]);
                    curl.arg(format!("http://{}/", edge.listener(listener)));
                    process::run(curl, SOON).ok().out
                })
                .into();
            assert_eq!(told.len(), 1, "user {user} over {listener}: {told:?}");
            *all.entry(told).or_insert(0) += 1;
        }
        assert!(all.len() > 2, "users are spread: {all:?}");
    }
}

#[test]
fn a_network_stays_on_one_origin_over_tcp_and_udp() {
    let world = World::new();
    let prod = world.vnet("prod");
    let tcp =
        NAMES.map(|name| habits::names_itself(world.free_in(&prod, 10 + name.as_bytes()[0] + name.len() as u8), name));
    let udp = NAMES
        .map(|name| UdpOrigin::names_itself(world.free_in(&prod, 10 + name.as_bytes()[0] + name.len() as u8), name));
    let prefix = "type = \"source_prefix\", prefix_v4 = 24";
    let bound = |service: Service| service.balancer(&format!("session_affinity = {{ {prefix} }}"));
    let over_tcp = tcp.iter().fold(bound(Service::tcp("tcp")), |s, origin| s.origin(&prod, origin.address()));
    let over_udp = udp.iter().fold(bound(Service::udp("udp")), |s, origin| s.origin(&prod, origin.address()));
    let (edge, _dc1) = world.stand(&prod, &[&over_tcp, &over_udp]);
    let hosts = || 201..217;
    let told: BTreeSet<String> = hosts()
        .map(|host| {
            let stream = client::connect_from(world.source(host), edge.listener("tcp")).expect("connected");
            let (told, _) = client::read_all(&stream);
            String::from_utf8_lossy(&told).into_owned()
        })
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    let told: BTreeSet<Vec<u8>> =
        hosts().map(|host| UdpClient::from(world.source(host), edge.listener("udp")).ask(b"who?")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn an_origin_that_comes_back_is_explained_with_what_it_weighs() {
    let world = World::new();
    let (steady, mut other) = (habits::echo(world.free()), habits::echo(world.free()));
    let service = Service::tcp("tcp").pool("slow_start = \"1h\"").monitor("tcp");
    let service = service.direct(steady.address()).direct(other.address());
    let edge = world.edge("edge-1").tcp_monitor("tcp").service(&service).start();
    ["tcp-1", "tcp-2"].iter().for_each(|origin| edge.wait_health(origin, "healthy"));
    other.stop();
    edge.wait_health("tcp-2", "unhealthy");
    other.resume();
    edge.wait_health("tcp-2", "healthy");
    let explained = || -> Value {
        let ran = edge.command(&["explain", "tcp", "--json"]).ok();
        serde_json::from_str(&ran.out).expect("JSON")
    };
    wait::soon_true("the origin to be weighed", || {
        let explained = explained();
        let steps = explained["considered"].as_array().expect("a list");
        let weight =
            |name: &str| steps.iter().find(|step| step["name"] == name).and_then(|step| step["weight"].as_f64());
        // The hour has just begun for both.
        weight("tcp-2").is_some_and(|weight| (weight - 0.1).abs() < 1e-9)
    });
}
