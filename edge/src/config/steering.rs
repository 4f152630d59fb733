//! How flows are shared out: `hash` and `slow_start` of a pool, `pool_weights` of a load balancer, and how much of an address
//! counts.

use std::{ops::RangeInclusive, time::Duration};

use config::Table;
use http::HeaderName;
use protocol::id::Name;

use super::words::{HASH_ON, HashWord};
use crate::model::{HashBy, HashOn, PoolSteering, Prefix, Steering};

const SLOW_START_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const BOUND_RANGE: RangeInclusive<f64> = 1.0..=10.0;
const POOL_WEIGHT_RANGE: RangeInclusive<f64> = 0.001..=1_000.0;
/// What a prefix counts unless it is said otherwise: what one site has.
const SITE: Prefix = Prefix { v4: 24, v6: 56 };

/// `slow_start` of a pool.
pub(super) fn slow_start(t: &Table<'_>) -> Option<Duration> {
    t.optional("slow_start").and_then(|v| v.duration(SLOW_START_RANGE)).map(|at| at.value)
}

/// `hash` of a pool.
pub(super) fn hash(t: &Table<'_>, steering: Steering) -> HashBy {
    if steering != Steering::Hash {
        t.refuse("hash", "is for pools with `steering` \"hash\"");
        return HashBy::default();
    }
    t.table("hash", |h| HashBy {
        on: hash_on(h).unwrap_or_default(),
        bounded_load: h.optional("bounded_load").and_then(|v| v.float(BOUND_RANGE)),
    })
    .unwrap_or_default()
}

fn hash_on(h: &Table<'_>) -> Option<HashOn> {
    let word = h.or("on", HashWord::Source, |v| v.word(&HASH_ON));
    if word != HashWord::SourcePrefix {
        refuse_prefix(h, "is for `on` \"source_prefix\"");
    }
    if !matches!(word, HashWord::Header | HashWord::Cookie) {
        h.refuse("name", "is for `on` \"header\" or \"cookie\"");
    }
    let name = |what| h.required("name", what);
    match word {
        HashWord::Source => Some(HashOn::Source),
        HashWord::SourcePrefix => Some(HashOn::SourcePrefix(prefix(h))),
        HashWord::Host => Some(HashOn::Host),
        HashWord::Path => Some(HashOn::Path),
        HashWord::Header => {
            let read =
                |text: &str| HeaderName::try_from(text).map_err(|_| "a field's name has no blanks or separators");
            let name = name("the name of the field")?.read("the name of a header field", read)?;
            Some(HashOn::Header(name.value))
        }
        HashWord::Cookie => {
            let name = name("the name of the cookie")?.read("the name of a cookie", cookie)?;
            Some(HashOn::Cookie(name.value))
        }
    }
}

/// A token, as RFC 6265 section 4.1.1 has it.
fn cookie(text: &str) -> Result<String, &'static str> {
    let good = |b: u8| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?={}".contains(&b);
    if !text.is_empty() && text.bytes().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a cookie's name has no blanks or separators")
    }
}

/// `prefix_v4` and `prefix_v6`.
pub(super) fn prefix(t: &Table<'_>) -> Prefix {
    Prefix {
        v4: t.or("prefix_v4", SITE.v4, |v| v.integer(1..=32)),
        v6: t.or("prefix_v6", SITE.v6, |v| v.integer(1..=128)),
    }
}

/// Notes a prefix where none matters.
pub(super) fn refuse_prefix(t: &Table<'_>, why: &str) {
    ["prefix_v4", "prefix_v6"].into_iter().for_each(|key| t.refuse(key, why));
}

/// `pool_weights` of a load balancer, in the order of its pools.
pub(super) fn pool_weights(t: &Table<'_>, steering: PoolSteering, pools: &[Name]) -> Vec<f64> {
    if steering == PoolSteering::Off {
        t.refuse(
            "pool_weights",
            "is for `steering` \"random\", \"least_connections\" or \"least_outstanding_requests\"",
        );
        return Vec::new();
    }
    let given = t.table("pool_weights", |weights| {
        let mut given = Vec::new();
        for (place, key, value) in weights.entries() {
            if !pools.iter().any(|pool| pool.as_str() == key) {
                let hint = config::hint(key, pools.iter().map(Name::as_str));
                weights.wrong(place, format!("`{key}` is none of this load balancer's `pools`{hint}"));
            }
            given.extend(value.float(POOL_WEIGHT_RANGE).map(|weight| (key, weight)));
        }
        given
    });
    let given = given.unwrap_or_default();
    let of = |pool: &Name| given.iter().find(|(key, _)| *key == pool.as_str()).map_or(1.0, |(_, weight)| *weight);
    if given.is_empty() { Vec::new() } else { pools.iter().map(of).collect() }
}
