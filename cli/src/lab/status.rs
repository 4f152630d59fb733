//! What an edge says of itself, and what it lacks until the lab is whole. Pure.

use std::collections::BTreeSet;

use api::{
    edge::Status,
    words::{Health, TunnelHealth},
};

use super::plan::{LINKS_PER_EDGE, SERVICES, Vnet, replicas_of, servers_of};

/// What is missing before every link of every replica is up; empty: nothing.
pub(super) fn lacking_links(status: &Status) -> Vec<String> {
    let mut lacking = Vec::new();
    for vnet in Vnet::ALL {
        let (name, replicas) = (vnet.connector(), replicas_of(vnet).count());
        let Some(tunnel) = status.tunnels.iter().find(|tunnel| tunnel.connector == name) else {
            lacking.push(format!("tunnel {name} is not there"));
            continue;
        };
        let expected = replicas * LINKS_PER_EDGE;
        let seen: BTreeSet<&str> = tunnel.links.iter().map(|link| link.replica.as_str()).collect();
        if tunnel.links.len() != expected || seen.len() != replicas || tunnel.health != TunnelHealth::Healthy {
            let (health, links, seen) = (&tunnel.health, tunnel.links.len(), seen.len());
            lacking.push(format!(
                "tunnel {name} is {health} with {links} of {expected} links from {seen} of {replicas} replicas"
            ));
        }
    }
    lacking
}

/// What is missing before every origin is found healthy over every link; empty: nothing.
pub(super) fn lacking(status: &Status) -> Vec<String> {
    let mut lacking = lacking_links(status);
    for service in &SERVICES {
        let expected = replicas_of(service.vnet).count() * LINKS_PER_EDGE;
        for server in servers_of(service.vnet) {
            let (pool, origin) = (service.name, server.name);
            let Some(found) = status.origins.iter().find(|o| o.pool == pool && o.origin == origin) else {
                lacking.push(format!("origin {pool}/{origin} is not there"));
                continue;
            };
            let healthy = found.paths.iter().filter(|path| path.health == Health::Healthy).count();
            if healthy != expected || found.paths.len() != expected || found.health != Health::Healthy {
                let health = &found.health;
                lacking.push(format!("origin {pool}/{origin} is {health} with {healthy} of {expected} paths healthy"));
            }
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A whole lab, in the words of the admin endpoint.
    fn whole() -> Value {
        let links = |replicas: &[&str]| {
            let twice = replicas.iter().flat_map(|replica| [replica, replica]);
            twice.map(|replica| json!({ "id": "l1", "replica": replica, "rtt_ms": 0.2 })).collect::<Vec<_>>()
        };
        let origins = SERVICES.iter().flat_map(|service| {
            servers_of(service.vnet).map(|server| {
                let paths = replicas_of(service.vnet).count() * 2;
                let paths = vec![json!({ "link": "l1", "health": "healthy", "reason": null }); paths];
                json!({ "pool": service.name, "origin": server.name, "health": "healthy", "paths": paths })
            })
        });
        json!({
            "edge": "edge-1", "version": "0.1.0", "catalog_version": 1,
            "tunnels": [
                { "connector": "dc-red", "health": "healthy", "links": links(&["a", "b"]), "routes": [] },
                { "connector": "dc-blue", "health": "healthy", "links": links(&["c"]), "routes": [] },
            ],
            "origins": origins.collect::<Vec<_>>(),
            "pools": [], "load_balancers": [], "listeners": [],
        })
    }

    fn lacking(status: Value) -> Vec<String> {
        super::lacking(&serde_json::from_value(status).expect("it has the parts"))
    }

    #[test]
    fn a_whole_lab_lacks_nothing() {
        assert_eq!(lacking(whole()), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut one_replica = whole();
        one_replica["tunnels"][0]["links"].as_array_mut().expect("an array").truncate(2);
        let tunnel = "tunnel dc-red is healthy with 2 of 4 links from 1 of 2 replicas";
        assert_eq!(lacking(one_replica), [tunnel]);

        let mut one_path = whole();
        one_path["origins"][0]["paths"][1]["health"] = json!("unknown");
        assert_eq!(lacking(one_path), ["origin red-http/red-1 is healthy with 3 of 4 paths healthy"]);

        let nothing = json!({ "tunnels": [], "origins": [] });
        assert_eq!(lacking(nothing).len(), 2 + 3 + 2 + 3 + 3 + 2);
    }
}
