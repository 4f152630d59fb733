//! Where a flow would go now, and why: the decision itself, with nothing done about it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use api::explain::{self, Considered, Explanation, Question};
use protocol::{
    error::Reason,
    id::{Host, Name},
};

use super::{
    flow::{
        placing::Search,
        weighed::{considered, told},
    },
    http::{self, Imagined, Words},
    shared::Shared,
    state::Serving,
};
use crate::{
    balancer::{Ask, NoPlace, PassedOver, Tried},
    health::view::{OriginView, PoolView},
    metrics::RefusedFlow,
    model::{FlowKey, Leads, ListenProtocol, Listener, Route},
    routing,
    tunnel::Link,
};

/// Places that are told beyond the first.
const NEXT_MAX: usize = 3;

/// A flow that might come, as a question says.
#[derive(Debug)]
pub(super) struct Hypothetical {
    /// Its client.
    pub(super) source: SocketAddr,
    /// Where it would be for, if that matters.
    destination: Option<SocketAddr>,
    /// What it would ask, where the listener reads requests.
    pub(super) request: Option<Imagined>,
}

impl Hypothetical {
    /// Reads a question to a listener.
    pub(super) fn read(serving: &Serving, question: &Question) -> Result<Self, String> {
        let source = question.source.as_deref().unwrap_or("0.0.0.0");
        let source: IpAddr = source.parse().map_err(|_| format!("`source` {source:?} is no IP address"))?;
        let request = request(serving, question)?;
        let destination = destination(&serving.listener, question)?;
        Ok(Self { source: SocketAddr::new(source, 0), destination, request })
    }

    /// What placing goes by.
    pub(super) fn key(&self) -> FlowKey<'_> {
        let (host, paths) = match &self.request {
            Some(request) => (request.host.as_deref(), &request.paths[..]),
            None => (None, &[][..]),
        };
        FlowKey { source: self.source, destination: self.destination, host, paths }
    }

    /// The search for its places.
    pub(super) fn search<'a>(&'a self, shared: &'a Shared, listener: &'a Arc<Listener>) -> Search<'a> {
        let search = Search::new(shared, listener, self.key());
        match &self.request {
            Some(request) => search.with_headers(&request.headers),
            None => search,
        }
    }

    /// How it would be answered before any place is looked for, if it would: the code, and words.
    pub(super) fn refused(&self, listener: &Listener) -> Option<(&'static str, String)> {
        let client = self.source.ip();
        // Of a question that names no client, nobody is asked for.
        if !client.is_unspecified() && !listener.admission.admits(client) {
            let words = format!("the listener's `allow` and `deny` do not admit {client}");
            return Some((RefusedFlow::Denied.as_str(), words));
        }
        self.request.as_ref().and_then(|request| request.refused.clone())
    }

    /// The certificate that its client would be shown.
    pub(super) fn certificate(&self) -> Option<String> {
        self.request.as_ref().and_then(|request| request.certificate.clone())
    }
}

/// Explains where a flow of this listener would go.
pub(super) fn explain(shared: &Shared, serving: &Serving, question: &Question) -> Result<Explanation, String> {
    let listener = &serving.listener;
    let flow = Hypothetical::read(serving, question)?;
    let (key, search) = (flow.key(), flow.search(shared, listener));
    let view = shared.view.borrow().clone();
    let mut explanation = Explanation {
        listener: listener.name.to_string(),
        rule: rule(listener, &key),
        load_balancer: routing::load_balancer(listener, &key).map(Name::to_string),
        vnet: vnet(listener).map(Name::to_string),
        certificate: flow.certificate(),
        ..Explanation::default()
    };
    if let Some((code, words)) = flow.refused(listener) {
        (explanation.reason, explanation.detail) = (Some(code.to_owned()), Some(words));
        return Ok(explanation);
    }
    if let Err(no) = search.asking(&view, None, |ask, _| decided(shared, ask, &mut explanation)) {
        refused(&no, &mut explanation);
    }
    Ok(explanation)
}

/// The request that the question is about, where the listener reads requests.
fn request(serving: &Serving, question: &Question) -> Result<Option<Imagined>, String> {
    let Question { host, path, cookie, headers, sni, .. } = question;
    let words = [host, path, cookie, headers, sni].map(Option::as_deref);
    match serving.listener.protocol {
        ListenProtocol::Http | ListenProtocol::Https => {
            let [host, path, cookie, headers, sni] = words;
            http::imagine(Words { host, path, cookie, headers, sni }, serving).map(Some)
        }
        ListenProtocol::Tcp | ListenProtocol::Udp if words.iter().all(Option::is_none) => Ok(None),
        ListenProtocol::Tcp | ListenProtocol::Udp => {
            let name = &serving.listener.name;
            Err(format!(
                "listener \"{name}\" reads no host, path or cookie, no other field and no `sni`: it is of another protocol"
            ))
        }
    }
}

