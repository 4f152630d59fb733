//! Steady load from honest clients: new connections at a fixed pace whatever becomes of the earlier ones, kept
//! connections and UDP sessions, and long flows. Every byte that comes back is checked.
//!
//! It judges nothing: it hands out samples.

mod client;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rig::{
    books::Taken,
    load,
    sample::Network,
    stalls::{Meter, Spans},
};

use super::{
    LabError,
    plan::{Ground, Plan, SERVICES, Service, Speech},
};

/// How much is asked of each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// From one new connection to the next.
    new_every: Duration,
    /// Kept connections or long flows.
    kept: usize,
    /// From one exchange on each of those to the next.
    kept_every: Duration,
}

/// About 270 exchanges a second through two edges, and 240 blocks.
fn pace(service: &Service) -> Pace {
    let pace = |new_ms, kept, kept_ms| Pace {
        new_every: Duration::from_millis(new_ms),
        kept,
        kept_every: Duration::from_millis(kept_ms),
    };
    match service.speech {
        Speech::Http => pace(50, 4, 200),
        Speech::Echo => pace(200, 6, 50),
        Speech::Dns => pace(200, 4, 200),
    }
}

/// Clients at work; dropping it stops them.
#[derive(Debug)]
pub(super) struct Load {
    clients: load::Load,
    meter: Meter,
}

/// A listener of an edge, as its clients know it.
#[derive(Debug, Clone, Copy)]
struct Goal {
    at: SocketAddr,
    edge: usize,
    service: &'static Service,
    ground: Ground,
}

impl Load {
    /// Sets clients upon every listener of every edge.
    ///
    /// # Errors
    /// If this machine has no threads for them.
    pub(super) fn start(plan: &Plan) -> Result<Self, LabError> {
        let goals = plan.edges.iter().enumerate().flat_map(|(edge, own)| {
            let goal = move |(service, at)| Goal { at, edge, service, ground: plan.ground };
            SERVICES.iter().zip(own.listeners).map(goal)
        });
        Self::upon(goals).map_err(LabError::Runtime)
    }

    fn upon(goals: impl IntoIterator<Item = Goal>) -> std::io::Result<Self> {
        let epoch = Instant::now();
        let mut clients = load::Load::new(epoch);
        for goal in goals {
            let pace = pace(goal.service);
            let at = load::Goal { edge: goal.edge, network: Network(goal.service.vnet.name()) };
            clients.set(at, move |own| own.pace_apart(pace.new_every, move |own| client::visit(&goal, own)))?;
            for number in 0..pace.kept {
                // Spread over the interval, so that something is always on its way.
                let first = pace.kept_every.mul_f64(number as f64 / pace.kept as f64);
                clients.set(at, move |own| client::keep(&goal, own, (first, pace.kept_every)))?;
            }
        }
        Ok(Self { clients, meter: Meter::start(epoch) })
    }

    /// Time since the beginning, as samples have it.
    pub(super) fn now(&self) -> Duration {
        self.clients.now()
    }

    /// What ended since the last call.
    pub(super) fn take(&self) -> Taken {
        self.clients.take()
    }

    /// When this machine did not let us run, clients among us.
    pub(super) fn stalls(&self) -> Spans {
        self.meter.busy().stalls
    }

    /// Begins nothing new and waits for what is on its way; true if no client fell.
    pub(super) async fn stop(&mut self) -> bool {
        let rest = self.clients.stop();
        let waited = tokio::task::spawn_blocking(|| rest.wait().is_ok());
        waited.await.is_ok_and(|stood| stood)
    }
}

#[cfg(test)]
mod tests;
