mod written;

use std::{path::PathBuf, time::Duration};

use ipnetwork::IpNetwork;
use proptest::prelude::*;
use protocol::id::{Host, Name, Target};

use super::*;
use crate::model::{
    Affinity, Check, HttpSettings, Leads, ListenProtocol, Listener, OriginTls, PoolSteering, Prefix, Steering,
    TcpCheck, Trust, UdpCheck, Underscores, Upstream,
};

/// Three lines that make what follows a whole file.
const HEAD: &str = "name = \"edge-1\"\ntunnel.listen = \"127.0.0.1:7843\"\n\n";
const EXAMPLES: [&str; 3] = [
    include_str!("../../../examples/edge.toml"),
    include_str!("../../../examples/edge-minimal.toml"),
    include_str!("../../../examples/two-vnets-edge.toml"),
];
const TWO_POOLS: &str = "pool = [{ name = \"web\", origin = [{ name = \"a\", address = \"a:1\" }] }, \
                         { name = \"api\", origin = [{ name = \"a\", address = \"a:1\" }] }]\n";

fn file() -> &'static Path {
    Path::new("/etc/underpass/edge.toml")
}

fn mistakes(text: &str) -> Vec<String> {
    written::assert_read_alike(text);
    match parse(text, file()) {
        Ok(_) => Vec::new(),
        Err(wrong) => wrong.list.iter().map(|m| format!("{}: {}", m.place, m.message)).collect(),
    }
}

/// Each text follows [`HEAD`], so its first line is line 4.
fn check_all(table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(mistakes(&format!("{HEAD}{text}")), *expected, "{text}");
    }
}

