//! ICMP monitors: who is asked, by whom, and what is told where nobody answers.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;
use underpass_tests::harness::{
    EdgeFile, Service, World,
    process::{self, Process, command},
    wait::{self, SOON},
    world,
};

const MONITOR: &str =
    "[[monitor]]\nname = \"host\"\ntype = \"icmp\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\nretries = 0\n";

/// A network is made first, and its edge started in it.
const PATIENCE: Duration = Duration::from_secs(30);

fn host(name: &str) -> Service {
    Service::tcp(name).monitor("host")
}

#[test]
fn a_host_is_asked_by_whoever_would_dial_it() {
    let world = World::new();
    let prod = world.vnet("prod");
    let (near, far) = (world.free(), world.free_in(&prod, 10));
    let denied = world.free_in(&prod, 11);
    let edge = world
        .edge("edge-1")
        .grant("dc1", &[&prod])
        .raw(MONITOR)
        .service(&host("near").direct(near))
        .service(&host("six").target(None, "[::1]:7"))
        .service(&host("far").origin(&prod, far))
        .service(&host("denied").origin(&prod, denied))
        .start();
    let only_web = format!("{}/32:80", far.ip());
    let _dc1 = world.connector("dc1").serve(&prod).allow_nothing_yet().allow(&only_web).start(&[&edge]);
    for name in ["near-1", "six-1", "far-1"] {
        edge.wait_health(name, "healthy");
    }
    edge.wait_reason("denied-1", "policy_denied");
    let path = edge.healthy_path("far-1");
    assert!(path["stages_ms"]["first_byte"].as_f64().is_some(), "{path}");
}

/// An edge in a network of its own: its host has one address there, and nobody else is on the wire.
struct Island {
    edge: Process,
    admin: SocketAddr,
}

impl Island {
    fn start(file: &EdgeFile, world: &World, prefix: &[&str]) -> Self {
        file.write();
        // The other end of the wire takes every packet and answers none.
        let wires = "ip link set lo up && ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up \
                     && ip addr add 10.99.0.1/24 dev d0 && ip neigh add 10.99.0.2 lladdr 02:00:00:00:00:01 dev d0";
        let mut alone = command("unshare");
        alone.args(["--net", "sh", "-c", &format!("{wires} && exec \"$@\"")]).arg("island").args(prefix);
        let product = world::underpass();
        alone.arg(product.get_program()).args(product.get_args()).args(["edge", "-c"]).arg(&file.path);
        Self { edge: Process::start("island", alone, &world.path("island.log")), admin: file.admin }
    }

    fn inside(&self, program: &str) -> Command {
        let mut inside = command("nsenter");
        inside.args(["-t", &self.edge.id().to_string(), "-n", program]);
        inside
    }

    fn wait_reason(&self, origin: &str, reason: &str) {
        wait::until(&format!("{origin} to be unhealthy with {reason}"), PATIENCE, || {
            let mut curl = self.inside("curl");
            curl.args(["-s", "--max-time", "5", &format!("http://{}/api/v1/status", self.admin)]);
            let status: Value = serde_json::from_str(&process::run(curl, SOON).out).unwrap_or_default();
            let origins = status["origins"].as_array().cloned().unwrap_or_default();
            let found = origins.iter().find(|o| o["origin"] == *origin);
            let paths = found?["paths"].as_array()?;
            paths.iter().any(|p| p["reason"] == *reason).then_some(())
        });
    }
}

#[test]
fn a_host_that_does_not_answer_is_told_from_one_that_nothing_leads_to() {
    let world = World::new();
    let file = world.edge("edge-1").raw(MONITOR);
    let file = file.service(&host("silent").target(None, "10.99.0.2:7"));
    let file = file.service(&host("nowhere").target(None, "10.98.0.2:7"));
    let island = Island::start(&file, &world, &[]);
    island.wait_reason("silent-1", "icmp_timeout");
    island.wait_reason("nowhere-1", "network_unreachable");
}

#[test]
fn who_may_not_ask_says_so() {
    let world = World::new();
    let file = world.edge("edge-1").raw(MONITOR).service(&host("web").target(None, "10.99.0.1:7"));
    let without = ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw", "--"];
    // A new network gives ping sockets to nobody.
    let island = Island::start(&file, &world, &without);
    island.wait_reason("web-1", "icmp_not_permitted");
}
