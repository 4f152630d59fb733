//! The choices: by weight, by load, by hash, by two draws. Each reads its candidates a few times and allocates nothing.

use rand::{Rng, RngExt};

use super::{hashed::unit, weight::Candidate};
use crate::health::view::{OriginView, PathView};

/// One of the items, each as likely as its weight says.
pub(super) fn weighted<T>(items: impl Iterator<Item = (f64, T)>, dice: &mut impl Rng) -> Option<T> {
    let mut chosen = None;
    let mut total = 0.0;
    // Each replaces the one before with the share it has of the weight so far, which leaves every one its share of it all.
    for (weight, item) in items {
        total += weight;
        if chosen.is_none() || dice.random::<f64>() * total < weight {
            chosen = Some(item);
        }
    }
    chosen
}

/// One of the origins, each as likely as its weight says.
pub(super) fn random<'v>(origins: impl Iterator<Item = Candidate<'v>>, dice: &mut impl Rng) -> Option<&'v OriginView> {
    weighted(origins.map(|candidate| (candidate.weight, candidate.origin)), dice)
}

/// The origin with the fewest open flows for its weight. Those that differ by less than one flow are equals, and the dice
/// decide among them by weight: so weights count among few flows too, where most origins have none.
pub(super) fn least_connections<'v>(
    origins: impl Iterator<Item = Candidate<'v>> + Clone,
    dice: &mut impl Rng,
) -> Option<&'v OriginView> {
    let least = origins.clone().map(|candidate| candidate.load(1)).fold(f64::INFINITY, f64::min);
    let has_least = |candidate: &Candidate<'_>| candidate.load(0) < least;
    // Flows that came meanwhile can leave nobody below what was the least.
    random(origins.clone().filter(has_least), dice).or_else(|| random(origins, dice))
}

/// The less loaded of two different origins drawn at random, by `(flows + 1) / weight`: edges that know nothing of each other's
/// flows do not all run to the same one (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing").
pub(super) fn two_origins<'v>(
    origins: impl Iterator<Item = Candidate<'v>> + Clone,
    dice: &mut impl Rng,
) -> Option<&'v OriginView> {
    let (one, other) = two(origins, dice)?;
    Some(other.filter(|other| other.load(1) < one.load(1)).unwrap_or(one).origin)
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

/// The origin that the key draws by weighted rendezvous: without one of them, only its own keys move. With a `bound`, one that
/// has so many times its share of all flows is passed over, for the next that the key draws.
pub(super) fn hash<'v>(
    origins: impl Iterator<Item = Candidate<'v>> + Clone,
    key: u64,
    bound: Option<f64>,
) -> Option<&'v OriginView> {
    let drawn = |origins: &mut dyn Iterator<Item = Candidate<'v>>| {
        let score = |candidate: &Candidate<'_>| candidate.weight / -unit(key, candidate.origin.key).ln();
        let scored = origins.map(|candidate| (score(&candidate), candidate.origin));
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, origin)| origin)
    };
    let Some(bound) = bound else { return drawn(&mut origins.into_iter()) };
    let add = |(flows, weight), candidate: Candidate<'_>| (flows + candidate.origin.flows(), weight + candidate.weight);
    let (flows, weight) = origins.clone().fold((0, 0.0), add);
    let has_room = |candidate: &Candidate<'_>| {
        let due = ((flows + 1) as f64 * bound * candidate.weight / weight).ceil();
        (candidate.origin.flows() as f64) < due
    };
    // Flows that came meanwhile can leave nobody room.
    drawn(&mut origins.clone().filter(has_room)).or_else(|| drawn(&mut origins.into_iter()))
}

/// The less loaded of two different paths drawn at random.
pub(super) fn two_choices<'v>(
    paths: impl Iterator<Item = &'v PathView> + Clone,
    dice: &mut impl Rng,
) -> Option<&'v PathView> {
    let (one, other) = two(paths, dice)?;
    Some(other.filter(|other| other.load.streams() < one.load.streams()).unwrap_or(one))
}

/// Two different items, each pair as likely; of one alone, that one.
fn two<T>(items: impl Iterator<Item = T> + Clone, dice: &mut impl Rng) -> Option<(T, Option<T>)> {
    let count = items.clone().count();
    if count <= 1 {
        return items.into_iter().next().map(|only| (only, None));
    }
    let one = dice.random_range(0..count);
    let other = (one + dice.random_range(1..count)) % count;
    let at = |index| items.clone().nth(index);
    Some((at(one)?, at(other)))
}
