//! `[[pool]]` and `[[pool.origin]]`: origins in groups.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use config::{Named, Table};
use protocol::{
    id::{Host, Name, Target},
    limits::DIAL_WAIT_MAX,
};

use super::{
    grants::Grants,
    monitors::Monitors,
    words::{STEERINGS, UPSTREAMS},
};
use crate::model::{Origin, Pool, Steering, Upstream};

/// All pools.
pub(super) type Pools = Named<Name, Arc<Pool>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=DIAL_WAIT_MAX;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const RESPONSE_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const WEIGHT_MAX: f64 = 1_000.0;
const ORIGIN: &str = "at least one [[pool.origin]]";

pub(super) fn read(root: &Table<'_>, monitors: &Monitors, grants: &Grants) -> Pools {
    Named::read(root, "pool", "pool", |t, name: Option<&Name>| {
        let monitor = t.optional("monitor").and_then(|v| v.parsed::<Name>()).and_then(|n| monitors.find(t, &n));
        let steering = t.or("steering", Steering::Random, |v| v.word(&STEERINGS));
        let connect_timeout =
            t.or("connect_timeout", CONNECT_TIMEOUT, |v| v.duration(CONNECT_TIMEOUT_RANGE).map(|at| at.value));
        let upstream = t.or("upstream", Upstream::Http1, |v| v.word(&UPSTREAMS));
        let response_timeout =
            t.or("response_timeout", RESPONSE_TIMEOUT, |v| v.duration(RESPONSE_TIMEOUT_RANGE).map(|at| at.value));
        let origins = origins(t, grants);
        let minimum_origins = minimum_origins(t, origins.count());
        let pool = Pool {
            monitor: monitor.and_then(|position| monitors.object(position).cloned()),
            steering,
            minimum_origins,
            connect_timeout,
            upstream,
            response_timeout,
            name: name?.clone(),
            origins: origins.all()?,
        };
        check_weights(t, &pool.origins);
        Some(Arc::new(pool))
    })
}

fn origins(t: &Table<'_>, grants: &Grants) -> Named<Name, Arc<Origin>> {
    let origins = Named::read(t, "origin", "origin", |o, name: Option<&Name>| origin(o, name, grants).map(Arc::new));
    if !t.has("origin") {
        t.lacking(t.place(), format!("`origin` is missing in `pool`: {ORIGIN}"));
    } else if origins.count() == 0 {
        t.lacking(t.place(), format!("`origin` must not be empty in `pool`: {ORIGIN}"));
    }
    origins
}

fn origin(t: &Table<'_>, name: Option<&Name>, grants: &Grants) -> Option<Origin> {
    let vnet = t.optional("vnet").map(|v| v.parsed::<Name>());
    let weight = t.or("weight", 1.0, |v| v.float(0.0..=WEIGHT_MAX));
    let address = t.required("address", "HOST:PORT, such as \"10.0.1.10:8080\"");
    let address = address.and_then(|v| v.read("HOST:PORT", one_server));
    if let Some(Some(vnet)) = &vnet {
        grants.check(t, vnet, address.as_ref());
    }
    let vnet = match vnet {
        None => None,
        Some(read) => Some(read?.value),
    };
    Some(Origin { name: name?.clone(), vnet, address: address?.value, weight })
}

fn one_server(text: &str) -> Result<Target, String> {
    let target: Target = text.parse().map_err(|e: protocol::id::BadTarget| e.to_string())?;
    let Host::Ip(ip) = target.host else { return Ok(target) };
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255; 4]) {
        return Err(format!("{ip} is not the address of one server"));
    }
    if ip.to_canonical() != ip {
        let meant = Target { host: Host::Ip(ip.to_canonical()), port: target.port };
        return Err(format!("write IPv4 addresses as IPv4: \"{meant}\""));
    }
    Ok(target)
}

fn minimum_origins(t: &Table<'_>, origins: usize) -> usize {
    let Some(value) = t.optional("minimum_origins") else { return 1 };
    let Some(minimum) = value.integer::<u32>(1..=u64::from(u32::MAX)).map(|n| n as usize) else { return 1 };
    if minimum > origins.max(1) {
        let place = value.place();
        t.lacking(place, format!("`minimum_origins` is {minimum}, and the pool has {origins} in all"));
    }
    minimum
}

fn check_weights(t: &Table<'_>, origins: &[Arc<Origin>]) {
    if !origins.is_empty() && origins.iter().all(|o| o.weight == 0.0) {
        t.lacking(t.place(), "every origin of this pool has `weight` 0, so that none can be chosen; give one more");
    }
}
