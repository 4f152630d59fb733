//! `underpass status` as people read it: what fails first, on one screen, and the parts that were asked for.

use underpass_tests::harness::{Service, World, origin::habits, wait};

#[test]
fn what_fails_comes_first_with_its_stage_and_since_when() {
    let world = World::new();
    let prod = world.vnet("prod");
    let [one, mut two] = [10, 11].map(|host| habits::echo(world.free_in(&prod, host)));
    let web = Service::tcp("web").origin(&prod, one.address()).origin(&prod, two.address()).monitor("tcp");
    let api = Service::tcp("api").direct(one.address());
    let edge = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&web).service(&api).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("web-1", "healthy");
    edge.wait_health("web-2", "healthy");
    let status = |arguments: &[&str]| edge.command(&[&["status"], arguments].concat());
    wait::soon_true("all to be well", || status(&[]).ok().out.contains("\nnothing fails\n"));

    two.stop();
    edge.wait_health("web-2", "unhealthy");
    let shown = status(&[]).ok().out;
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines.len() < 50 && !shown.contains('\x1b'), "{shown}");
    let failing = shown.find("\nfailing\n").expect("something fails");
    assert!(failing < shown.find("\nlisteners\n").expect("they are there"), "{shown}");
    let origin = lines.iter().find(|line| line.starts_with("  origin web/web-2 ")).expect("it fails");
    for part in [" unhealthy ", " s ago ", " connect "] {
        assert!(origin.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("web-1"), "what is well is not told one by one: {shown}");
    let json = edge.status();
    let of = |name: &str| json["origins"].as_array().into_iter().flatten().find(|o| o["origin"] == name).cloned();
    let ill = of("web-2").expect("it is there");
    assert!(ill["since"].is_string() && ill["stage"] == "connect", "{ill}");
    assert!(ill["paths"][0]["since"].is_string() && ill["paths"][0]["stage"] == "connect", "{ill}");
    assert!(json["now"].is_string() && json["tunnels"][0]["since"].is_string(), "{json}");

    let alone = status(&["--unhealthy"]).ok().out;
    assert!(alone.contains("origin web/web-2") && !alone.contains("listeners"), "{alone}");
    let of_api = status(&["--pool", "api"]).ok().out;
    assert!(of_api.contains("nothing fails") && of_api.contains("api-1") && !of_api.contains("web"), "{of_api}");
    let of_dc1 = status(&["--connector", "dc1"]).ok().out;
    assert!(of_dc1.contains("\nlinks\n") && of_dc1.contains("origin web/web-2"), "{of_dc1}");
    let all = status(&["--all"]).ok().out;
    assert!(all.contains("\npaths\n") && all.contains("web-1") && all.contains("web-2"), "{all}");
    let _ = status(&["--pool", "wep"]).exited(2).says(&["there is no pool \"wep\"; there are: web, api"]);
    let _ = status(&["--pool", "web", "--json"]).exited(2).says(&["--json prints the whole answer"]);
    drop(dc1);
}
