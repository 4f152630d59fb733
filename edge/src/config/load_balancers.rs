//! `[[load_balancer]]`: pools in order, and what to do among them.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use config::{Named, Seen, Table};
use protocol::id::Name;

use super::{
    pools::Pools,
    steering::{pool_weights, prefix, refuse_prefix},
    words::{AFFINITY_TYPES, AffinityType, POOL_STEERINGS},
};
use crate::model::{Affinity, LoadBalancer, PoolSteering, Prefix};

/// All load balancers.
pub(super) type LoadBalancers = Named<Name, Arc<LoadBalancer>>;

const TTL: Duration = Duration::from_secs(3600);
const TTL_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
const DRAIN_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(7 * 86_400);

pub(super) fn read(root: &Table<'_>, pools: &Pools) -> LoadBalancers {
    Named::read(root, "load_balancer", "load balancer", |t, name: Option<&Name>| {
        let ordered = ordered(t, pools);
        let fallback = t.optional("fallback_pool").and_then(|v| v.parsed::<Name>()).map(|n| pools.known(t, n));
        let steering = t.or("steering", PoolSteering::Off, |v| v.word(&POOL_STEERINGS));
        let drain = t.or("drain", false, |v| v.boolean());
        let session_affinity = t.table("session_affinity", affinity).unwrap_or(Affinity::None);
        let fallback_pool = match fallback {
            None => None,
            Some(found) => Some(found?),
        };
        let pool_weights = pool_weights(t, steering, ordered.as_deref().unwrap_or_default());
        let (name, pools) = (name?.clone(), ordered?);
        Some(Arc::new(LoadBalancer { name, pools, fallback_pool, steering, pool_weights, session_affinity, drain }))
    })
}

fn ordered(t: &Table<'_>, pools: &Pools) -> Option<Vec<Name>> {
    let items = t.required("pools", "names of pools, in order of failover")?.some_items()?;
    let mut seen = Seen::default();
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let Some(name) = item.parsed::<Name>() else { continue };
        if seen.insert(name.place, name.value.clone()).is_some() {
            t.wrong(name.place, format!("`pools` names \"{}\" twice", name.value));
        }
        names.extend(pools.known(t, name));
    }
    Some(names)
}

fn affinity(t: &Table<'_>) -> Affinity {
    let kind = t
        .required("type", "\"none\", \"source\", \"source_prefix\" or \"cookie\"")
        .and_then(|v| v.word(&AFFINITY_TYPES));
    if kind == Some(AffinityType::None) {
        let why = "is for session affinity of type \"source\" or \"cookie\"";
        ["ttl", "drain_duration", "prefix_v4", "prefix_v6"].into_iter().for_each(|key| t.refuse(key, why));
        return Affinity::None;
    }
    let ttl = t.or("ttl", TTL, |v| v.duration(TTL_RANGE).map(|at| at.value));
    let drain = t.or("drain_duration", Duration::ZERO, |v| v.duration(DRAIN_RANGE).map(|at| at.value));
    if kind != Some(AffinityType::SourcePrefix) {
        refuse_prefix(t, "is for session affinity of type \"source_prefix\"");
    }
    match kind {
        Some(AffinityType::Cookie) => Affinity::Cookie { ttl, drain },
        Some(AffinityType::SourcePrefix) => Affinity::Source { prefix: prefix(t), ttl, drain },
        Some(AffinityType::Source | AffinityType::None) | None => {
            Affinity::Source { prefix: Prefix::WHOLE, ttl, drain }
        }
    }
}
