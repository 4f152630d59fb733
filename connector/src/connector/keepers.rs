//! The keepers of link slots: which there are, by edge and number, and what they claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use ipnetwork::IpNetwork;
use net::{Network, Unreachables, Vital, Workers};
use protocol::{
    control::{Claims, RouteClaim},
    id::{Name, Target},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    link::{self, AddressBook, Dialler, Links, Renewal, Supervisor, Turn},
    serve::Service,
};

/// What every keeper is made of.
pub(super) struct Base {
    pub(super) network: Arc<dyn Network>,
    pub(super) book: Arc<AddressBook>,
    pub(super) heard: Unreachables,
    pub(super) grace: Duration,
    /// Nothing is dialled while this is so.
    pub(super) held: watch::Receiver<bool>,
    pub(super) stop: CancellationToken,
    pub(super) cut: CancellationToken,
    pub(super) vital: Vital,
    pub(super) status: Arc<Links>,
    pub(super) service: Arc<Service>,
    pub(super) renewal: Arc<Renewal>,
    pub(super) workers: Arc<Workers>,
    pub(super) tasks: TaskTracker,
}

/// A slot: the edge that it leads to, and its number.
type Place = (Target, u16);

/// All keepers of a connector.
pub(super) struct Keepers {
    pub(super) base: Base,
    run: u64,
    claims: watch::Sender<Arc<Claims>>,
    kept: BTreeMap<Place, Kept>,
    /// Those that were told to leave, until they have.
    leaving: Vec<(Place, Kept)>,
    /// So many were started: they take turns on the workers.
    started: usize,
    /// Where a process that this one takes over from has one of a slot's numbers.
    turns: BTreeMap<Place, Turn>,
}

/// One keeper.
struct Kept {
    turn: Turn,
    leave: CancellationToken,
    task: JoinHandle<()>,
}

/// What new keepers need, and whatever else of a change may fail: all of it is there.
pub(super) struct Prepared {
    claims: Claims,
    wanted: BTreeSet<Place>,
    fresh: Vec<(Place, usize, Dialler)>,
}

impl Keepers {
    /// Starts those of these settings. Their links say that they are of this run.
    pub(super) fn start(base: Base, config: &Config, (run, turns): (u64, BTreeMap<Place, Turn>)) -> io::Result<Self> {
        let claims = watch::Sender::new(Arc::new(claims(config)));
        let (kept, leaving) = (BTreeMap::new(), Vec::new());
        let mut keepers = Self { base, run, claims, kept, leaving, started: 0, turns };
        let prepared = keepers.prepare(config)?;
        keepers.commit(prepared);
        Ok(keepers)
    }

    /// Makes whatever other settings need.
    pub(super) fn prepare(&self, config: &Config) -> io::Result<Prepared> {
        let claims = claims(config);
        // Slots of one edge beside each other, so that they are on workers of their own.
        let slots = config.edges.iter().flat_map(|edge| (0..claims.links).map(move |slot| (edge.clone(), slot)));
        let wanted: Vec<Place> = slots.collect();
        let mut fresh = Vec::new();
        for (number, place) in (self.started..).zip(wanted.iter().filter(|place| !self.kept.contains_key(*place))) {
            fresh.push((place.clone(), number, self.dialler(number)?));
        }
        Ok(Prepared { claims, wanted: wanted.into_iter().collect(), fresh })
    }

    /// Makes it so: what is not wanted leaves, what is new is dialled, and whoever stays hears of other claims.
    pub(super) fn commit(&mut self, Prepared { claims, wanted, fresh }: Prepared) {
        self.leaving.retain(|(_, kept)| !kept.task.is_finished());
        let gone: Vec<Place> = self.kept.keys().filter(|place| !wanted.contains(*place)).cloned().collect();
        for place in gone {
            let Some(kept) = self.kept.remove(&place) else { continue };
            kept.leave.cancel();
            self.base.status.forget(&place.0, place.1);
            self.leaving.push((place, kept));
        }
        self.claims.send_if_modified(|now| {
            let differs = **now != claims;
            if differs {
                *now = Arc::new(claims);
            }
            differs
        });
        for (place, number, dialler) in fresh {
            let kept = self.keep(&place, number, dialler);
            self.kept.insert(place, kept);
            self.started += 1;
        }
    }

    fn keep(&mut self, (edge, slot): &Place, number: usize, dialler: Dialler) -> Kept {
        let given = self.turns.remove(&(edge.clone(), *slot));
        let Base { service, renewal, status, held, stop, grace, cut, vital, workers, tasks, .. } = &self.base;
        let leave = stop.child_token();
        // Links that leave have a number, and would be superseded by a newcomer with the same.
        let mut before = self.leaving.iter().rev().filter(|((to, of), _)| (to, of) == (edge, slot));
        let turn = match before.next().map(|(_, kept)| kept.turn) {
            Some(Turn::First) => Turn::Second,
            Some(Turn::Second) => Turn::First,
            None => given.unwrap_or_default(),
        };
        status.keep(edge, *slot);
        let supervisor = Supervisor {
            edge: edge.clone(),
            slot: *slot,
            turn,
            run: self.run,
            claims: self.claims.subscribe(),
            dialler,
            renewal: renewal.clone(),
            service: service.clone(),
            status: status.clone(),
            held: held.clone(),
            stop: leave.clone(),
            grace: *grace,
            cut: cut.clone(),
        };
        let keep = vital.clone().keep("a link's keeper", move || link::supervise(supervisor.clone()));
        let task = vital.clone().need("a link's keeper", leave.clone(), keep);
        Kept { turn, leave, task: tasks.spawn_on(task, workers.handle(number)) }
    }

    fn dialler(&self, number: usize) -> io::Result<Dialler> {
        let Base { network, service, book, heard, workers, .. } = &self.base;
        let _here = workers.handle(number).enter();
        Dialler::new(&**network, service.resolver.clone(), book.clone(), heard.clone())
    }
}

/// What settings claim. The order in which they name routes says nothing.
fn claims(config: &Config) -> Claims {
    let mut routes: Vec<_> = config.routes.iter().collect();
    routes.sort();
    let claim = |(vnet, cidr): &(Name, IpNetwork)| RouteClaim { vnet: vnet.to_string(), cidr: cidr.to_string() };
    Claims {
        links: u16::try_from(config.links_per_edge).unwrap_or(u16::MAX),
        routes: routes.into_iter().map(claim).collect(),
    }
}
