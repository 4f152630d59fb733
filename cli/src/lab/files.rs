//! The configuration files of the lab, as a user would write them. Pure: plan in, texts out.
//!
//! Paths in them are relative to the files themselves.

use std::fmt::{self, Write};

use rig::dns;

use super::plan::{
    CIDR, LINKS_PER_EDGE, Plan, REPLICAS, Replica, SERVERS, SERVICES, Service, Speech, Vnet, WWW, Www, replicas_of,
    servers_of,
};

/// The edge that has the CA and makes the join tokens; the others of the fleet use its CA.
pub(super) const FIRST_EDGE: usize = 0;

/// The certificate that `www` shows, signed by itself, and its key.
pub(super) const CERTIFICATE: &str = "www.pem";
pub(super) const KEY: &str = "www.key";

/// The monitors' settings: an origin's death is known within two seconds.
const MONITOR: &str = "interval = \"1s\"\ntimeout = \"800ms\"\nconsecutive_up = 2\nconsecutive_down = 2\n";

/// The file of a process.
pub(super) fn file_name(process: &str) -> String {
    format!("{process}.toml")
}

/// Where a process keeps its state.
fn state_dir(process: &str) -> String {
    format!("{process}-state")
}

/// The file that brings a replica its join token.
pub(super) fn token_name(replica: &Replica) -> String {
    format!("{}.token", replica.name)
}

/// The file of an edge.
pub(super) fn edge(plan: &Plan, edge: usize) -> String {
    let mut text = String::new();
    write_edge(&mut text, plan, edge).expect("writing to a string does not fail");
    text
}

/// The same with what a day brings: other weights, and a pool more.
pub(super) fn edge_changed(plan: &Plan, edge: usize) -> String {
    let text = self::edge(plan, edge).replace("name = \"red-1\"\n", "name = \"red-1\"\nweight = 0.5\n");
    let server = &SERVERS[0];
    let (vnet, address) = (server.vnet.name(), plan.ground.address(server, Speech::Http));
    let origin = format!("[[pool.origin]]\nname = \"spare\"\nvnet = \"{vnet}\"\naddress = \"{address}\"");
    format!(
        "{text}\n[[pool]]\nname = \"spare\"\n{origin}\n\n[[load_balancer]]\nname = \"spare\"\npools = [\"spare\"]\n"
    )
}

/// The file of a connector.
pub(super) fn connector(plan: &Plan, replica: usize) -> String {
    let mut text = String::new();
    write_connector(&mut text, plan, replica).expect("writing to a string does not fail");
    text
}

