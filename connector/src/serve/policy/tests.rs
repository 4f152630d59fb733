use proptest::{collection::vec, prelude::*};

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn cidr(text: &str) -> IpNetwork {
    text.parse().expect("a CIDR")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// `VNET=CIDR` routes, `VNET=FROM>TO` maps, entries of `[allow]`.
fn rules(routes: &[&str], maps: &[&str], allow: Option<&[&str]>) -> Rules {
    let pair = |text: &&str| {
        let (vnet, rest) = text.split_once('=').expect("VNET=…");
        (name(vnet), rest.to_owned())
    };
    let map = |(vnet, rest): (Name, String)| {
        let (from, to) = rest.split_once('>').expect("FROM>TO");
        Map { vnet, from: cidr(from), to: cidr(to) }
    };
    Rules {
        routes: routes.iter().map(pair).map(|(vnet, rest)| (vnet, cidr(&rest))).collect(),
        maps: maps.iter().map(pair).map(map).collect(),
        allow: allow.map(|entries| entries.iter().map(|e| e.parse().expect("an entry")).collect()),
    }
}

#[test]
fn a_permit_holds_while_what_was_asked_leads_to_the_same_place_and_may() {
    let permit = |target: &str, dialled: &str| {
        Permit::of(&name("v"), &target.parse().expect("a target"), vec![dialled.parse().expect("an address")])
    };
    let holds = |permit: &Permit, rules| permit.holds(&policy_at(&[], rules));
    let by_address = permit("10.0.0.5:80", "192.168.0.5:80");
    let (route, map) = (["v=10.0.0.0/24"], ["v=10.0.0.0/24>192.168.0.0/24"]);
    assert!(holds(&by_address, rules(&route, &map, None)));
    assert!(holds(&by_address, rules(&["v=10.0.0.0/16"], &map, Some(&["192.168.0.5/32:80"]))));
    assert!(!holds(&by_address, rules(&["v=10.9.0.0/24"], &[], None)), "its route is withdrawn");
    assert!(!holds(&by_address, rules(&route, &map, Some(&["192.168.0.5/32:81"]))), "it is not on the list");
    assert!(!holds(&by_address, rules(&route, &[], None)), "it leads elsewhere now");
    let by_name = permit("db.internal:80", "192.168.0.5:80");
    assert!(holds(&by_name, rules(&route, &map, None)));
    assert!(!holds(&by_name, rules(&route, &[], None)), "nothing leads there");
}

fn policy_at(listening: &[&str], rules: Rules) -> Policy {
    let listening = listening.iter().map(|a| a.parse().expect("an address and port")).collect();
    // In these tests, 10.0.0.99 and fd00::99 are addresses of the host.
    let is_local = |ip: IpAddr| ip.is_loopback() || ip.to_string().ends_with("99");
    Policy::new(rules, Host { listening, is_local })
}

fn policy(routes: &[&str], maps: &[&str], allow: Option<&[&str]>) -> Policy {
    policy_at(&[], rules(routes, maps, allow))
}

/// What becomes of an asked address: where it leads, or why not, in one word.
fn asked(policy: &Policy, vnet: &str, address: &str, port: u16) -> String {
    word(policy.permit_address(&name(vnet), ip(address), port))
}

fn resolved(policy: &Policy, vnet: &str, address: &str, port: u16) -> String {
    word(policy.permit_resolved(&name(vnet), ip(address), port))
}

fn word(judged: Result<SocketAddr, Denied>) -> String {
    match judged {
        Ok(address) => address.to_string(),
        Err(Denied::OutsideRoutes(..)) => "outside".to_owned(),
        Err(Denied::NotAllowed(_)) => "not allowed".to_owned(),
        Err(Denied::Special(_, what)) => what.to_owned(),
        Err(Denied::Own(_)) => "own".to_owned(),
    }
}

fn check(policy: &Policy, table: &[(&str, u16, &str)]) {
    for (address, port, want) in table {
        assert_eq!(asked(policy, "prod", address, *port), *want, "{address} port {port}");
    }
}

#[test]
fn an_address_is_permitted_inside_the_routes_of_its_vnet_only() {
    let policy = policy(&["prod=10.0.0.0/16", "prod=fd00:a::/32", "lab=192.168.0.0/24"], &[], None);
    check(
        &policy,
        &[
            ("10.0.0.0", 80, "10.0.0.0:80"),
            ("10.0.255.255", 65_535, "10.0.255.255:65535"),
            ("10.1.0.0", 80, "outside"),
            ("9.255.255.255", 80, "outside"),
            ("fd00:a::1", 443, "[fd00:a::1]:443"),
            ("fd00:b::1", 443, "outside"),
            ("192.168.0.1", 80, "outside"),
        ],
    );
    assert_eq!(asked(&policy, "lab", "192.168.0.1", 80), "192.168.0.1:80");
    assert_eq!(asked(&policy, "lab", "10.0.0.1", 80), "outside", "VNets are separate");
    assert_eq!(asked(&policy, "other", "10.0.0.1", 80), "outside");
    assert_eq!(resolved(&policy, "prod", "10.0.3.4", 80), "10.0.3.4:80");
    assert_eq!(resolved(&policy, "prod", "192.168.0.1", 80), "outside", "a name leads nowhere else");
}

#[test]
fn nothing_is_permitted_without_routes() {
    let policy = policy(&[], &[], Some(&["0.0.0.0/0:*", "[::/0]:*"]));
    check(&policy, &[("10.0.0.1", 80, "outside"), ("fd00::1", 80, "outside"), ("127.0.0.1", 80, "outside")]);
}

#[test]
fn a_map_translates_one_to_one() {
    let maps = ["prod=10.7.0.0/24>192.168.9.0/24", "prod=fd07::/112>fd09::5:0/112", "lab=10.7.0.0/24>172.16.3.0/24"];
    let policy = policy(&["prod=10.7.0.0/16", "prod=fd07::/16", "lab=10.7.0.0/24"], &maps, None);
    check(
        &policy,
        &[
            ("10.7.0.0", 80, "192.168.9.0:80"),
            ("10.7.0.5", 80, "192.168.9.5:80"),
            ("10.7.0.255", 80, "192.168.9.255:80"),
            ("10.7.1.5", 80, "10.7.1.5:80"),
            ("fd07::1234", 80, "[fd09::5:1234]:80"),
            ("fd07::1:1234", 80, "[fd07::1:1234]:80"),
            // What a map leads to is not itself asked for.
            ("192.168.9.5", 80, "outside"),
            ("fd09::5:1", 80, "outside"),
        ],
    );
    assert_eq!(asked(&policy, "lab", "10.7.0.5", 80), "172.16.3.5:80", "each VNet has its own translation");
}

#[test]
fn a_resolved_name_is_not_mapped_and_must_be_where_some_routed_address_leads() {
    let policy = policy(&["prod=10.7.0.0/16", "lab=10.8.0.0/16"], &["prod=10.7.0.0/24>192.168.9.0/24"], None);
    for (address, want) in [
        ("192.168.9.5", "192.168.9.5:80"),
        ("10.7.1.5", "10.7.1.5:80"),
        // Nothing asked for leads to what really lies there.
        ("10.7.0.5", "outside"),
        ("192.168.8.5", "outside"),
    ] {
        assert_eq!(resolved(&policy, "prod", address, 80), want, "{address}");
    }
    assert_eq!(resolved(&policy, "lab", "192.168.9.5", 80), "outside", "maps belong to their VNet");
}

#[test]
fn a_map_of_what_is_not_routed_opens_nothing() {
    let policy = policy(&["prod=10.7.0.0/24"], &["prod=10.9.0.0/24>192.168.9.0/24"], None);
    assert_eq!(asked(&policy, "prod", "10.9.0.5", 80), "outside");
    assert_eq!(resolved(&policy, "prod", "192.168.9.5", 80), "outside");
}

#[test]
fn the_allow_list_judges_the_address_really_dialled() {
    let allow = ["10.0.1.0/24:80", "10.0.2.0/24:8000-8100", "192.168.9.7/32:*", "[fd00::/64]:443"];
    let routes = ["prod=10.0.0.0/16", "prod=10.7.0.0/24", "prod=fd00::/16"];
    let policy = policy(&routes, &["prod=10.7.0.0/24>192.168.9.0/24"], Some(&allow));
    check(
        &policy,
        &[
            ("10.0.1.5", 80, "10.0.1.5:80"),
            ("10.0.1.5", 81, "not allowed"),
            ("10.0.2.5", 7999, "not allowed"),
            ("10.0.2.5", 8000, "10.0.2.5:8000"),
            ("10.0.2.5", 8100, "10.0.2.5:8100"),
            ("10.0.2.5", 8101, "not allowed"),
            ("10.0.3.5", 80, "not allowed"),
            ("10.7.0.7", 22, "192.168.9.7:22"),
            ("10.7.0.8", 22, "not allowed"),
            ("fd00::1", 443, "[fd00::1]:443"),
            ("fd00:0:0:1::1", 443, "not allowed"),
            // Listed, but not routed.
            ("192.168.9.7", 22, "outside"),
        ],
    );
    assert_eq!(resolved(&policy, "prod", "192.168.9.8", 22), "not allowed");
    let nothing = policy_at(&[], rules(&["prod=10.0.0.0/8"], &[], Some(&[])));
    assert_eq!(asked(&nothing, "prod", "10.0.0.1", 80), "not allowed", "an empty list allows nothing");
}

/// Special addresses, and their kind.
const SPECIAL_ADDRESSES: &[(&str, &str)] = &[
    ("0.0.0.0", "this-network"),
    ("0.1.2.3", "this-network"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("169.254.1.1", "link-local"),
    ("169.254.169.254", "link-local"),
    ("100.100.100.200", "metadata"),
    ("192.0.0.192", "metadata"),
    ("168.63.129.16", "metadata"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("fe80::1", "link-local"),
    ("febf::1", "link-local"),
    ("fd00:ec2::254", "metadata"),
    ("fd20:ce::254", "metadata"),
    ("fd00:42::42", "metadata"),
    ("ff02::1", "multicast"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:169.254.1.1", "link-local"),
    ("::127.0.0.1", "loopback"),
    ("::ffff:0:127.0.0.1", "loopback"),
    ("64:ff9b::7f00:1", "loopback"),
    ("64:ff9b::a9fe:101", "link-local"),
    ("64:ff9b:1::7f00:1", "loopback"),
    ("64:ff9b:1:7f00:0:100::", "loopback"),
    ("64:ff9b:1:7f:0:1::", "loopback"),
    ("64:ff9b:1:0:7f:0:100:0", "loopback"),
    ("2002:7f00:1::", "loopback"),
    ("2002:a9fe:101::5", "link-local"),
    ("2001:0:1:2:3:4:80ff:fffe", "loopback"),
    ("fd00::5efe:7f00:1", "loopback"),
    ("fd00::200:5efe:7f00:1", "loopback"),
];

const EVERYTHING: [&str; 2] = ["prod=0.0.0.0/0", "prod=::/0"];

#[test]
fn special_addresses_are_refused_although_routed_and_allowed() {
    let by_default = policy(&EVERYTHING, &[], None);
    let widely = policy(&EVERYTHING, &[], Some(&["0.0.0.0/0:*", "[::/0]:*"]));
    for (address, want) in SPECIAL_ADDRESSES {
        for policy in [&by_default, &widely] {
            assert_eq!(asked(policy, "prod", address, 80), *want, "{address}");
            assert_eq!(resolved(policy, "prod", address, 80), *want, "a name that leads to {address}");
        }
    }
    for fine in [
        "10.0.0.1",
        "8.8.8.8",
        "100.64.0.1",
        "168.63.129.17",
        "fd00::1",
        "2001:db8::1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::1",
        "fd00::5efe:a00:1",
        "::ffff:10.0.0.1",
    ] {
        let judged = by_default.permit_address(&name("prod"), ip(fine), 80);
        assert!(judged.is_ok(), "{fine}: {judged:?}");
    }
}

#[test]
fn a_map_onto_a_special_range_needs_an_entry_inside_it() {
    let lab = |allow| policy(&["prod=10.7.0.0/24"], &["prod=10.7.0.0/24>127.77.0.0/24"], allow);
    assert_eq!(asked(&lab(None), "prod", "10.7.0.5", 80), "loopback");
    assert_eq!(asked(&lab(Some(&["0.0.0.0/0:*"])), "prod", "10.7.0.5", 80), "loopback");
    assert_eq!(asked(&lab(Some(&["127.77.0.0/24:*"])), "prod", "10.7.0.5", 80), "127.77.0.5:80");
    assert_eq!(asked(&lab(Some(&["127.77.0.0/25:*"])), "prod", "10.7.0.200", 80), "not allowed");
}

#[test]
fn an_entry_inside_the_very_range_permits() {
    for (entries, address, port, want) in [
        (&["127.0.0.0/8:*"][..], "127.0.0.1", 80, "127.0.0.1:80"),
        (&["127.0.0.1/32:80"], "127.0.0.1", 80, "127.0.0.1:80"),
        (&["127.0.0.1/32:80"], "127.0.0.1", 81, "not allowed"),
        (&["0.0.0.0/0:*", "127.0.0.1/32:80"], "127.0.0.1", 81, "loopback"),
        (&["126.0.0.0/7:*"], "127.0.0.1", 80, "loopback"),
        (&["[::1/128]:*"], "::1", 80, "[::1]:80"),
        (&["[::/0]:*"], "::1", 80, "loopback"),
        (&["169.254.0.0/16:*"], "169.254.1.1", 80, "169.254.1.1:80"),
        (&["169.254.0.0/16:*"], "169.254.169.254", 80, "metadata"),
        (&["169.254.169.254/32:80"], "169.254.169.254", 80, "169.254.169.254:80"),
        (&["169.254.169.254/32:80"], "169.254.169.254", 81, "not allowed"),
        (&["169.254.0.0/16:*", "169.254.169.254/32:80"], "169.254.169.254", 81, "metadata"),
        (&["224.0.0.0/4:*"], "224.0.0.251", 80, "224.0.0.251:80"),
        (&["[fe80::/10]:*"], "fe80::1", 80, "[fe80::1]:80"),
        // Another form of an address needs both: itself on the list, and what it leads to named inside its range.
        (&["[64:ff9b::/96]:*"], "64:ff9b::7f00:1", 80, "loopback"),
        (&["127.0.0.0/8:*"], "64:ff9b::7f00:1", 80, "not allowed"),
        (&["[64:ff9b::/96]:*", "127.0.0.0/8:*"], "64:ff9b::7f00:1", 80, "[64:ff9b::7f00:1]:80"),
        (&["127.0.0.0/8:*"], "::ffff:127.0.0.1", 80, "127.0.0.1:80"),
    ] {
        assert_eq!(asked(&policy(&EVERYTHING, &[], Some(entries)), "prod", address, port), want, "{entries:?}");
    }
}

#[test]
fn a_mapped_address_is_judged_as_the_ipv4_address_it_is() {
    // An IPv6 route alone must not open all of IPv4.
    let v6_only = policy(&["prod=::/0"], &[], None);
    assert_eq!(asked(&v6_only, "prod", "::ffff:10.0.0.1", 80), "outside");
    assert_eq!(resolved(&v6_only, "prod", "::ffff:10.0.0.1", 80), "outside");
    let v4_only = policy(&["prod=10.0.0.0/8"], &[], Some(&["10.0.0.0/8:80"]));
    assert_eq!(asked(&v4_only, "prod", "::ffff:10.0.0.1", 80), "10.0.0.1:80");
    assert_eq!(asked(&v4_only, "prod", "::ffff:10.0.0.1", 81), "not allowed");
    // Nor may a map make one.
    let mapped = policy(&["prod=fd00::/96"], &["prod=fd00::/96>::ffff:0:0/96"], Some(&["[::/0]:*"]));
    assert_eq!(asked(&mapped, "prod", "fd00::a00:1", 80), "not allowed");
    assert_eq!(asked(&mapped, "prod", "fd00::7f00:1", 80), "not allowed");
}

#[test]
fn own_listening_addresses_are_refused_unless_named_with_their_port() {
    let everything = |allow: &[&str]| rules(&EVERYTHING, &[], Some(allow));
    let wide = ["0.0.0.0/0:*", "127.0.0.0/8:*", "[::1/128]:*", "[::/0]:*", "0.0.0.0/8:*", "[::/128]:*"];
    let exact = policy_at(&["127.0.0.1:7841", "10.0.0.5:7841", "[::1]:7841"], everything(&wide));
    check(
        &exact,
        &[
            ("127.0.0.1", 7841, "own"),
            ("10.0.0.5", 7841, "own"),
            ("::1", 7841, "own"),
            ("::ffff:127.0.0.1", 7841, "own"),
            ("64:ff9b::7f00:1", 7841, "own"),
            ("2002:a00:5::1", 7841, "own"),
            // Unspecified addresses lead to the host itself.
            ("0.0.0.0", 7841, "own"),
            ("::", 7841, "own"),
            ("0.0.0.0", 80, "0.0.0.0:80"),
            ("127.0.0.1", 7842, "127.0.0.1:7842"),
            ("127.0.0.2", 7841, "127.0.0.2:7841"),
            ("10.0.0.6", 7841, "10.0.0.6:7841"),
        ],
    );
    for wildcard in ["0.0.0.0:7841", "[::]:7841"] {
        let policy = policy_at(&[wildcard], everything(&wide));
        check(
            &policy,
            &[
                ("127.0.0.1", 7841, "own"),
                ("127.9.9.9", 7841, "own"),
                ("10.0.0.99", 7841, "own"),
                ("fd00::99", 7841, "own"),
                ("10.0.0.98", 7841, "10.0.0.98:7841"),
                ("10.0.0.99", 7842, "10.0.0.99:7842"),
            ],
        );
    }
    for (entry, want) in [
        ("127.0.0.1/32:7841", "127.0.0.1:7841"),
        ("127.0.0.1/32:7000-8000", "127.0.0.1:7841"),
        ("127.0.0.1/32:*", "own"),
        ("127.0.0.0/31:7841", "own"),
    ] {
        let policy = policy_at(&["127.0.0.1:7841"], everything(&[entry]));
        assert_eq!(asked(&policy, "prod", "127.0.0.1", 7841), want, "{entry}");
    }
}

#[test]
fn refusals_say_what_would_be_right() {
    let policy = policy(&["prod=10.0.0.0/8", "prod=127.0.0.0/8"], &[], Some(&["126.0.0.0/7:*"]));
    let text = |address| policy.permit_address(&name("prod"), ip(address), 80).expect_err("refused").to_string();
    assert_eq!(text("11.0.0.1"), "11.0.0.1 is outside this connector's routes of VNet prod");
    assert_eq!(text("10.0.0.1"), "10.0.0.1:80 is not on this connector's allow list");
    assert!(text("127.0.0.1").contains("refused unless an allow entry inside that range names it"));
}

fn networks() -> impl Strategy<Value = IpNetwork> {
    let any = prop_oneof![
        (any::<Ipv4Addr>(), 0u8..=32).prop_map(|(ip, prefix)| IpNetwork::new(ip.into(), prefix)),
        (any::<Ipv6Addr>(), 0u8..=128).prop_map(|(ip, prefix)| IpNetwork::new(ip.into(), prefix)),
    ];
    any.prop_map(|network| {
        let network = network.expect("prefixes of the family");
        IpNetwork::new(network.network(), network.prefix()).expect("the same prefix")
    })
}

/// Addresses near the networks, so that many are inside.
fn near(networks: &[IpNetwork], noise: u128) -> Vec<IpAddr> {
    let near = |network: &IpNetwork| match network {
        IpNetwork::V4(n) => {
            let host = u32::try_from(noise & u128::from(u32::MAX)).expect("masked");
            IpAddr::V4(Ipv4Addr::from_bits(n.network().to_bits() | (host & !n.mask().to_bits())))
        }
        IpNetwork::V6(n) => IpAddr::V6(Ipv6Addr::from_bits(n.network().to_bits() | (noise & !n.mask().to_bits()))),
    };
    networks.iter().map(near).collect()
}

fn entries() -> impl Strategy<Value = Option<Vec<AllowEntry>>> {
    let ports = prop_oneof![
        Just(Ports::Any),
        (1u16..100, 1u16..100).prop_map(|(a, b)| Ports::Range { first: a.min(b), last: a.max(b) }),
    ];
    prop::option::of(vec((networks(), ports).prop_map(|(cidr, ports)| AllowEntry { cidr, ports }), 0..4))
}

proptest! {
    #[test]
    fn nothing_outside_the_routes_or_the_allow_list_is_ever_permitted(
        routes in vec(networks(), 0..4), others in vec(networks(), 1..4), allow in entries(), noise: u128, port in 1u16..100,
    ) {
        let own = routes.iter().map(|cidr| (name("prod"), *cidr));
        let foreign = others.iter().map(|cidr| (name("lab"), *cidr));
        let rules = Rules { routes: own.chain(foreign).collect(), maps: vec![], allow: allow.clone() };
        let policy = policy_at(&[], rules);
        let addresses = near(&routes, noise).into_iter().chain(near(&others, noise));
        for asked in addresses {
            let routed = routes.iter().any(|cidr| cidr.contains(asked.to_canonical()));
            for judged in [
                policy.permit_address(&name("prod"), asked, port), policy.permit_resolved(&name("prod"), asked, port),
            ] {
                let Ok(dialled) = judged else { continue };
                prop_assert!(routed, "{} is in no route of {:?}", asked, routes);
                prop_assert_eq!(dialled, SocketAddr::new(asked.to_canonical(), port));
                if let Some(entries) = &allow {
                    prop_assert!(entries.iter().any(|e| e.contains(dialled.ip(), port)));
                }
                for (range, _) in SPECIAL {
                    let range = cidr(range);
                    let inside = |e: &&AllowEntry| range.contains(e.cidr.network()) && e.cidr.prefix() >= range.prefix();
                    let named = allow.iter().flatten().filter(inside).any(|e| e.contains(dialled.ip(), port));
                    prop_assert!(!range.contains(dialled.ip()) || named, "{} in {}", dialled, range);
                }
            }
        }
    }

    #[test]
    fn a_map_is_one_to_one_and_stays_inside_its_network(
        (prefix, from, to) in (0u8..=32, any::<Ipv4Addr>(), any::<Ipv4Addr>()), a: u32, b: u32,
    ) {
        let network = |ip: Ipv4Addr| {
            let network = IpNetwork::new(ip.into(), prefix).expect("a prefix").network();
            IpNetwork::new(network, prefix).expect("the same prefix")
        };
        let (from, to) = (network(from), network(to));
        let [a, b] = [a, b].map(|noise| near(&[from], noise.into())[0]);
        let [to_a, to_b] = [a, b].map(|ip| shift(ip, from, to));
        prop_assert!(to.contains(to_a) && to.contains(to_b));
        prop_assert_eq!(a == b, to_a == to_b);
        prop_assert_eq!(shift(to_a, to, from), a, "and back again");
    }
}

#[test]
fn an_echo_has_no_port_and_is_permitted_where_any_port_is() {
    let listed = policy(&["prod=10.0.0.0/16"], &[], Some(&["10.0.1.0/24:80", "10.0.2.7/32:*"]));
    let echo = |policy: &Policy, address: &str| asked(policy, "prod", address, crate::config::NO_PORT);
    assert_eq!(echo(&listed, "10.0.1.9"), "10.0.1.9:0");
    assert_eq!(echo(&listed, "10.0.2.7"), "10.0.2.7:0");
    assert_eq!(echo(&listed, "10.0.2.8"), "not allowed");
    assert_eq!(echo(&listed, "10.1.0.1"), "outside");
    let special = policy(&["prod=0.0.0.0/0"], &[], None);
    assert_eq!(echo(&special, "127.0.0.1"), "loopback");
    assert_eq!(echo(&special, "169.254.169.254"), "link-local");
}