fn config(text: &str) -> Config {
    parse(&format!("{HEAD}{text}"), file()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

#[test]
fn examples_are_right() {
    for example in EXAMPLES {
        if let Err(wrong) = parse(example, file()) {
            panic!("{wrong}");
        }
    }
}

#[test]
fn every_setting_is_read() {
    let config = parse(EXAMPLES[0], file()).expect("the example is right");
    assert_eq!(config.name.as_str(), "edge-1");
    assert_eq!(config.tunnel.advertise[0].to_string(), "edge-1.example.com:7843");
    let grant = &config.catalog.grants[0];
    assert_eq!((grant.connector.as_str(), grant.replicas, grant.routes.len()), ("dc1", 2, 2));
    let monitor = &config.catalog.monitors[0];
    let Check::Http(check) = &monitor.check else { panic!("the first monitor speaks HTTP") };
    assert_eq!((check.method.as_str(), check.path.as_str()), ("GET", "/healthz"));
    assert_eq!(check.host.as_deref(), Some("www.example.com"));
    assert_eq!(check.headers[0].0.as_str(), "x-probe");
    assert_eq!(check.expected_codes, [(200, 299), (301, 302)]);
    assert_eq!(check.expected_body, "ok");
    let [web, dr, postgres] = &config.catalog.pools[..] else { panic!("there are three pools") };
    assert_eq!(web.monitor.as_ref(), Some(monitor));
    assert_eq!((web.steering, web.minimum_origins), (Steering::RoundRobin, 1));
    assert_eq!(web.origins.iter().map(|o| o.weight).collect::<Vec<_>>(), [2.0, 1.0, 1.0]);
    assert_eq!(web.origins[2].address.host, Host::Name("web-3.internal".to_owned()));
    assert_eq!(dr.origins[0].vnet, None);
    assert_eq!(postgres.steering, Steering::LeastConnections);
    let www = &config.catalog.load_balancers[0];
    assert_eq!(www.pools.iter().map(Name::as_str).collect::<Vec<_>>(), ["web", "web-dr"]);
    assert_eq!(www.fallback_pool.as_ref().map(Name::as_str), Some("web-dr"));
    assert_eq!(
        www.session_affinity,
        Affinity::Source { prefix: Prefix::WHOLE, ttl: Duration::from_secs(3600), drain: Duration::ZERO }
    );
    let [www, postgres, inside, web] = &config.catalog.listeners[..] else { panic!("there are four listeners") };
    assert_eq!((web.protocol, web.http.rules.len(), web.http.trusted_proxies.len()), (ListenProtocol::Http, 1, 1));
    assert_eq!((www.protocol, led(www), www.replay), (ListenProtocol::Tcp, "www", true));
    assert_eq!((led(postgres), postgres.idle_timeout), ("postgres", Some(Duration::from_secs(3600))));
    assert_eq!((inside.leads.clone(), inside.proxies.len()), (Leads::Destination { vnet: vnet("prod") }, 1));
}

fn vnet(name: &str) -> Name {
    name.parse().expect("a name")
}

/// The load balancer that a listener names.
fn led(listener: &Listener) -> &str {
    let Leads::LoadBalancer(name) = &listener.leads else { panic!("it names a VNet") };
    name.as_str()
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let config = parse("name = \"e\"\n[tunnel]\nadvertise = [\"e:1\"]\n", file()).expect("it is right");
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/underpass"));
    assert_eq!(config.tunnel.listen.to_string(), "0.0.0.0:7843");
    assert_eq!(config.ca, None);
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:7842");
    assert!(!config.admin.authenticate_reads && config.admin.hosts.is_empty());
    assert!((1..=64).contains(&config.workers));
    assert_eq!(config.catalog.version, 0);
}

#[test]
fn what_is_left_out_of_an_object_has_its_documented_default() {
    let text = "connector = [{ name = \"c\", routes = [{ vnet = \"v\", cidr = \"10.0.0.0/8\" }] }]\n\
                monitor = [{ name = \"h\", type = \"http\" }, { name = \"t\", type = \"tcp\", interval = \"1s\" }]\n\
                load_balancer = [{ name = \"lb\", pools = [\"web\"] }]\n\
                listener = [{ name = \"l\", protocol = \"tcp\", listen = \"[::]:0\", load_balancer = \"lb\" }]\n";
    let catalog = config(&format!("{text}{TWO_POOLS}")).catalog;
    assert_eq!(catalog.grants[0].replicas, 1);
    let http = &catalog.monitors[0];
    assert_eq!((http.interval, http.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!((http.retries, http.consecutive_up, http.consecutive_down, http.passive_failures), (1, 2, 2, 3));
    assert!((http.jitter - 0.1).abs() < f64::EPSILON);
    let Check::Http(check) = &http.check else { panic!("it speaks HTTP") };
    assert_eq!((check.method.as_str(), check.path.as_str(), check.host.as_ref()), ("GET", "/", None));
    assert_eq!(check.expected_codes, [(200, 299)]);
    assert!(check.headers.is_empty() && check.expected_body.is_empty() && !check.keep_alive);
    assert_eq!(catalog.monitors[1].timeout, Duration::from_secs(1), "no longer than the interval");
    let pool = &catalog.pools[0];
    assert_eq!((pool.steering, pool.minimum_origins), (Steering::Random, 1));
    assert_eq!((pool.connect_timeout, pool.monitor.is_none()), (Duration::from_secs(3), true));
    assert!((pool.origins[0].weight - 1.0).abs() < f64::EPSILON && pool.origins[0].vnet.is_none());
    let balancer = &catalog.load_balancers[0];
    assert_eq!((balancer.steering, &balancer.fallback_pool), (PoolSteering::Off, &None));
    assert_eq!(balancer.session_affinity, Affinity::None);
    let listener = &catalog.listeners[0];
    assert_eq!((listener.max_connections, listener.replay, listener.idle_timeout), (10_000, false, None));
}

#[test]
fn relative_paths_begin_at_the_file_and_the_ca_may_stand_in_either_place() {
    let at_top = config("state_dir = \"state\"\nca = { certificate = \"ca.pem\", key = \"/k\" }\n");
    let in_tunnel = config("state_dir = \"state\"\ntunnel.ca = { certificate = \"ca.pem\", key = \"/k\" }\n");
    assert_eq!(at_top.state_dir, PathBuf::from("/etc/underpass/state"));
    for config in [at_top, in_tunnel] {
        let ca = config.ca.expect("it is named");
        assert_eq!((ca.certificate, ca.key), ("/etc/underpass/ca.pem".into(), "/k".into()));
    }
    check_all(&[(
        "ca = { certificate = \"a\", key = \"b\" }\ntunnel.ca = { certificate = \"a\", key = \"b\" }",
        &["5:13: `ca` is given twice, at the top of the file and in [tunnel]"],
    )]);
}

#[test]
fn a_concrete_tunnel_address_advertises_itself() {
    assert_eq!(config("").tunnel.advertise, ["127.0.0.1:7843".parse::<Target>().expect("a target")]);
    for (listen, needed) in [("0.0.0.0:1", true), ("[::]:1", true), ("10.0.0.1:0", true), ("[fd00::1]:1", false)] {
        let text = format!("name = \"e\"\n[tunnel]\nlisten = \"{listen}\"\n");
        let expected = format!(
            "2:1: `advertise` is missing in `tunnel`, since nobody can dial {listen}: what a join token tells a connector \
             to dial, such as [\"edge-1.example.com:7843\"]"
        );
        assert_eq!(mistakes(&text), if needed { vec![expected] } else { vec![] });
    }
}

#[test]
fn mistakes_of_the_edge_itself() {
    let needs = "what a join token tells a connector to dial, such as [\"edge-1.example.com:7843\"]";
    assert_eq!(
        mistakes(""),
        [
            format!("1:1: [tunnel] is missing: its `advertise` is {needs}"),
            "1:1: `name` is missing: the name of this edge, such as \"edge-1\"".to_owned(),
        ]
    );
    let target =
        "a target is HOST:PORT with an IP address (IPv6 in brackets) or a DNS name, and a port from 1 to 65535";
    let beyond = "is beyond loopback, where everything needs the admin token: give `authenticate_reads = true`, or listen \
                  on 127.0.0.1 or [::1]";
    check_all(&[
        ("workers = 0", &["4:11: `workers` must be a whole number from 1 to 64, found the integer 0"]),
        ("state_dir = \"\"", &["4:13: `state_dir` must not be empty"]),
        ("tunel.listen = \"\"", &["4:1: unknown key `tunel`; did you mean `tunnel`"]),
        (
            "tunnel.advertise = [\"e\", \"e:1\", \"e:1\", \"0.0.0.0:1\"]",
            &[
                &format!("4:21: `advertise` cannot be \"e\": {target}"),
                "4:33: `advertise` names \"e:1\" twice",
                "4:40: `advertise` cannot be \"0.0.0.0:1\": nobody can dial 0.0.0.0",
            ],
        ),
        ("tunnel.advertise = []", &["4:20: `advertise` must name at least one"]),
        ("ca.certificate = \"a\"", &["4:1: `key` is missing in `ca`: the PEM file of the CA's key"]),
        ("[admin]\nlisten = \"0.0.0.0:7842\"", &[&format!("5:10: `listen` 0.0.0.0:7842 {beyond}")]),
        ("[admin]\nlisten = \"0.0.0.0:7842\"\nauthenticate_reads = true", &[]),
        (
            "[admin]\nhosts = [\"edge.example.com:80\"]",
            &[
                "5:10: `hosts` cannot be \"edge.example.com:80\": a host name has letters, digits, '-', '_' and '.', and no port",
            ],
        ),
    ]);
}

#[test]
fn mistakes_of_grants() {
    check_all(&[
        (
            "[[connector]]\nname = \"DC1\"\nreplicas = 0\nroutes = []",
            &[
                "4:1: `routes` must not be empty in `connector`: what it may claim, such as [{ vnet = \"prod\", cidr = \
             \"10.0.0.0/16\" }]",
                "5:8: `name` cannot be \"DC1\": names are 1 to 63 of a-z, 0-9 and '-', and do not begin with '-'",
                "6:12: `replicas` must be a whole number from 1 to 1000, found the integer 0",
            ],
        ),
        (
            "[[connector]]\nname = \"a\"\n[[connector]]\nname = \"a\"\nroutes = [{ vnet = \"v\", cidr = \"10.0.0.1/8\" }]",
            &[
                "4:1: `routes` is missing in `connector`: what it may claim, such as [{ vnet = \"prod\", cidr = \
             \"10.0.0.0/16\" }]",
                "7:8: `name` \"a\" is taken by the connector of line 5",
                "8:32: `cidr` cannot be \"10.0.0.1/8\": it has bits set behind its prefix; the network is \"10.0.0.0/8\"",
            ],
        ),
        (
            "[[connector]]\nname = \"a\"\n[[connector.routes]]\nvnet = \"v\"\ncidr = \"10.0.0.0/8\"\n\
             [[connector.routes]]\nvnet = \"v\"\ncidr = \"10.0.0.0/8\"\n[[connector.routes]]\nvnet = \"w\"\n\
             cidr = \"10.0.0.0/8\"\nadress = 1",
            &[
                "11:8: `cidr` 10.0.0.0/8 of vnet \"v\" is granted twice, first in line 8",
                "15:1: unknown key `adress` in `connector.routes`; known: `cidr`, `vnet`",
            ],
        ),
    ]);
}

#[test]
fn mistakes_of_monitors() {
    let duration = "a duration is a whole number and a unit, such as \"250ms\", \"5s\", \"1m\", \"23h\" or \"1d\"";
    let code = "a status code is \"2xx\", \"204\" or \"200-299\", from 100 to 599";
    let path = "a path begins with \"/\" and has only what a URL may have; escape the rest with %";
    check_all(&[
        ("[[monitor]]\nname = \"m\"\ntype = \"htpp\"", &["6:8: `type` cannot be \"htpp\"; did you mean \"http\""]),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\npath = \"/\"\nhost = \"h\"",
            &[
                "7:1: `path` is for monitors of type \"http\" or \"https\"",
                "8:1: `host` is for monitors of type \"http\" or \"https\"",
            ],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1500ms\"",
            &["8:11: `timeout` (1500 ms) must not exceed `interval` (1000 ms)"],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\ntimeout = \"6s\"",
            &["7:11: `timeout` (6000 ms) must not exceed `interval` (5000 ms)"],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\ninterval = \"1\"\ntimeout = \"50s\"",
            &[&format!("7:12: `interval` cannot be \"1\": {duration}")],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\ninterval = \"50ms\"\njitter = 0.6\nconsecutive_up = 0",
            &[
                "7:12: `interval` must be from \"100ms\" to \"1h\", found \"50ms\"",
                "8:10: `jitter` must be a number from 0.0 to 0.5, found the float 0.6",
                "9:18: `consecutive_up` must be a whole number from 1 to 100, found the integer 0",
            ],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"http\"\nexpected_codes = [200, \"6xx\", \"299-200\", \"+20\", 99]",
            &[
                &format!("7:24: `expected_codes` cannot be \"6xx\": {code}"),
                "7:31: `expected_codes` cannot be \"299-200\": a range begins with its lower end",
                &format!("7:42: `expected_codes` cannot be \"+20\": {code}"),
                "7:49: `expected_codes` must be a whole number from 100 to 599, found the integer 99",
            ],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"http\"\npath = \"health\"\nmethod = \"POST\"",
            &[
                &format!("7:8: `path` cannot be \"health\": {path}"),
                "8:10: `method` cannot be \"POST\"; known: \"GET\", \"HEAD\", \"OPTIONS\"",
            ],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"http\"\nmethod = \"HEAD\"\nexpected_body = \"ok\"",
            &["8:17: `expected_body` needs method \"GET\" or \"OPTIONS\": an answer to HEAD has no body"],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"http\"\n[monitor.headers]\nHost = \"a\"\n\"a b\" = \"c\"\nx = \"1\"\nX = \"2\"\n\
             y = \"a\\nb\"\nz = 1",
            &[
                "8:1: `Host` is set by the probe itself; give `host`",
                "9:1: `a b` is no name of a header field",
                "11:1: `X` is given twice, first in line 10",
                "12:5: `y` has a character that no header field may have",
                "13:5: `z` must be a string, found the integer 1",
            ],
        ),
    ]);
}

#[test]
fn mistakes_of_pools() {
    let origin = "origin = [{ name = \"a\", address = \"10.0.0.1:80\" }]";
    check_all(&[
        ("[[pool]]\nname = \"p\"", &["4:1: `origin` is missing in `pool`: at least one [[pool.origin]]"]),
        (
            "[[pool]]\nname = \"p\"\norigin = []",
            &["4:1: `origin` must not be empty in `pool`: at least one [[pool.origin]]"],
        ),
        (
            &format!("[[pool]]\nname = \"p\"\nmonitor = \"web\"\n{origin}"),
            &["6:11: no monitor is named \"web\"; there is none"],
        ),
        (
            &format!(
                "monitor = [{{ name = \"web\", type = \"tcp\" }}]\n[[pool]]\nname = \"p\"\nmonitor = \"wbe\"\n{origin}"
            ),
            &["7:11: no monitor is named \"wbe\"; did you mean \"web\""],
        ),
        // A monitor with a mistake of its own is still there.
        (
            &format!("monitor = [{{ name = \"web\", type = 1 }}]\n[[pool]]\nname = \"p\"\nmonitor = \"web\"\n{origin}"),
            &["4:35: `type` must be one of \"tcp\", \"http\", \"https\", \"udp\", \"icmp\", found the integer 1"],
        ),
        (
            &format!(
                "[[pool]]\nname = \"p\"\nsteering = \"peak_ewma\"\nminimum_origins = 2\nupstream = \"h2\"\n{origin}"
            ),
            &[
                "6:12: `steering` \"peak_ewma\" is not supported by this version; supported: \"random\", \"round_robin\", \
             \"hash\", \"least_connections\", \"least_outstanding_requests\"",
                "7:19: `minimum_origins` is 2, and the pool has 1 in all",
                "8:12: `upstream` cannot be \"h2\"; did you mean \"h2c\"",
            ],
        ),
        (
            "[[pool]]\nname = \"p\"\n[[pool.origin]]\nname = \"a\"\naddress = \"10.0.0.1\"\n[[pool.origin]]\nname = \"a\"\n\
             address = \"0.0.0.0:80\"\nweight = 1000.5\n[[pool.origin]]\nname = \"b\"\nadress = \"a:1\"",
            &[
                "8:11: `address` cannot be \"10.0.0.1\": a target is HOST:PORT with an IP address (IPv6 in brackets) or a \
                 DNS name, and a port from 1 to 65535",
                "10:8: `name` \"a\" is taken by the origin of line 7",
                "11:11: `address` cannot be \"0.0.0.0:80\": 0.0.0.0 is not the address of one server",
                "12:10: `weight` must be a number from 0.0 to 1000.0, found the float 1000.5",
                "13:1: `address` is missing in `pool.origin`: HOST:PORT, such as \"10.0.1.10:8080\"",
                "15:1: unknown key `adress` in `pool.origin`; did you mean `address`",
            ],
        ),
        (
            "[[pool]]\nname = \"p\"\norigin = [{ name = \"a\", address = \"[::ffff:1.2.3.4]:5\" }]",
            &["6:35: `address` cannot be \"[::ffff:1.2.3.4]:5\": write IPv4 addresses as IPv4: \"1.2.3.4:5\""],
        ),
        (
            "[[pool]]\nname = \"p\"\norigin = [{ name = \"a\", address = \"a:1\", weight = 0 }]",
            &["4:1: every origin of this pool has `weight` 0, so that none can be chosen; give one more"],
        ),
    ]);
}

#[test]
fn an_origin_lies_inside_a_grant_of_its_vnet() {
    let grants = "connector = [{ name = \"a\", routes = [{ vnet = \"prod\", cidr = \"10.0.0.0/16\" }, \
                  { vnet = \"test\", cidr = \"10.9.0.0/16\" }] }]\n[[pool]]\nname = \"p\"\n[[pool.origin]]\nname = \"a\"\n";
    let with =
        |vnet: &str, address: &str| mistakes(&format!("{HEAD}{grants}vnet = \"{vnet}\"\naddress = \"{address}\""));
    let none: [&str; 0] = [];
    assert_eq!(with("prod", "10.0.255.255:1"), none);
    assert_eq!(with("prod", "db.internal:1"), none);
    assert_eq!(with("prdo", "10.0.0.1:1"), ["9:8: no connector is granted vnet \"prdo\"; did you mean \"prod\""]);
    assert_eq!(with("other", "a:1"), ["9:8: no connector is granted vnet \"other\"; known: \"prod\", \"test\""]);
    assert_eq!(
        with("prod", "10.9.0.1:1"),
        ["10:11: `address` 10.9.0.1 is outside every grant of vnet \"prod\": 10.0.0.0/16"]
    );
    assert_eq!(
        with("prod", "[fd00::1]:1"),
        ["10:11: `address` fd00::1 is outside every grant of vnet \"prod\": 10.0.0.0/16"]
    );
}

#[test]
fn mistakes_of_load_balancers() {
    check_all(&[
        (&format!("{TWO_POOLS}[[load_balancer]]\nname = \"l\"\npools = []"), &["7:9: `pools` must name at least one"]),
        (
            &format!("{TWO_POOLS}[[load_balancer]]\nname = \"l\""),
            &["5:1: `pools` is missing in `load_balancer`: names of pools, in order of failover"],
        ),
        (
            &format!(
                "{TWO_POOLS}[[load_balancer]]\nname = \"l\"\npools = [\"wep\", \"api\", \"api\"]\nfallback_pool = \"dr\""
            ),
            &[
                "7:10: no pool is named \"wep\"; did you mean \"web\"",
                "7:24: `pools` names \"api\" twice",
                "8:17: no pool is named \"dr\"; known: \"api\", \"web\"",
            ],
        ),
        (
            &format!(
                "{TWO_POOLS}[[load_balancer]]\nname = \"l\"\npools = [\"web\"]\nsteering = \"dynamic_latency\"\n\
                 session_affinity = {{ type = \"cookie\", ttl = \"23h\" }}"
            ),
            &[
                "8:12: `steering` \"dynamic_latency\" is not supported by this version; supported: \"off\", \"random\", \
                 \"least_connections\", \"least_outstanding_requests\"",
            ],
        ),
        (
            &format!(
                "{TWO_POOLS}[[load_balancer]]\nname = \"l\"\npools = [\"web\"]\nsession_affinity = {{ type = \"none\", ttl = \"1h\" }}"
            ),
            &["8:37: `ttl` is for session affinity of type \"source\" or \"cookie\""],
        ),
    ]);
}

#[test]
fn mistakes_of_listeners_whose_flows_go_where_they_were_for() {
    let grant = "connector = [{ name = \"dc1\", routes = [{ vnet = \"prod\", cidr = \"10.0.0.0/8\" }, \
                 { vnet = \"lab\", cidr = \"10.0.0.0/8\" }] }]\n";
    let balancer = "load_balancer = [{ name = \"www\", pools = [\"web\"] }]\n";
    let listener = |protocol: &str, lines: &str| {
        let head = format!("{grant}{TWO_POOLS}{balancer}[[listener]]\nname = \"l\"\nlisten = \"127.0.0.1:80\"\n");
        format!("{head}protocol = \"{protocol}\"\n{lines}")
    };
    let proxies = "proxy_protocol = [\"192.0.2.0/24\"]\n";
    let both = listener("tcp", &format!("{proxies}vnet = \"prod\"\nload_balancer = \"www\""));
    let unknown = listener("tcp", &format!("{proxies}vnet = \"stage\""));
    let misspelt = listener("tcp", &format!("{proxies}vnet = \"prods\""));
    let unsaid = listener("tcp", "vnet = \"prod\"");
    let udp = listener("udp", "vnet = \"prod\"");
    let http = listener("http", &format!("{proxies}vnet = \"prod\""));
    let not_tcp = "11:1: `vnet` is for listeners with `protocol` \"tcp\"; others name a `load_balancer`";
    check_all(&[
        (
            &both,
            &[
                "13:1: `load_balancer` is not for a listener with `vnet`: its flows go where they were for; give one of the two",
            ],
        ),
        (&unknown, &["12:8: no connector is granted vnet \"stage\"; known: \"lab\", \"prod\""]),
        (&misspelt, &["12:8: no connector is granted vnet \"prods\"; did you mean \"prod\""]),
        (
            &unsaid,
            &[
                "7:1: `proxy_protocol` is missing in `listener` with `vnet`: a PROXY header says where a flow was for, so name \
               those who send one, such as [\"192.0.2.0/24\"]",
            ],
        ),
        (&udp, &[not_tcp]),
        (&http, &["12:1: `vnet` is for listeners with `protocol` \"tcp\"; others name a `load_balancer`"]),
    ]);
    let good = config(&listener("tcp", &format!("{proxies}vnet = \"prod\"\nreplay = true\nmax_connections = 7")));
    assert_eq!(good.catalog.listeners[0].leads, Leads::Destination { vnet: vnet("prod") });
}

#[test]
fn mistakes_of_listeners() {
    let head = format!("{TWO_POOLS}load_balancer = [{{ name = \"www\", pools = [\"web\"] }}]\n");
    check_all(&[
        (
            &format!("{head}[[listener]]\nname = \"l\"\n"),
            &[
                "6:1: `listen` is missing in `listener`: the public address, such as \"0.0.0.0:5432\"",
                "6:1: `load_balancer` is missing in `listener`: the name of a load balancer; or give `vnet`, in which each \
                 flow goes where it was for",
                "6:1: `protocol` is missing in `listener`: \"tcp\", \"udp\", \"http\" or \"https\"",
            ],
        ),
        (
            &format!(
                "{head}[[listener]]\nname = \"l\"\nprotocol = \"https\"\nlisten = \"80\"\nload_balancer = \"ww\"\n\
                 certificates = []\ntrusted_proxies = []\nmax_connections = 0\nreplay = 1\nidle_timeout = \"1ms\"\n\
                 [[listener.rule]]\nhost = \"h\"\n"
            ),
            &[
                "6:1: `certificates` is missing in `listener`: what the server shows, such as \
                 [{ certificate = \"www.pem\", key = \"www.key\" }]",
                "9:10: `listen` cannot be \"80\": an address to listen on is IP:PORT, such as \"0.0.0.0:80\" or \"[::]:80\"",
                "10:17: no load balancer is named \"ww\"; did you mean \"www\"",
                "13:19: `max_connections` must be a whole number from 1 to 1000000, found the integer 0",
                "14:1: `replay` is for listeners of protocol \"tcp\": requests are sent again by what HTTP says of them",
                "15:16: `idle_timeout` must be from \"1s\" to \"30d\", found \"1ms\"",
                "16:1: `load_balancer` is missing in `listener.rule`: the name of a load balancer",
            ],
        ),
    ]);
}

#[test]
fn manners_of_http_listeners_are_read() {
    let listener = |lines: &str| {
        format!(
            "{TWO_POOLS}load_balancer = [{{ name = \"web\", pools = [\"web\"] }}]\n\
             [[listener]]\nname = \"l\"\nprotocol = \"http\"\nlisten = \"127.0.0.1:80\"\nload_balancer = \"web\"\n{lines}"
        )
    };
    let http = |lines: &str| config(&listener(lines)).catalog.listeners[0].http.clone();
    assert_eq!(http(""), HttpSettings::default());
    let set = http(
        "client_timeout = \"5m\"\nupload_pace = 0\nunderscores_in_headers = \"refuse\"\nupgrade = [\"WebSocket\", \"SPDY/3.1\"]\n\
         [[listener.rule]]\npath = \"/\"\nload_balancer = \"web\"\n\
         request_headers = { set = { X-Env = \"prod\" }, remove = [\"X-Debug\"] }\nresponse_headers = { remove = [\"server\"] }\n",
    );
    assert_eq!((set.client_timeout, set.upload_pace), (Duration::from_secs(300), 0));
    assert_eq!(
        (set.underscores, &set.upgrade[..]),
        (Underscores::Refuse, &["websocket".to_owned(), "spdy/3.1".to_owned()][..])
    );
    let (request, response) = (&set.rules[0].request, &set.rules[0].response);
    assert_eq!((request.set[0].0.as_str(), request.remove[0].as_str()), ("x-env", "x-debug"));
    assert_eq!((response.remove[0].as_str(), response.set.len()), ("server", 0));

    let wrong = "upgrade = [\"h2c\", \"a b\"]\nupload_pace = 1000001\nclient_timeout = \"0s\"\n\
                 [[listener.rule]]\npath = \"/\"\nload_balancer = \"web\"\n\
                 request_headers = { set = { Host = \"a\", x = \"y\" }, remove = [\"te\", \"X\"] }\nresponse_headers = {}\n";
    let wrong: Vec<String> = mistakes(&format!("{HEAD}{}", listener(wrong)))
        .iter()
        .map(|m| m.splitn(3, ':').nth(2).unwrap_or_default().trim().to_owned())
        .collect();
    assert_eq!(
        wrong,
        [
            "`upgrade` cannot be \"h2c\": HTTP and TLS end at the edge; a protocol is such as \"websocket\" or \"tcp\"",
            "`upgrade` cannot be \"a b\": a protocol is NAME or NAME/VERSION, such as \"websocket\" or \"spdy/3.1\"",
            "`upload_pace` must be a whole number from 0 to 1000000, found the integer 1000001",
            "`client_timeout` must be from \"1s\" to \"1d\", found \"0s\"",
            "`x` is set and removed; to set it is to replace it",
            "`Host` belongs to the connection, and no rule changes it; a pool has `host`",
            "`remove` cannot be \"te\": it belongs to the connection, and no rule changes it",
            "`response_headers` has `set`, `remove` or both",
        ]
    );
}

#[test]
fn a_pools_host_is_what_probes_ask_for_unless_their_monitor_says_otherwise() {
    let host = |monitor: &str| {
        let text = format!(
            "monitor = [{{ name = \"m\", type = \"http\"{monitor} }}]\n\
             pool = [{{ name = \"p\", monitor = \"m\", host = \"www.internal:81\", origin = [{{ name = \"a\", address = \"a:1\" }}] }}]\n"
        );
        let pool = config(&text).catalog.pools[0].clone();
        let Some(Check::Http(check)) = pool.monitor.as_ref().map(|monitor| &monitor.check) else { panic!("HTTP") };
        (pool.host.clone().expect("a host"), check.host.clone().expect("a host"))
    };
    assert_eq!(host(""), ("www.internal:81".parse().expect("a value"), "www.internal:81".to_owned()));
    assert_eq!(host(", host = \"other\"").1, "other");
}

#[test]
fn rules_and_trusted_proxies_belong_to_http_listeners() {
    let head = format!(
        "{TWO_POOLS}load_balancer = [{{ name = \"www\", pools = [\"web\"] }}, {{ name = \"api\", pools = [\"api\"] }}]\n"
    );
    let listener = |protocol: &str| {
        format!(
            "{head}[[listener]]\nname = \"l\"\nprotocol = \"{protocol}\"\nlisten = \"1.2.3.4:80\"\nload_balancer = \"www\"\n"
        )
    };
    let good = "trusted_proxies = [\"192.0.2.0/24\", \"fd00::/8\"]\n[[listener.rule]]\nhost = \"*.API.example\"\npath = \"/v1/\"\nload_balancer = \"api\"\n";
    let config = config(&(listener("http") + good));
    let http = &config.catalog.listeners[0].http;
    assert_eq!(http.trusted_proxies.len(), 2);
    let rule = &http.rules[0];
    assert_eq!(
        (rule.host.as_deref(), rule.path.as_deref(), rule.load_balancer.as_str()),
        (Some("*.api.example"), Some("/v1/"), "api")
    );
    let wrong = "trusted_proxies = [\"1.2.3.4/8\"]\n[[listener.rule]]\nhost = \"a:80\"\npath = \"v1\"\nload_balancer = \"ap\"\n[[listener.rule]]\nload_balancer = \"api\"\n";
    assert_eq!(mistakes(&format!("{HEAD}{}{wrong}", listener("http"))).len(), 5);
    let misplaced = mistakes(&format!("{HEAD}{}{good}", listener("tcp")));
    assert_eq!(
        misplaced,
        [
            "11:1: `trusted_proxies` is for listeners with `protocol` \"http\" or \"https\"",
            "12:12: `rule` is for listeners with `protocol` \"http\" or \"https\"",
        ]
    );
}

#[test]
fn the_proxy_protocol_is_for_connections_and_towards_origins_not_for_http() {
    let text = |protocol: &str, pool: &str, listener: &str| {
        format!(
            "[[pool]]\nname = \"p\"\n{pool}\n[[pool.origin]]\nname = \"o\"\n\
             address = \"127.0.0.1:80\"\n[[load_balancer]]\nname = \"b\"\npools = [\"p\"]\n[[listener]]\nname = \"l\"\n\
             protocol = \"{protocol}\"\nlisten = \"127.0.0.1:81\"\nload_balancer = \"b\"\n{listener}\n"
        )
    };
    let networks = "proxy_protocol = [\"192.0.2.0/24\", \"fd00::/8\"]";
    let good = config(&text("tcp", "proxy_protocol = \"v2\"", networks));
    assert_eq!(good.catalog.listeners[0].proxies.len(), 2);
    assert!(good.catalog.pools[0].origins[0].proxy_protocol.is_some());
    assert_eq!(config(&text("http", "", networks)).catalog.listeners[0].proxies.len(), 2);
    let told = |text: &str, expected: &str| {
        let found = mistakes(&format!("{HEAD}{text}"));
        assert!(found.iter().any(|mistake| mistake.contains(expected)), "{expected:?} is not in {found:?}");
    };
    assert_eq!(config(&text("udp", "", networks)).catalog.listeners[0].proxies.len(), 2);
    told(
        &text("http", "proxy_protocol = \"v2\"", ""),
        "this listener cannot use pool \"p\", which has `proxy_protocol`",
    );
    assert_eq!(mistakes(&format!("{HEAD}{}", text("udp", "proxy_protocol = \"v2\"", ""))), Vec::<String>::new());
    told(&text("tcp", "proxy_protocol = \"spp\"", ""), "\"spp\" is for UDP alone; connections take \"v1\" or \"v2\"");
    told(&text("udp", "proxy_protocol = \"v1\"", ""), "\"v1\" is for connections alone; UDP takes \"v2\" or \"spp\"");
    for (protocol, version) in [("tcp", "v1"), ("udp", "spp")] {
        let pool = format!("proxy_protocol = \"{version}\"");
        assert_eq!(mistakes(&format!("{HEAD}{}", text(protocol, &pool, ""))), Vec::<String>::new());
    }
    told(&text("tcp", "proxy_protocol = \"v3\"", ""), "did you mean \"v1\"");
    told(&text("tcp", "", "proxy_protocol = [\"192.0.2.1/24\"]"), "192.0.2.0/24");
}

#[test]
fn no_two_listeners_take_one_address() {
    let with = |first: &str, second: &str| {
        let listener = |name: &str, listen: &str| {
            format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"tcp\"\nlisten = \"{listen}\"\nload_balancer = \"www\"\n"
            )
        };
        let balancer = "load_balancer = [{ name = \"www\", pools = [\"web\"] }]\n";
        let two = listener("one", first) + &listener("two", second);
        mistakes(&format!("{HEAD}{TWO_POOLS}{balancer}{two}"))
    };
    let overlaps = |second: &str, first: &str, why: &str| {
        vec![format!("14:10: `listen` {second} overlaps {first} of listener \"one\" of line 9{why}")]
    };
    for (first, second, expected) in [
        ("10.0.0.1:80", "10.0.0.2:80", vec![]),
        ("0.0.0.0:80", "0.0.0.0:81", vec![]),
        ("127.0.0.1:0", "127.0.0.1:0", vec![]),
        ("[::1]:80", "0.0.0.0:80", vec![]),
        ("0.0.0.0:7843", "127.0.0.1:81", vec![]),
        ("10.0.0.1:80", "10.0.0.1:80", overlaps("10.0.0.1:80", "10.0.0.1:80", "")),
        ("0.0.0.0:80", "10.0.0.1:80", overlaps("10.0.0.1:80", "0.0.0.0:80", "")),
        ("10.0.0.1:80", "0.0.0.0:80", overlaps("0.0.0.0:80", "10.0.0.1:80", "")),
        ("[::]:80", "[fd00::1]:80", overlaps("[fd00::1]:80", "[::]:80", "")),
        ("[::]:80", "10.0.0.1:80", overlaps("10.0.0.1:80", "[::]:80", "; [::] takes IPv4 too")),
        ("0.0.0.0:80", "[::]:80", overlaps("[::]:80", "0.0.0.0:80", "; [::] takes IPv4 too")),
        (
            "10.0.0.1:80",
            "[::ffff:10.0.0.1]:80",
            overlaps("[::ffff:10.0.0.1]:80", "10.0.0.1:80", "; [::] takes IPv4 too"),
        ),
        (
            "0.0.0.0:7842",
            "10.0.0.1:1",
            vec!["9:10: `listen` 0.0.0.0:7842 overlaps 127.0.0.1:7842 of the admin endpoint".to_owned()],
        ),
    ] {
        assert_eq!(with(first, second), expected, "{first} and {second}");
    }
}

#[test]
fn udp_listeners_have_addresses_of_their_own_and_share_those_of_the_tunnel_with_nobody() {
    let with = |protocols: [&str; 2], listen: &str| {
        let listener = |name: &str, protocol: &str| {
            format!(
                "[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nlisten = \"{listen}\"\nload_balancer = \"www\"\n"
            )
        };
        let balancer = "load_balancer = [{ name = \"www\", pools = [\"web\"] }]\n";
        let two = listener("one", protocols[0]) + &listener("two", protocols[1]);
        mistakes(&format!("{HEAD}{TWO_POOLS}{balancer}{two}"))
    };
    assert_eq!(with(["udp", "tcp"], "10.0.0.1:53"), Vec::<String>::new());
    let twice = "14:10: `listen` 10.0.0.1:53 overlaps 10.0.0.1:53 of listener \"one\" of line 9";
    assert_eq!(with(["udp", "udp"], "10.0.0.1:53"), [twice]);
    let tunnel = "9:10: `listen` 0.0.0.0:7843 overlaps 127.0.0.1:7843 of the tunnel";
    assert_eq!(with(["udp", "tcp"], "0.0.0.0:7843"), [tunnel]);
    assert_eq!(with(["udp", "tcp"], "127.0.0.1:7844"), Vec::<String>::new());
    let admin = "14:10: `listen` 127.0.0.1:7842 overlaps 127.0.0.1:7842 of the admin endpoint";
    assert_eq!(with(["udp", "tcp"], "127.0.0.1:7842"), [admin]);
    assert_eq!(with(["udp", "udp"], "0.0.0.0:0"), Vec::<String>::new(), "the system chooses");
}

#[test]
fn mistakes_of_udp_monitors() {
    check_all(&[(
        "[[monitor]]\nname = \"m\"\ntype = \"udp\"\nexpect = \"0x1\"\npath = \"/\"",
        &[
            "4:1: `send` is missing in `monitor`: what is sent, as text or as \"0x…\"",
            "7:10: `expect` cannot be \"0x1\": after \"0x\" come pairs of hexadecimal digits",
            "8:1: `path` is for monitors of type \"http\" or \"https\"",
        ],
    )]);
}

#[test]
fn a_tcp_monitor_may_say_something_and_expect_an_answer() {
    let text = "monitor = [{ name = \"a\", type = \"tcp\" }, { name = \"b\", type = \"tcp\", expect = \"220 \" }, \
                { name = \"c\", type = \"tcp\", send = \"PING\\r\\n\", expect = \"0x2b50\" }]\n\
                load_balancer = [{ name = \"lb\", pools = [\"web\"] }]\n";
    let catalog = config(&format!("{text}{TWO_POOLS}")).catalog;
    let checks: Vec<&Check> = catalog.monitors.iter().map(|monitor| &monitor.check).collect();
    let answer = |send: &[u8], expect: &[u8]| Check::TcpAnswer(TcpCheck { send: send.into(), expect: expect.into() });
    assert_eq!(checks, [&Check::Tcp, &answer(b"", b"220 "), &answer(b"PING\r\n", b"+P")]);
}

#[test]
fn mistakes_of_what_a_tcp_monitor_says() {
    check_all(&[
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\nsend = \"PING\"",
            &["7:8: `send` needs `expect` with monitors of type \"tcp\": what is answered is to be judged"],
        ),
        (
            "[[monitor]]\nname = \"m\"\ntype = \"tcp\"\nexpect = \"\"",
            &["7:10: `expect` must not be empty; leave it out if a connection is enough"],
        ),
    ]);
}

#[test]
fn udp_objects_have_their_documented_defaults() {
    let text = "monitor = [{ name = \"u\", type = \"udp\", send = \"0x00fF\" }, \
                { name = \"t\", type = \"udp\", send = \"ping\", expect = \"pong\" }]\n\
                load_balancer = [{ name = \"lb\", pools = [\"web\"] }]\n\
                listener = [{ name = \"l\", protocol = \"udp\", listen = \"[::]:0\", load_balancer = \"lb\" }]\n";
    let catalog = config(&format!("{text}{TWO_POOLS}")).catalog;
    assert_eq!(catalog.monitors[0].check, Check::Udp(UdpCheck { send: vec![0, 255], expect: Vec::new() }));
    assert_eq!(catalog.monitors[1].check, Check::Udp(UdpCheck { send: b"ping".to_vec(), expect: b"pong".to_vec() }));
    let listener = &catalog.listeners[0];
    assert_eq!((listener.protocol, listener.idle_timeout), (ListenProtocol::Udp, Some(Duration::from_secs(60))));
}

/// Leaves out, doubles or replaces a few pieces of a text.
fn mutated(text: &str, changes: &[(prop::sample::Index, usize, u8)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, what) in changes {
        let at = at.index(chars.len() + 1);
        let end = (at + length).min(chars.len());
        match what % 3 {
            0 => drop(chars.drain(at..end)),
            1 => {
                let twice = chars[at..end].to_vec();
                chars.splice(at..at, twice);
            }
            _ => drop(chars.splice(at..end, [char::from(what % 95 + 32)])),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn no_change_of_an_example_panics(
        example in 0..EXAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, any::<u8>()), 1..8),
    ) {
        let text = mutated(EXAMPLES[example], &changes);
        if let Err(wrong) = parse(&text, file()) {
            let sorted = wrong.list.is_sorted();
            prop_assert!(sorted && !wrong.list.is_empty());
        }
    }

    #[test]
    fn a_line_left_out_never_panics(example in 0..EXAMPLES.len(), left_out in prop::collection::vec(any::<prop::sample::Index>(), 1..6)) {
        let mut lines: Vec<&str> = EXAMPLES[example].lines().collect();
        for index in left_out {
            lines.remove(index.index(lines.len()));
        }
        let _ = parse(&lines.join("\n"), file());
    }

    #[test]
    fn grants_cover_exactly_their_networks(host in 0_u32..1 << 24, prefix in 8_u8..=32, bit in 0_u32..24) {
        let host = 10 << 24 | host;
        let network = IpNetwork::new(std::net::Ipv4Addr::from(host).into(), prefix).expect("the prefix fits").network();
        let origin = std::net::Ipv4Addr::from(host ^ 1 << bit);
        let text = format!(
            "{HEAD}connector = [{{ name = \"c\", routes = [{{ vnet = \"v\", cidr = \"{network}/{prefix}\" }}] }}]\n\
             pool = [{{ name = \"p\", origin = [{{ name = \"o\", vnet = \"v\", address = \"{origin}:1\" }}] }}]"
        );
        let inside = IpNetwork::new(network, prefix).expect("the prefix fits").contains(origin.into());
        prop_assert_eq!(mistakes(&text).is_empty(), inside);
    }
}

#[test]
fn mistakes_of_tls_to_origins() {
    let origin = "[[pool.origin]]\nname = \"a\"\naddress = \"a:1\"";
    check_all(&[
        (
            &format!("[[pool]]\nname = \"p\"\ntls = {{ verify = false }}\n{origin}"),
            &["6:1: `tls` is for pools with `upstream` \"https\""],
        ),
        (
            &format!(
                "[[pool]]\nname = \"p\"\nupstream = \"https\"\n\
                 tls = {{ ca = \"\", verify = 1, server_name = \"a b\", key = 1 }}\n{origin}"
            ),
            &[
                "7:14: `ca` must not be empty",
                "7:27: `verify` must be true or false, found the integer 1",
                "7:44: `server_name` cannot be \"a b\": a server's name is a DNS name or an IP address, without port",
                "7:51: unknown key `key` in `pool.tls`; known: `ca`, `server_name`, `verify`",
            ],
        ),
        (
            &format!("[[pool]]\nname = \"p\"\nupstream = \"https\"\ntls = {{ ca = \"a\", verify = false }}\n{origin}"),
            &["7:14: `ca` has no use beside `verify = false`, which believes anybody"],
        ),
        (
            "[[pool]]\nname = \"p\"\nupstream = \"https\"\n[[pool.origin]]\nname = \"a\"\naddress = \"a..b:1\"",
            &["4:1: `a..b`, the host of origin \"a\", is no name for TLS: give `server_name`"],
        ),
        (
            &format!(
                "monitor = [{{ name = \"m\", type = \"http\", verify = false }}]\n\
                 [[pool]]\nname = \"p\"\nmonitor = \"m\"\nupstream = \"https\"\n{origin}"
            ),
            &[
                "4:41: `verify` is for monitors of type \"https\"",
                "5:1: monitor \"m\" speaks no TLS, and this pool's origins do: give it the type \"https\"",
            ],
        ),
    ]);
}

#[test]
fn a_monitor_speaks_what_the_pool_speaks_and_knows_better_only_where_it_says_so() {
    let monitor = |lines: &str| format!("[[monitor]]\nname = \"m\"\n{lines}\n");
    let speaks = |lines: &str, pool: &str| {
        let origin = "[[pool.origin]]\nname = \"a\"\naddress = \"a:1\"";
        let config = config(&format!("{}[[pool]]\nname = \"p\"\nmonitor = \"m\"\n{pool}\n{origin}", monitor(lines)));
        let monitor = config.catalog.pools[0].monitor.clone().expect("it has one");
        let Check::Http(check) = &monitor.check else { panic!("it speaks HTTP") };
        check.speaks.clone()
    };
    let tls = |trust, name: Option<&str>| {
        let server_name = name.map(|name| name.to_owned().try_into().expect("a name"));
        Upstream::Https(OriginTls { trust, server_name }.into())
    };
    let pool = "upstream = \"https\"\ntls = { ca = \"ca.pem\", server_name = \"p.test\" }";
    let ca = || Trust::Ca(PathBuf::from("/etc/underpass/ca.pem"));
    assert_eq!(speaks("type = \"http\"", "upstream = \"h2c\""), Upstream::H2c);
    assert_eq!(speaks("type = \"http\"", ""), Upstream::Http1);
    assert_eq!(speaks("type = \"https\"", ""), tls(Trust::System, None));
    assert_eq!(speaks("type = \"https\"", pool), tls(ca(), Some("p.test")));
    assert_eq!(speaks("type = \"https\"\nserver_name = \"m.test\"", pool), tls(ca(), Some("m.test")));
    assert_eq!(speaks("type = \"https\"\nverify = false", pool), tls(Trust::Anybody, Some("p.test")));
    let anybody = "upstream = \"https\"\ntls = { verify = false }";
    assert_eq!(speaks("type = \"https\"\nverify = true", anybody), tls(Trust::System, None));
}
