//! `underpass explain`: where a flow would go, and why; and that nothing comes of asking.

use std::io::Write;

use serde_json::Value;
use underpass_tests::harness::{
    Edge, Service, World, client, http,
    origin::{habits, recorder::Recorder},
    wait,
};

use crate::http::certificate;

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

#[test]
fn what_a_request_says_beside_its_path_is_judged_as_it_would_be() {
    let world = World::new();
    let (web, _code) = habits::http(world.free(), "web");
    certificate(&world, "a", "a.example");
    certificate(&world, "b", "b.example");
    let files =
        "certificates = [{ certificate = \"a.pem\", key = \"a.key\" }, { certificate = \"b.pem\", key = \"b.key\" }]";
    let plain = Service::http("plain").direct(web.address());
    let file = world.edge("edge-1").service(&Service::https("web").direct(web.address()).listener(files));
    let edge = file.service(&plain).start();
    let explain = |arguments: &[&str]| -> Value {
        let ran = edge.command(&[&["explain", "--json"], arguments].concat()).ok();
        serde_json::from_str(&ran.out).expect("JSON")
    };
    let shown = |explained: &Value, file: &str| {
        assert!(explained["certificate"].as_str().is_some_and(|shown| shown.ends_with(file)), "{explained}");
    };
    let served = explain(&["web", "--sni", "B.example", "--host", "b.example", "--header", "x-any: thing"]);
    shown(&served, "/b.pem");
    assert_eq!(served["origin"], "web-1", "{served}");

    // As the listener answers a client that does this: 421.
    let misdirected = explain(&["web", "--sni", "a.example", "--header", "Host: b.example"]);
    shown(&misdirected, "/a.pem");
    assert_eq!((&misdirected["reason"], &misdirected["origin"]), (&"misdirected".into(), &Value::Null));
    for (field, code) in [("Expect: a miracle", "unknown_expectation"), ("Upgrade: spdy/3.1", "protocol_unsupported")] {
        let refused = explain(&["plain", "--header", "Connection: upgrade", "--header", field]);
        assert_eq!(refused["reason"], code, "{refused}");
    }
    let text = edge.command(&["explain", "web", "--sni", "a.example", "--host", "b.example"]).ok().out;
    assert!(text.contains("there is no place for it: misdirected: 421 "), "{text}");

    for (arguments, words) in [
        (["plain", "--sni", "a"], "speaks no TLS: no `sni` matters there"),
        (["plain", "--header", "no colon"], "is no NAME: VALUE"),
        (["plain", "--header", "a b: c"], "is no NAME: VALUE"),
    ] {
        let ran = edge.command(&[&["explain"], &arguments[..]].concat());
        assert!(ran.code != 0 && ran.err.contains(words), "{arguments:?}: {ran:?}");
    }
}

/// The id in the last line of the access log that has these parts.
fn logged(edge: &Edge, parts: &[&str]) -> String {
    let line = edge.process.wait_log(&[&["access", " id="], parts].concat());
    let (_, rest) = line.split_once(" id=").expect("it was waited for");
    rest.split(' ').next().expect("a word").to_owned()
}

#[test]
fn a_flow_that_did_not_go_well_is_explained_by_its_id() {
    let world = World::new();
    let (mut one, two) = (habits::echo(world.free()), habits::echo(world.free()));
    let retried = Service::tcp("retried").direct(one.address()).direct(two.address());
    // It stands in [admin], which is the last part of a file's head.
    let file = world
        .edge("edge-1")
        .raw("reveal_id = true")
        .service(&retried)
        .service(&Service::tcp("gone").direct(one.address()));
    let (web, _code) = habits::http(world.free(), "web");
    let edge = file.service(&Service::http("web").direct(web.address())).start();
    one.stop();

    let _ = client::exchange(edge.listener("gone"), b"hello");
    let id = logged(&edge, &["listener=gone"]);
    let shown = edge.command(&["explain", "--flow", &id]).ok().out;
    for part in [&format!("flow {id} at listener gone"), "origin gone-1 of pool gone", "connect_refused"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Of two it is one's turn first, and the other has it after that; or it went well at once.
    let retried = wait::soon("a flow that is tried again", || {
        let echoed = client::exchange(edge.listener("retried"), b"hello").expect("another origin takes it");
        assert_eq!(echoed, b"hello");
        edge.process.find_log(&["access", "listener=retried", "attempts=2"])
    });
    let (_, rest) = retried.split_once(" id=").expect("every line has one");
    let id = rest.split(' ').next().expect("a word");
    let ran = edge.command(&["explain", "--flow", id, "--json"]).ok();
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    let flow = &told["flows"][0];
    assert_eq!(
        (&flow["because"][0], &flow["attempts"][0]["origin"]),
        (&"retried".into(), &"retried-1".into()),
        "{told}"
    );
    assert_eq!(flow["attempts"][1]["origin"], "retried-2", "{told}");

    // One that went well is not kept, and what is no id is said to be none.
    let stream = client::connect(edge.listener("web")).expect("it listens");
    (&stream).write_all(b"GET /who HTTP/1.0\r\nHost: a\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n").expect("open");
    let (answer, _) = client::read_all(&stream);
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.contains("x-underpass-id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"), "{answer}");
    assert_eq!(logged(&edge, &["listener=web"]), "4bf92f3577b34da6a3ce929d0e0e4736");
    for (id, words) in
        [("4bf92f3577b34da6a3ce929d0e0e4736", "nothing is kept of this flow"), ("4b", "32 hexadecimal digits")]
    {
        let ran = edge.command(&["explain", "--flow", id]);
        assert!(ran.code != 0 && ran.err.contains(words), "{ran:?}");
    }
    assert_eq!(edge.command(&["explain", "web", "--flow", id]).code, 2);
}

#[test]
fn an_origin_is_told_the_trace_of_a_request() {
    let world = World::new();
    let recorder = Recorder::start(world.free());
    let edge = world.edge("edge-1").service(&Service::http("web").direct(recorder.address())).start();
    let ask = |fields: &str| {
        let answer = http::ask(edge.listener("web"), "GET", "/", fields).expect("it answers");
        assert_eq!(answer.code, 200);
        recorder.take().concat().to_ascii_lowercase()
    };
    let begun = ask("");
    assert!(begun.contains("traceparent: 00-") && !begun.contains("x-underpass-id"), "{begun}");
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let went_on = ask(&format!("traceparent: 00-{id}-00f067aa0ba902b7-00\r\ntracestate: a=1\r\n"));
    assert!(went_on.contains(&format!("traceparent: 00-{id}-")) && went_on.contains("tracestate: a=1"), "{went_on}");
    assert!(!went_on.contains("00f067aa0ba902b7"), "the parent is this hop: {went_on}");
}
