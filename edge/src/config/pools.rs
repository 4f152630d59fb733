//! `[[pool]]` and `[[pool.origin]]`: origins in groups.

use std::{net::IpAddr, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use config::{Named, Table};
use http::HeaderValue;
use protocol::{
    id::{Host, Name, Target},
    limits::DIAL_WAIT_MAX,
};

use super::{
    grants::Grants,
    monitors::{self, Configured, Monitors},
    origin_tls::{self, Given},
    words::{ON_UNHEALTHY, PROXY_VERSIONS, STEERINGS, UPSTREAMS, UpstreamWord},
};
use crate::model::{Check, OnUnhealthy, Origin, Pool, ProxyVersion, Steering, Upstream};

/// All pools.
pub(super) type Pools = Named<Name, Arc<Pool>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=DIAL_WAIT_MAX;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const RESPONSE_TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const IDLE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const WEIGHT_MAX: f64 = 1_000.0;
const ORIGIN: &str = "at least one [[pool.origin]]";

pub(super) fn read(root: &Table<'_>, monitors: &Monitors, grants: &Grants, path: &Path) -> Pools {
    Named::read(root, "pool", "pool", |t, name: Option<&Name>| {
        let monitor = t.optional("monitor").and_then(|v| v.parsed::<Name>()).and_then(|n| monitors.known(t, n));
        let steering = t.or("steering", Steering::Random, |v| v.word(&STEERINGS));
        let (hash, slow_start) = (super::steering::hash(t, steering), super::steering::slow_start(t));
        let connect_timeout =
            t.or("connect_timeout", CONNECT_TIMEOUT, |v| v.duration(CONNECT_TIMEOUT_RANGE).map(|at| at.value));
        let upstream = upstream(t, path);
        let monitor = monitor.and_then(|name| monitors.get(&name));
        check_monitor(t, monitor, &upstream);
        let response_timeout =
            t.or("response_timeout", RESPONSE_TIMEOUT, |v| v.duration(RESPONSE_TIMEOUT_RANGE).map(|at| at.value));
        let on_unhealthy = t.or("on_unhealthy", OnUnhealthy::Move, |v| v.word(&ON_UNHEALTHY));
        let upstream_idle_timeout =
            t.optional("upstream_idle_timeout").and_then(|v| v.duration(IDLE_RANGE).map(|at| at.value));
        let host = t.optional("host").and_then(|v| v.read("a host name", monitors::host_field)).map(|at| at.value);
        let proxy_protocol = t.optional("proxy_protocol").and_then(|v| v.word(&PROXY_VERSIONS));
        let drain = t.or("drain", false, |v| v.boolean());
        let origins = origins(t, (grants, proxy_protocol));
        let minimum_origins = minimum_origins(t, origins.count());
        let pool = Pool {
            monitor: monitor.map(|monitor| monitor.of_pool(&upstream, host.as_deref())),
            steering,
            hash,
            slow_start,
            minimum_origins,
            connect_timeout,
            upstream,
            response_timeout,
            on_unhealthy,
            upstream_idle_timeout,
            host: host.and_then(|host| HeaderValue::try_from(host).ok()),
            drain,
            name: name?.clone(),
            origins: origins.all()?,
        };
        check_weights(t, &pool.origins);
        check_names(t, &pool);
        Some(Arc::new(pool))
    })
}

/// What is spoken to the origins, and how TLS is if that is it.
fn upstream(t: &Table<'_>, path: &Path) -> Upstream {
    let word = t.or("upstream", UpstreamWord::Http1, |v| v.word(&UPSTREAMS));
    match word {
        UpstreamWord::Https => {
            let given = t.table("tls", |tls| Given::read(tls, path)).unwrap_or_default();
            return Upstream::Https(Arc::new(given.over(&origin_tls::plain())));
        }
        UpstreamWord::Http1 | UpstreamWord::H2c => t.refuse("tls", "is for pools with `upstream` \"https\""),
    }
    if word == UpstreamWord::H2c { Upstream::H2c } else { Upstream::Http1 }
}

/// Notes a monitor that speaks without TLS to origins that are spoken to with it.
fn check_monitor(t: &Table<'_>, monitor: Option<&Configured>, upstream: &Upstream) {
    if matches!(upstream, Upstream::Https(_))
        && let Some(Configured { monitor, .. }) = monitor.filter(|monitor| monitor.is_plain_http())
    {
        let right = "give it the type \"https\"";
        t.lacking(
            t.place(),
            format!("monitor \"{}\" speaks no TLS, and this pool's origins do: {right}", monitor.name),
        );
    }
}

/// Notes origins that TLS has no name for, by requests or by probes.
fn check_names(t: &Table<'_>, pool: &Pool) {
    let probed = pool.monitor.as_ref().and_then(|monitor| match &monitor.check {
        Check::Http(check) => Some(&check.speaks),
        Check::Tcp | Check::TcpAnswer(_) | Check::Udp(_) | Check::Icmp => None,
    });
    let speaks = if matches!(pool.upstream, Upstream::Https(_)) { Some(&pool.upstream) } else { probed };
    speaks.into_iter().for_each(|speaks| origin_tls::check_names(t, speaks, &pool.origins));
}

/// What origins have from elsewhere: what connectors may claim, and what their pool says.
type FromPool<'a> = (&'a Grants, Option<ProxyVersion>);

fn origins(t: &Table<'_>, given: FromPool<'_>) -> Named<Name, Arc<Origin>> {
    let origins = Named::read(t, "origin", "origin", |o, name: Option<&Name>| origin(o, name, given).map(Arc::new));
    if !t.has("origin") {
        t.lacking(t.place(), format!("`origin` is missing in `pool`: {ORIGIN}"));
    } else if origins.count() == 0 {
        t.lacking(t.place(), format!("`origin` must not be empty in `pool`: {ORIGIN}"));
    }
    origins
}

fn origin(t: &Table<'_>, name: Option<&Name>, (grants, proxy_protocol): FromPool<'_>) -> Option<Origin> {
    let vnet = t.optional("vnet").map(|v| v.parsed::<Name>());
    let weight = t.or("weight", 1.0, |v| v.float(0.0..=WEIGHT_MAX));
    let drain = t.or("drain", false, |v| v.boolean());
    let address = t.required("address", "HOST:PORT, such as \"10.0.1.10:8080\"");
    let address = address.and_then(|v| v.read("HOST:PORT", one_server));
    if let Some(Some(vnet)) = &vnet {
        grants.check(t, vnet, address.as_ref());
    }
    let vnet = match vnet {
        None => None,
        Some(read) => Some(read?.value),
    };
    Some(Origin { name: name?.clone(), vnet, address: address?.value, weight, proxy_protocol, drain })
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
