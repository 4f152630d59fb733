//! The choices: by weight, by load, by hash, by two draws. Each reads its candidates once and allocates nothing.

use std::net::IpAddr;

use rand::{Rng, RngExt};

use crate::health::{
    OriginKey,
    view::{OriginView, PathView},
};

/// Fixed for ever and the same on every edge: with it two edges send one source to the same origin.
const HASH_SEED: u64 = 0x5bd1_e995_7b7d_159d;

/// One of the origins, each as likely as its weight says.
pub(super) fn random<'v>(origins: impl Iterator<Item = &'v OriginView>, dice: &mut impl Rng) -> Option<&'v OriginView> {
    let mut chosen = None;
    let mut total = 0.0;
    // Each replaces the one before with the share it has of the weight so far, which leaves every one its share of it all.
    for origin in origins {
        total += origin.origin.weight;
        if chosen.is_none() || dice.random::<f64>() * total < origin.origin.weight {
            chosen = Some(origin);
        }
    }
    chosen
}

/// The origin with the fewest open flows for its weight. Those that differ by less than one flow are equals, and the dice
/// decide among them by weight: so weights count among few flows too, where most origins have none.
pub(super) fn least_connections<'v>(
    origins: impl Iterator<Item = &'v OriginView> + Clone,
    dice: &mut impl Rng,
) -> Option<&'v OriginView> {
    let load = |origin: &OriginView, more: usize| (origin.flows() + more) as f64 / origin.origin.weight;
    let least = origins.clone().map(|origin| load(origin, 1)).fold(f64::INFINITY, f64::min);
    let has_least = |origin: &&OriginView| load(origin, 0) < least;
    // Flows that came meanwhile can leave nobody below what was the least.
    random(origins.clone().filter(has_least), dice).or_else(|| random(origins, dice))
}

/// The one with the smallest load; the dice decide between equals.
pub(super) fn least<T>(loads: impl Iterator<Item = (f64, T)>, dice: &mut impl Rng) -> Option<T> {
    let mut chosen = None;
    let mut smallest = f64::INFINITY;
    let mut equals = 0_u32;
    for (load, item) in loads {
        if load < smallest {
            (chosen, smallest, equals) = (Some(item), load, 1);
        } else if load == smallest {
            equals += 1;
            if dice.random_range(0..equals) == 0 {
                chosen = Some(item);
            }
        }
    }
    chosen
}

/// The origin that the source draws by weighted rendezvous: without one of them, only its own sources move.
pub(super) fn hash<'v>(origins: impl Iterator<Item = &'v OriginView>, source: IpAddr) -> Option<&'v OriginView> {
    let source = fold(source);
    let score = |origin: &OriginView| origin.origin.weight / -unit(source, origin.key).ln();
    origins.map(|origin| (score(origin), origin)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, origin)| origin)
}

/// The less loaded of two different paths drawn at random.
pub(super) fn two_choices<'v>(
    paths: impl Iterator<Item = &'v PathView> + Clone,
    dice: &mut impl Rng,
) -> Option<&'v PathView> {
    let count = paths.clone().count();
    if count <= 1 {
        return paths.into_iter().next();
    }
    let one = dice.random_range(0..count);
    let other = (one + dice.random_range(1..count)) % count;
    let at = |index| paths.clone().nth(index);
    let (one, other) = (at(one)?, at(other)?);
    Some(if other.load.streams() < one.load.streams() { other } else { one })
}

/// Any of the items, each as likely.
pub(super) fn any<T>(items: impl Iterator<Item = T>, dice: &mut impl Rng) -> Option<T> {
    least(items.map(|item| (0.0, item)), dice)
}

fn fold(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(ip) => mix(HASH_SEED ^ u64::from(u32::from(ip))),
        IpAddr::V6(ip) => {
            let bits = u128::from(ip);
            mix(mix(HASH_SEED ^ (bits >> 64) as u64) ^ bits as u64)
        }
    }
}

/// A number between 0 and 1, never either.
fn unit(source: u64, origin: OriginKey) -> f64 {
    ((mix(source ^ mix(origin.0)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The finaliser of splitmix64: every bit of the input moves every bit of the output.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
