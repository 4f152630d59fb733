//! What a decision weighed, in the words of the admin endpoint. Pure.

use api::explain::{self, Considered};
use protocol::id::Name;

use crate::{
    balancer::{PassedOver, Placed, Step, Trace, Weighed},
    health::view::{BalancerHealth, BalancerView, Health, OriginView, PathView, PoolHealth, PoolView},
};

/// A place that was found.
pub(in crate::listener) fn told(placed: &Placed<'_>) -> explain::Place {
    explain::Place {
        pool: placed.pool.pool.name.to_string(),
        origin: placed.origin.origin.name.to_string(),
        link: placed.path.way.link().map(|link| link.id.to_string()),
        connector: placed.path.way.connector().map(Name::to_string),
        by: placed.by.as_str().to_owned(),
    }
}

/// So many of its steps, in order.
pub(in crate::listener) fn considered(Trace(steps): &Trace<'_>, most: usize) -> Vec<Considered> {
    let could = |step: &&Step<'_>| matches!(step.passed, None | Some(PassedOver::Steered));
    let weight = |step: &Step<'_>| if let Weighed::Origin(_, weight) = step.what { weight } else { 0.0 };
    let total: f64 = steps.iter().filter(could).map(weight).sum();
    let one = |step: &Step<'_>| {
        let passed_over = step.passed.map(|passed| passed.as_str().to_owned());
        let said = match step.what {
            Weighed::Bound(pool, origin) => {
                let name = format!("{} of {}", origin.origin.name, pool.pool.name);
                Considered { name, ..of_origin("bound", origin) }
            }
            Weighed::Balancer(lb) => of_balancer(lb),
            Weighed::Pool(pool) => of_pool("pool", pool),
            Weighed::Fallback(pool) => of_pool("fallback", pool),
            Weighed::Hope(pool) => of_pool("hope", pool),
            Weighed::Origin(origin, weight) => {
                let share = could(&step).then(|| weight / total);
                Considered { weight: Some(weight), share, ..of_origin("origin", origin) }
            }
            Weighed::Path(path) => of_path(path),
        };
        Considered { passed_over, ..said }
    };
    steps.iter().take(most).map(one).collect()
}

fn of_balancer(lb: &BalancerView) -> Considered {
    let health = match lb.health {
        BalancerHealth::Healthy => "healthy",
        BalancerHealth::Degraded => "degraded",
        BalancerHealth::Critical => "critical",
    };
    Considered {
        what: "load_balancer".to_owned(),
        name: lb.balancer.name.to_string(),
        health: health.to_owned(),
        ..Considered::default()
    }
}

fn of_pool(what: &str, pool: &PoolView) -> Considered {
    let health = match pool.health {
        PoolHealth::Healthy => "healthy",
        PoolHealth::Degraded => "degraded",
        PoolHealth::Critical => "critical",
        PoolHealth::Unknown => "unknown",
    };
    Considered {
        what: what.to_owned(),
        name: pool.pool.name.to_string(),
        health: health.to_owned(),
        load: Some(pool.flows()),
        ..Considered::default()
    }
}

fn of_origin(what: &str, origin: &OriginView) -> Considered {
    Considered {
        what: what.to_owned(),
        name: origin.origin.name.to_string(),
        health: health(origin.health).to_owned(),
        reason: origin.reason().map(|reason| reason.as_str().to_owned()),
        weight: Some(origin.origin.weight),
        load: Some(origin.flows()),
        ..Considered::default()
    }
}

fn of_path(path: &PathView) -> Considered {
    let of = path.way.connector().map_or_else(String::new, |connector| format!(" of {connector}"));
    Considered {
        what: "path".to_owned(),
        name: format!("{}{of}", path.via()),
        health: health(path.health).to_owned(),
        reason: path.reason.map(|reason| reason.as_str().to_owned()),
        load: Some(path.load.streams()),
        ..Considered::default()
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
        Health::Unknown => "unknown",
    }
}
