//! What a file says, an object says in JSON: it is checked alike, and means the same.

use proptest::prelude::*;

use super::*;

/// A message without the places that it points back to.
fn without_places(message: &str) -> &str {
    let first = [" of line ", " in line ", " of /", " in /"].iter().filter_map(|words| message.find(words)).min();
    first.map_or(message, |at| &message[..at])
}

/// What a spec comes to, and what is wrong with it wherever that is.
fn checked(spec: &Spec) -> Result<Catalog, Vec<String>> {
    let told = |wrong: Mistakes| {
        let mut told: Vec<_> = wrong.list.iter().map(|m| without_places(&m.message).to_owned()).collect();
        told.sort();
        told
    };
    check(spec, file()).map(|config| config.catalog).map_err(told)
}

/// A text of TOML against the same as JSON, and that as TOML again.
pub(super) fn assert_read_alike(text: &str) {
    let spec = Spec::of_toml(text, file());
    if Spec::of_toml(&spec.to_toml(), file()) != spec {
        // It is torn, or says what no setting takes.
        assert!(checked(&spec).is_err(), "{text}");
        return;
    }
    let json = Spec::of_json(&spec.to_json(), "api");
    assert_eq!(json, spec, "{text}");
    let (whole, again) = (checked(&spec), Spec::of_toml(&json.to_toml(), file()));
    if whole.as_ref().is_err_and(|told| told.iter().any(|message| message.starts_with("not TOML"))) {
        return;
    }
    assert_eq!(checked(&json), whole, "{text}");
    assert_eq!(checked(&again), whole, "{text}");
}

#[test]
fn the_examples_mean_the_same_as_json() {
    for example in EXAMPLES {
        assert_read_alike(example);
        let spec = Spec::of_toml(example, file());
        assert!(checked(&Spec::of_json(&spec.to_json(), "api")).is_ok_and(|catalog| *catalog.spec == spec));
    }
}

/// Everything but the settings of the edge itself as objects, one behind the other.
#[test]
fn an_example_in_objects_means_the_same() {
    let whole = Spec::of_toml(EXAMPLES[0], file());
    let json: serde_json::Value = serde_json::from_str(&whole.to_json()).expect("JSON");
    let mut parts = Spec::of_toml(EXAMPLES[0].split("# --- Grants").next().expect("a beginning"), file());
    for kind in ["connector", "monitor", "pool", "load_balancer", "listener"] {
        for object in json[kind].as_array().expect("objects of this kind") {
            parts = parts.and(Spec::of_one(kind, &object.to_string(), &format!("{kind} {}", object["name"])));
        }
    }
    assert_eq!(checked(&parts), checked(&whole));

    let twice = parts.and(Spec::of_one("pool", "{\"name\": \"web\", \"steering\": \"best\"}", "pool web"));
    let told = check(&twice, file()).expect_err("the name is taken").to_string();
    for expected in [
        "pool web#/name: `name` \"web\" is taken by the pool of pool \"web\"#/name",
        "pool web#/steering: `steering` cannot be \"best\"; known: \"random\"",
        "pool web#: `origin` is missing in `pool`",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

prop_compose! {
    fn origin(number: usize)(weight in prop_oneof![Just(1.0), 0.001..1_000.0], port in 1_u16.., named: bool) -> String {
        let host = if named { format!("o{number}.internal") } else { format!("10.0.0.{}", number + 1) };
        format!("{{ name = \"o{number}\", address = \"{host}:{port}\", weight = {weight:?} }}")
    }
}

prop_compose! {
    fn pool(number: usize)(
        origins in (1_usize..5).prop_flat_map(|count| (0..count).map(origin).collect::<Vec<_>>()),
        steering in prop::sample::select(&["random", "round_robin", "hash", "least_connections"][..]),
        timeout in 10_u64..3_000,
    ) -> String {
        format!("[[pool]]\nname = \"p{number}\"\nmonitor = \"m\"\nsteering = \"{steering}\"\nconnect_timeout = \"{timeout}ms\"\n\
                 origin = [{}]\n", origins.join(", "))
    }
}

prop_compose! {
    fn whole()(
        pools in (1_usize..4).prop_flat_map(|count| (0..count).map(pool).collect::<Vec<_>>()),
        headers in prop::collection::btree_map("x-[a-z]{1,8}", "[ -~&&[^\"\\\\]]{0,8}", 0..4),
        codes in prop::collection::vec(prop_oneof![(100_u16..600).prop_map(|c| c.to_string()), Just("\"2xx\"".to_owned())], 1..4),
        (jitter, port) in (0.0..0.5_f64, any::<u16>()),
    ) -> String {
        let headers: Vec<String> = headers.iter().rev().map(|(name, value)| format!("{name} = \"{value}\"")).collect();
        let names: Vec<String> = (0..pools.len()).map(|number| format!("\"p{number}\"")).collect();
        format!(
            "{HEAD}{}[[monitor]]\nname = \"m\"\ntype = \"http\"\njitter = {jitter:?}\nexpected_codes = [{}]\n\
             headers = {{ {} }}\n[[load_balancer]]\nname = \"lb\"\npools = [{}]\nsession_affinity = {{ type = \"source\" }}\n\
             [[listener]]\nname = \"l\"\nprotocol = \"http\"\nlisten = \"[::1]:{port}\"\nload_balancer = \"lb\"\n\
             [[listener.rule]]\nhost = \"a\"\nload_balancer = \"lb\"\n",
            pools.concat(), codes.join(", "), headers.join(", "), names.join(", "),
        )
    }
}

proptest! {
    #[test]
    fn what_is_right_means_the_same_as_json(text in whole()) {
        prop_assert_eq!(mistakes(&text), Vec::<String>::new());
        let spec = Spec::of_toml(&text, file());
        let (here, there) = (checked(&spec), checked(&Spec::of_json(&spec.to_json(), "api")));
        prop_assert!(here.is_ok());
        prop_assert_eq!(here, there);
    }

    #[test]
    fn what_is_wrong_is_as_wrong_as_json(
        example in 0..EXAMPLES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, any::<u8>()), 1..8),
    ) {
        assert_read_alike(&mutated(EXAMPLES[example], &changes));
    }
}
