//! `explain --flow ID`: what became of a flow that did not go well at once.

use api::explain::{Attempt, Flow, Flows};

use super::{considered, way};

/// As people read it, the newest first.
pub(super) fn text(Flows { flows, .. }: &Flows) -> String {
    let all: Vec<String> = flows.iter().map(one).collect();
    all.join("\n")
}

fn one(flow: &Flow) -> String {
    let Flow { kind, listener, source, because, ended_at, ended, .. } = flow;
    let mut text = format!("{kind} {} at listener {listener}, from {source}: {}\n", flow.flow, because.join(", "));
    if let Some(method) = &flow.method {
        let (host, path) = (flow.host.as_deref().unwrap_or("-"), flow.path.as_deref().unwrap_or("-"));
        let status = flow.status.map_or_else(String::new, |status| format!(" → {status}"));
        text += &format!("  {method} {host} {path}{status}\n");
    }
    if let Some(waited) = flow.waited_ms {
        text += &format!("  waited {waited} ms for a place\n");
    }
    flow.attempts.iter().for_each(|attempt| text += &tried(attempt));
    for (what, time) in [("connected in", flow.connect_ms), ("first byte after", flow.first_byte_ms)] {
        if let Some(time) = time {
            text += &format!("  {what} {time} ms\n");
        }
    }
    text +=
        &format!("  over at {ended_at} after {} ms: {ended}{}\n", flow.duration_ms, why(&flow.reason, &flow.detail));
    if !flow.considered.is_empty() {
        text += &format!("\n{}", considered(&flow.considered));
    }
    text
}

fn tried(attempt: &Attempt) -> String {
    let Attempt { pool, origin, link, connector, failed_after_ms, reason, detail } = attempt;
    let way = way(link.as_deref(), connector.as_deref());
    let what = match failed_after_ms {
        Some(after) => format!("tried in vain until {after} ms"),
        None => "tried".to_owned(),
    };
    format!("  {what}: origin {origin} of pool {pool}, {way}{}\n", why(reason, detail))
}

fn why(reason: &Option<String>, detail: &Option<String>) -> String {
    let part = |part: &Option<String>| part.as_ref().map_or_else(String::new, |part| format!(": {part}"));
    part(reason) + &part(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_told_in_its_order() {
        let attempt = |origin: &str, failed: Option<f64>| Attempt {
            pool: "web".to_owned(),
            origin: origin.to_owned(),
            link: Some("l1".to_owned()),
            connector: Some("dc1".to_owned()),
            failed_after_ms: failed,
            reason: failed.map(|_| "connect_refused".to_owned()),
            detail: None,
        };
        let flow = Flow {
            flow: "a1".to_owned(),
            kind: "request".to_owned(),
            listener: "www".to_owned(),
            source: "192.0.2.1:1".to_owned(),
            because: vec!["retried".to_owned()],
            method: Some("GET".to_owned()),
            host: Some("a.example".to_owned()),
            path: Some("/x".to_owned()),
            status: Some(200),
            attempts: vec![attempt("web-1", Some(3.5)), attempt("web-2", None)],
            connect_ms: Some(1.0),
            duration_ms: 9.0,
            ended: "finished".to_owned(),
            ended_at: "2026-12-01T00:00:00Z".to_owned(),
            ..Flow::default()
        };
        assert_eq!(
            text(&Flows { flow: "a1".to_owned(), flows: vec![flow] }),
            "request a1 at listener www, from 192.0.2.1:1: retried\n  GET a.example /x → 200\n\
             \x20 tried in vain until 3.5 ms: origin web-1 of pool web, over link l1 of dc1: connect_refused\n\
             \x20 tried: origin web-2 of pool web, over link l1 of dc1\n  connected in 1 ms\n\
             \x20 over at 2026-12-01T00:00:00Z after 9 ms: finished\n"
        );
    }
}