/// Says that a listener is drained.
pub(super) fn drained(listener: &Listener) -> Explanation {
    let considered = Considered {
        what: "listener".to_owned(),
        name: listener.name.to_string(),
        passed_over: Some(PassedOver::Draining.as_str().to_owned()),
        ..Considered::default()
    };
    Explanation {
        listener: listener.name.to_string(),
        vnet: vnet(listener).map(Name::to_string),
        considered: vec![considered],
        reason: Some("no_place".to_owned()),
        detail: Some("the listener accepts nothing new: it is drained".to_owned()),
        ..Explanation::default()
    }
}

/// The VNet in which each flow goes where it was for.
fn vnet(listener: &Listener) -> Option<&Name> {
    match &listener.leads {
        Leads::LoadBalancer(_) => None,
        Leads::Destination { vnet } => Some(vnet),
    }
}

/// Where the flow would be for, if that matters.
fn destination(listener: &Listener, question: &Question) -> Result<Option<SocketAddr>, String> {
    let name = &listener.name;
    match (vnet(listener), question.destination.as_deref()) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(format!("listener \"{name}\" has a load balancer: no `destination` matters there")),
        (Some(_), None) => {
            Err(format!("listener \"{name}\" leads each flow where it was for: say which `destination`"))
        }
        (Some(_), Some(text)) => {
            let read = text.parse().map_err(|_| format!("`destination` {text:?} is no IP:PORT"));
            read.map(Some)
        }
    }
}

/// Which rule matched, counted from 1.
fn rule(listener: &Listener, flow: &FlowKey<'_>) -> Option<usize> {
    let rule = routing::rule(listener, flow.host.unwrap_or(""), flow.paths)?;
    listener.http.rules.iter().position(|other| std::ptr::eq(other, rule)).map(|at| at + 1)
}

fn decided(shared: &Shared, ask: &Ask<'_, '_>, explanation: &mut Explanation) {
    let (place, trace) = shared.balancer.explain(ask, &mut rand::rng());
    explanation.considered = considered(&trace, usize::MAX);
    explanation.considered.extend(held_back(shared, ask));
    let placed = match place {
        Ok(placed) => placed,
        Err(no) => return refused(&no, explanation),
    };
    let explain::Place { pool, origin, link, connector, by } = told(&placed);
    (explanation.pool, explanation.origin, explanation.by) = (Some(pool), Some(origin), Some(by));
    (explanation.link, explanation.connector) = (link, connector);
    let mut tried = Tried::default();
    let mut last = placed;
    while explanation.next.len() < NEXT_MAX {
        tried.path(last.origin.key, last.path.via(), Reason::LinkLost);
        let again = Ask { tried: &tried, ..*ask };
        let Ok(next) = shared.balancer.explain(&again, &mut rand::rng()).0 else { return };
        explanation.next.push(told(&next));
        last = next;
    }
}

/// Links that would lead to an origin of the load balancer, were they not drained: what is placed goes by routes, where they have
/// none meanwhile.
fn held_back(shared: &Shared, ask: &Ask<'_, '_>) -> Vec<Considered> {
    let links = shared.links.borrow().clone();
    let origins = || ask.balancer.all_pools(ask.view).flat_map(PoolView::origins);
    let leads = |route: &Route| {
        origins().any(|OriginView { origin, .. }| {
            let is_covered = match &origin.address.host {
                Host::Ip(ip) => route.cidr.contains(*ip),
                Host::Name(_) => true,
            };
            is_covered && origin.vnet.as_ref() == Some(&route.vnet)
        })
    };
    let tunnels = links.tunnels.iter().filter(|tunnel| tunnel.routes.iter().any(leads));
    let held_back = tunnels.flat_map(|tunnel| &tunnel.links).filter(|link| link.load.is_drained());
    let one = |link: &Arc<Link>| Considered {
        what: "path".to_owned(),
        name: format!("{} of {}", link.id, link.connector),
        load: Some(link.load.streams()),
        passed_over: Some(PassedOver::Draining.as_str().to_owned()),
        ..Considered::default()
    };
    held_back.map(one).collect()
}

fn refused(no: &NoPlace, explanation: &mut Explanation) {
    explanation.reason = Some(no.reason.map_or("no_place", Reason::as_str).to_owned());
    explanation.detail = no.detail.as_deref().map(str::to_owned);
}
