//! `underpass explain`: where a flow would go, and why; and that nothing comes of asking.

use serde_json::Value;
use underpass_tests::harness::{Service, World, origin::habits, wait};

/// What of this kind was considered, with why each was passed over.
fn considered(explained: &Value, what: &str) -> Vec<(String, Option<String>)> {
    let steps = explained["considered"].as_array().expect("a list").iter().filter(|step| step["what"] == what);
    let word = |value: &Value| value.as_str().map(str::to_owned);
    steps.map(|step| (word(&step["name"]).expect("a name"), word(&step["passed_over"]))).collect()
}

#[test]
fn a_decision_is_explained_with_what_it_passed_over() {
    let world = World::new();
    let prod = world.vnet("prod");
    let [one, mut two] = [10, 11].map(|host| habits::echo(world.free_in(&prod, host)));
    let service = Service::http("web").origin(&prod, one.address()).origin(&prod, two.address()).monitor("tcp");
    let rule = "[[listener.rule]]\nhost = \"api.example\"\nload_balancer = \"api\"";
    let (web, api) = (service.listener(rule), Service::tcp("api").direct(one.address()));
    let file = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&web).service(&api);
    let edge = file.start();
    let _dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    let explain = |arguments: &[&str]| -> Value {
        let ran = edge.command(&[&["explain", "web", "--json"], arguments].concat()).ok();
        serde_json::from_str(&ran.out).expect("JSON")
    };
    two.stop();
    wait::soon_true("the second origin to be found ill", || {
        edge.origin("web-1").is_some_and(|o| o["health"] == "healthy")
            && edge.origin("web-2").is_some_and(|o| o["health"] == "unhealthy")
    });

    let explained = explain(&["--source", "192.0.2.7", "--path", "/a/../b"]);
    assert_eq!((&explained["rule"], &explained["load_balancer"]), (&Value::Null, &"web".into()));
    assert_eq!(considered(&explained, "pool"), [("web".to_owned(), None)]);
    let origins = [("web-1".to_owned(), None), ("web-2".to_owned(), Some("no_path".to_owned()))];
    assert_eq!(considered(&explained, "origin"), origins);
    assert_eq!((&explained["origin"], &explained["by"]), (&"web-1".into(), &"steering".into()));
    assert_eq!(explained["connector"], "dc1");
    assert_eq!(explained["next"][0]["origin"], "web-1", "another link leads there: {explained}");

    let ruled = explain(&["--host", "API.example:8080"]);
    assert_eq!((&ruled["rule"], &ruled["load_balancer"]), (&1.into(), &"api".into()));
    assert_eq!((&ruled["link"], &ruled["by"]), (&Value::Null, &"steering".into()));

    let shown = edge.command(&["explain", "web"]).ok().out;
    for part in
        ["load balancer web (its own)", "passed over: no_path", "100 %", "goes to origin web-1 of pool web, over link "]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(edge.origin("web-1").is_some_and(|origin| origin["flows"] == 0), "nobody came of that");

    let wrong = |arguments: &[&str]| edge.command(&[&["explain"], arguments].concat());
    for (arguments, words) in [
        (&["wep"][..], "there is no listener \"wep\"; did you mean \"web\""),
        (&["api", "--host", "a"], "reads no host, path or cookie"),
        (&["web", "--host", "a b"], "is no HOST or HOST:PORT"),
        (&["web", "--path", "x"], "would be refused: bad_target"),
    ] {
        let ran = wrong(arguments);
        assert!(ran.code != 0 && ran.err.contains(words), "{arguments:?}: {ran:?}");
    }
}