fn write_edge(text: &mut String, plan: &Plan, edge: usize) -> fmt::Result {
    let own = &plan.edges[edge];
    writeln!(text, "name = \"{}\"\nstate_dir = \"{}\"", own.name, state_dir(own.name))?;
    if edge != FIRST_EDGE {
        let dir = state_dir(plan.edges[FIRST_EDGE].name);
        writeln!(text, "ca = {{ certificate = \"{dir}/ca.pem\", key = \"{dir}/ca.key\" }}  # one CA for the fleet")?;
    }
    writeln!(text, "workers = 2")?;
    writeln!(text, "\n[tunnel]\nlisten = \"{0}\"\nadvertise = [\"{0}\"]", own.tunnel)?;
    writeln!(text, "\n[admin]\nlisten = \"{}\"", own.admin)?;
    for vnet in Vnet::ALL {
        let (name, replicas) = (vnet.connector(), replicas_of(vnet).count());
        writeln!(text, "\n[[connector]]\nname = \"{name}\"\nreplicas = {replicas}")?;
        writeln!(text, "routes = [{{ vnet = \"{}\", cidr = \"{CIDR}\" }}]", vnet.name())?;
    }
    write_monitors(text)?;
    for (service, listen) in SERVICES.iter().zip(own.listeners) {
        write_pool(text, plan, service)?;
        let (name, protocol) = (service.name, service.speech.protocol());
        writeln!(text, "\n[[load_balancer]]\nname = \"{name}\"\npools = [\"{name}\"]")?;
        writeln!(text, "\n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"")?;
        writeln!(text, "load_balancer = \"{name}\"\n")?;
    }
    let Www { name, pool, path, other } = WWW;
    writeln!(text, "[[load_balancer]]  # a cookie keeps a client on its origin")?;
    writeln!(text, "name = \"{name}\"\npools = [\"{}\"]", pool.name)?;
    writeln!(text, "session_affinity = {{ type = \"cookie\", ttl = \"1h\" }}")?;
    writeln!(text, "\n[[listener]]\nname = \"{name}\"\nprotocol = \"https\"\nlisten = \"{}\"", own.www)?;
    writeln!(text, "load_balancer = \"{name}\"")?;
    writeln!(text, "certificates = [{{ certificate = \"{CERTIFICATE}\", key = \"{KEY}\" }}]")?;
    writeln!(text, "\n[[listener.rule]]\npath = \"{path}\"\nload_balancer = \"{}\"", other.name)
}

fn write_monitors(text: &mut String) -> fmt::Result {
    writeln!(text, "\n[[monitor]]\nname = \"http\"\ntype = \"http\"\npath = \"/healthz\"\n{MONITOR}")?;
    writeln!(text, "[[monitor]]\nname = \"tcp\"\ntype = \"tcp\"\n{MONITOR}")?;
    let question = dns::question(0, &["health"], dns::TXT);
    let question: String = question.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(text, "[[monitor]]  # a question in DNS, and what stands in every answer")?;
    writeln!(text, "name = \"dns\"\ntype = \"udp\"\nsend = \"0x{question}\"\nexpect = \"origin=\"\n{MONITOR}")
}

fn write_pool(text: &mut String, plan: &Plan, service: &Service) -> fmt::Result {
    let Service { name, vnet, speech } = service;
    // A server that greets first is judged by its accept alone.
    let (monitor, steering) = match speech {
        Speech::Http => ("http", "round_robin"),
        Speech::Echo => ("tcp", "least_connections"),
        Speech::Dns => ("dns", "random"),
    };
    writeln!(text, "[[pool]]\nname = \"{name}\"\nmonitor = \"{monitor}\"\nsteering = \"{steering}\"")?;
    for server in servers_of(*vnet) {
        let (origin, vnet, address) = (server.name, vnet.name(), plan.ground.address(server, *speech));
        writeln!(text, "\n[[pool.origin]]\nname = \"{origin}\"\nvnet = \"{vnet}\"\naddress = \"{address}\"")?;
    }
    Ok(())
}

fn write_connector(text: &mut String, plan: &Plan, replica: usize) -> fmt::Result {
    let (replica, admin) = (&REPLICAS[replica], plan.admins[replica]);
    let (name, vnet, real) = (replica.vnet.connector(), replica.vnet.name(), plan.ground.real_cidr(replica));
    let edges = plan.edges.each_ref().map(|edge| format!("\"{}\"", edge.tunnel)).join(", ");
    writeln!(text, "name = \"{name}\"\nedges = [{edges}]\nstate_dir = \"{}\"", state_dir(replica.name))?;
    writeln!(text, "token_file = \"{}\"\nlinks_per_edge = {LINKS_PER_EDGE}\nworkers = 2", token_name(replica))?;
    writeln!(text, "\n[[route]]\nvnet = \"{vnet}\"\ncidr = \"{CIDR}\"")?;
    writeln!(text, "\n[[map]]  # where the network really is on this machine")?;
    writeln!(text, "vnet = \"{vnet}\"\nfrom = \"{CIDR}\"\nto = \"{real}\"")?;
    writeln!(text, "\n[allow]\ntargets = [\"{real}:*\"]\n\n[admin]\nlisten = \"{admin}\"")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lab::plan::Ground;

    fn plan() -> Plan {
        let ground = Ground::all().next().expect("there are grounds");
        Plan::new(ground, |port| ([127, 0, 0, 1], port).into())
    }

    #[test]
    fn the_edges_read_their_files() {
        let plan = plan();
        for (i, own) in plan.edges.iter().enumerate() {
            let text = edge(&plan, i);
            let config =
                edge::config::parse(&text, Path::new("/lab/edge.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!((config.tunnel.listen, config.admin.listen), (own.tunnel, own.admin));
            let listeners: Vec<_> = config.catalog.listeners.iter().map(|l| (l.name.as_str(), l.listen)).collect();
            let expected = SERVICES.iter().map(|s| s.name).zip(own.listeners).chain([(WWW.name, own.www)]);
            assert_eq!(listeners, expected.collect::<Vec<_>>());
            let ca = config.ca.map(|ca| ca.key);
            assert_eq!(ca.as_deref(), (i > 0).then_some(Path::new("/lab/edge-1-state/ca.key")));
            assert_eq!(config.state_dir, Path::new("/lab").join(state_dir(own.name)));
            let changed = edge_changed(&plan, i);
            let changed = edge::config::parse(&changed, Path::new("/lab/edge.toml")).unwrap_or_else(|e| panic!("{e}"));
            assert!(changed.catalog.pools.iter().flat_map(|pool| &pool.origins).any(|origin| origin.weight < 1.0));
        }
    }

    #[test]
    fn the_connectors_read_their_files() {
        let plan = plan();
        for (i, replica) in REPLICAS.iter().enumerate() {
            let text = connector(&plan, i);
            let config =
                connector::config::parse(&text, Path::new("/lab/c.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let edges: Vec<String> = config.edges.iter().map(ToString::to_string).collect();
            assert_eq!(edges, plan.edges.iter().map(|e| e.tunnel.to_string()).collect::<Vec<_>>());
            assert_eq!(config.maps.len(), 1);
            assert_eq!(config.maps[0].to.to_string(), plan.ground.real_cidr(replica));
            assert_eq!(config.admin_listen, plan.admins[i]);
        }
    }

    #[test]
    fn nothing_listens_beyond_loopback() {
        let plan = plan();
        let texts = (0..plan.edges.len()).map(|i| edge(&plan, i));
        let texts = texts.chain((0..REPLICAS.len()).map(|i| connector(&plan, i)));
        for listen in texts.collect::<String>().lines().filter_map(|line| line.strip_prefix("listen = ")) {
            assert!(listen.starts_with("\"127."), "{listen}");
        }
    }
}
