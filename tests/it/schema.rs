//! What programs say is what the schemas under `docs/schema/` promise.

use serde_json::Value;
use underpass_tests::harness::{Service, World, origin::habits, wait};

const STATUS: &str = include_str!("../../docs/schema/status.json");

fn schema(text: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(text).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn a_status_keeps_to_its_schema_whether_all_is_well_or_not() {
    let schema = schema(STATUS);
    let holds = |status: &Value| {
        let wrong: Vec<_> = schema.iter_errors(status).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    };
    let world = World::new();
    let prod = world.vnet("prod");
    let [one, mut two] = [10, 11].map(|host| habits::echo(world.free_in(&prod, host)));
    let web = Service::tcp("web").origin(&prod, one.address()).origin(&prod, two.address()).monitor("tcp");
    let mut edge = world.edge("edge-1").grant("dc1", &[&prod]).tcp_monitor("tcp").service(&web).start();
    let dc1 = world.connector("dc1").serve(&prod).start(&[&edge]);
    edge.wait_health("web-1", "healthy");
    two.stop();
    edge.wait_health("web-2", "unhealthy");
    let _ = edge.command(&["drain", "pool", "web"]).ok();
    let status = edge.status();
    holds(&status);
    let ill = status["origins"].as_array().into_iter().flatten().find(|origin| origin["origin"] == "web-2");
    assert_eq!(ill.expect("it is told of")["code"], "UP-305", "{status}");
    holds(&dc1.status());

    // Beside one that is no status any more: the schema says something.
    let mut less = status;
    less.as_object_mut().expect("an object").remove("pools");
    assert!(!schema.is_valid(&less));

    edge.process.kill();
    wait::soon_true("the connector to say what it lacks", || {
        let status = dc1.status();
        holds(&status);
        status["edges"][0]["links"][0]["code"].is_string()
    });
}
