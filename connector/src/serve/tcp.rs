//! One TCP stream: permit, dial, reply, splice.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use net::{Socket, resolve};
use protocol::{
    error::{Reason, StreamCode},
    flow_id::FlowId,
    id::{Host, Name, Target},
    splice::{self, Count, Manner, Stream},
    stream::{OpenTcp, Reply, Stages},
    windows::Windows,
};
use tokio::time;
use tracing::{debug, field, info};

use super::{Permit, Service, millis};

/// A dial that did not succeed: nothing was delivered.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) text: String,
}

pub(super) async fn serve(service: &Service, open: OpenTcp, mut stream: Stream, windows: &Arc<Windows>) {
    let started = Instant::now();
    let dialled = tokio::select! {
        dialled = time::timeout(open.wait, dial(service, &open)) => dialled,
        // The edge no longer waits: an origin that accepts later must not be kept.
        _ = stream.send.stopped() => return stream.cut(StreamCode::Cancelled),
    };
    let late = || Refused { reason: Reason::ConnectTimeout, text: format!("{} did not answer in time", open.target) };
    match dialled.unwrap_or_else(|_| Err(late())) {
        Ok((socket, stages)) => {
            if stream.send.write_chunk(Reply::accepted(open.flow, stages).encode()).await.is_err() {
                return socket.abort();
            }
            let _flow = service.metrics.flow();
            let origin = socket.peer_addr().ok();
            let permit = Permit::of(&open.vnet, &open.target, origin.into_iter().collect());
            let count = Count::default();
            let manner = Manner { source: origin.map(|at| at.ip()), count: count.clone(), ..Manner::default() };
            let ended = tokio::select! {
                carried = splice::splice(socket, stream, windows, manner) => service.metrics.carried(&carried),
                // What is dropped here is cut, both ways.
                () = service.rulings.withdrawn(&permit) => service.metrics.withdrawn(count.sent(), count.received()),
            };
            debug!(
                flow = open.flow.map(field::display), vnet = %open.vnet, target = %open.target, from_origin = count.sent(), to_origin = count.received(),
                ended, ms = millis(started.elapsed()), "flow ended"
            );
        }
        Err(refused) => refuse(service, (open.flow, &open.vnet, &open.target), stream, refused).await,
    }
}

pub(super) async fn refuse(
    service: &Service,
    (flow, vnet, target): (Option<FlowId>, &Name, &Target),
    mut stream: Stream,
    refused: Refused,
) {
    let flow = flow.map(field::display);
    let Refused { reason, text } = refused;
    service.metrics.refused(reason);
    let is_told = if reason == Reason::PolicyDenied { service.denials.may_say(Instant::now()) } else { None };
    match is_told {
        Some(untold) => info!(flow, %vnet, %target, text, untold, "an edge asked for a target that is not permitted"),
        None => debug!(flow, %vnet, %target, %reason, text, "dial failed"),
    }
    // The client's first bytes are not wanted any more; an edge that is gone does not read the reply either.
    let _ = stream.recv.stop(StreamCode::Cancelled);
    if stream.send.write_chunk(Reply::Refused { reason, text }.encode()).await.is_ok() {
        let _ = stream.send.finish();
        let _ = stream.send.stopped().await;
    }
}

/// Permits and dials; of several permitted addresses the first that accepts.
async fn dial(service: &Service, open: &OpenTcp) -> Result<(Socket, Stages), Refused> {
    let started = Instant::now();
    let Permitted { addresses, stages } = permitted(service, (&open.vnet, &open.target), open.wait).await?;
    let (left, dialling) = (open.wait.saturating_sub(started.elapsed()), Instant::now());
    // A map changes addresses, never ports.
    let at = |ip| SocketAddr::new(ip, open.target.port);
    let ips = addresses.iter().map(SocketAddr::ip).collect();
    let dialled = service.racer.race(ips, left, |ip| service.network.dial(at(ip))).await;
    let socket = dialled.map_err(|last| match last {
        Some((ip, error)) => Refused { reason: Reason::of_dial(&error), text: format!("{}: {error}", at(ip)) },
        None => Refused { reason: Reason::DnsFailed, text: format!("{} has no address", open.target) },
    })?;
    Ok((socket, Stages { dial: dialling.elapsed(), ..stages }))
}

/// The addresses of a target that may be dialled, and how long it took to find them.
pub(super) struct Permitted {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) stages: Stages,
}

/// The addresses of a target that may be dialled; a name may take its share of the time that all of it may take.
pub(super) async fn permitted(
    service: &Service,
    (vnet, target): (&Name, &Target),
    wait: Duration,
) -> Result<Permitted, Refused> {
    let began = Instant::now();
    let denied = |text: String| Refused { reason: Reason::PolicyDenied, text };
    let name = match &target.host {
        Host::Ip(ip) => {
            let one = service.rulings.current().policy.permit_address(vnet, *ip, target.port);
            let address = one.map_err(|d| denied(d.to_string()))?;
            let stages = Stages { permit: began.elapsed(), ..Stages::default() };
            return Ok(Permitted { addresses: vec![address], stages });
        }
        Host::Name(name) => name,
    };
    let resolved = service.resolver.resolve_within(name, resolve::share(wait)).await;
    let resolved = resolved.map_err(|text| Refused { reason: Reason::DnsFailed, text })?;
    let resolve = began.elapsed();
    // The one that is in force by then, and one for all addresses.
    let ruling = service.rulings.current();
    let (mut allowed, mut refusal) = (Vec::new(), None);
    for ip in resolved {
        match ruling.policy.permit_resolved(vnet, ip, target.port) {
            Ok(address) => allowed.push(address),
            Err(d) => refusal = Some(denied(d.to_string())),
        }
    }
    match refusal {
        Some(refusal) if allowed.is_empty() => Err(refusal),
        Some(_) | None => {
            let stages = Stages { resolve: Some(resolve), permit: began.elapsed() - resolve, ..Stages::default() };
            Ok(Permitted { addresses: allowed, stages })
        }
    }
}
