//! `explain LISTENER`: where a running edge would send a flow now, and what it weighs for that; `explain --flow ID`: where it did.

mod flow;

use api::explain::{Considered, EXPLAIN, Explanation, Place, Question};

use super::table::Table;
use crate::{
    admin::AdminEndpoint,
    args::{Common, ExplainArgs},
    failure::Failure,
    lifecycle, output,
};

pub(super) fn run(common: &Common, flags: &ExplainArgs) -> Result<(), Failure> {
    let asked = flags.said.question(flags.listener.as_deref().unwrap_or_default());
    let question = Question { flow: flags.flow.clone(), ..asked };
    let query = serde_urlencoded::to_string(&question).map_err(|error| Failure::Failed(error.to_string()))?;
    let edge = AdminEndpoint::find(common, &flags.admin)?;
    let answer = lifecycle::runtime()?.block_on(edge.get(&format!("{EXPLAIN}?{query}")))?;
    if flags.json {
        let text = String::from_utf8_lossy(&answer);
        return output::print(&format!("{}\n", text.trim_end()));
    }
    let misunderstood =
        |error: serde_json::Error| Failure::Failed(format!("the explanation cannot be understood: {error}"));
    if flags.flow.is_some() {
        return output::print(&flow::text(&serde_json::from_slice(&answer).map_err(misunderstood)?));
    }
    output::print(&text(&serde_json::from_slice(&answer).map_err(misunderstood)?))
}

/// As people read it.
fn text(explanation: &Explanation) -> String {
    let Explanation { listener, load_balancer, vnet, rule, certificate, considered, reason, detail, next, .. } =
        explanation;
    let by = rule.map_or_else(|| "its own".to_owned(), |rule| format!("by rule {rule}"));
    let leads = match (load_balancer, vnet) {
        (Some(load_balancer), _) => format!("load balancer {load_balancer} ({by})"),
        (None, vnet) => format!("where the flow was for, in VNet {}", vnet.as_deref().unwrap_or_default()),
    };
    let mut text = format!("listener {listener}, {leads}\n");
    if let Some(certificate) = certificate {
        text += &format!("its client is shown {certificate}\n");
    }
    text.push('\n');
    if !considered.is_empty() {
        text += &self::considered(considered);
        text.push('\n');
    }
    match (place(explanation), reason) {
        (Some(place), _) => text += &format!("goes to {}\n", spelt(&place)),
        (None, Some(reason)) => {
            let detail = detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            text += &format!("there is no place for it: {reason}{detail}\n");
        }
        (None, None) => text += "there is no place for it\n",
    }
    for place in next {
        text += &format!("then to {}\n", spelt(place));
    }
    text
}

fn considered(all: &[Considered]) -> String {
    let mut table = Table::new("considered", &["WHAT", "NAME", "HEALTH", "WEIGHT", "SHARE", "LOAD", "OUTCOME"]);
    all.iter().for_each(|one| table.row(row(one)));
    table.text()
}

/// Where it goes, if it goes anywhere.
fn place(explanation: &Explanation) -> Option<Place> {
    let Explanation { pool, origin, link, connector, by, .. } = explanation.clone();
    Some(Place { pool: pool?, origin: origin?, link, connector, by: by.unwrap_or_default() })
}

fn row(one: &Considered) -> [String; 7] {
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let share = one.share.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0));
    let health = match &one.reason {
        Some(reason) => format!("{} ({reason})", one.health),
        None => one.health.clone(),
    };
    let outcome = one.passed_over.as_ref().map_or_else(|| "chosen".to_owned(), |why| format!("passed over: {why}"));
    let load = one.load.map_or_else(String::new, |load| load.to_string());
    [one.what.clone(), one.name.clone(), health, number(one.weight), share, load, outcome]
}

fn spelt(Place { pool, origin, link, connector, by }: &Place) -> String {
    let way = way(link.as_deref(), connector.as_deref());
    format!("origin {origin} of pool {pool}, {way} ({by})")
}

fn way(link: Option<&str>, connector: Option<&str>) -> String {
    match (link, connector) {
        (Some(link), Some(connector)) => format!("over link {link} of {connector}"),
        (Some(link), None) => format!("over link {link}"),
        (None, _) => "directly".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_told_with_what_it_passed_over() {
        let pool = |name: &str, passed_over: Option<&str>| Considered {
            what: "pool".to_owned(),
            name: name.to_owned(),
            health: "healthy".to_owned(),
            passed_over: passed_over.map(str::to_owned),
            ..Considered::default()
        };
        let word = |word: &str| Some(word.to_owned());
        let [pool_name, origin, by] = ["web", "web-1", "steering"].map(str::to_owned);
        let next = Place { pool: pool_name, origin, by, link: None, connector: None };
        let explanation = Explanation {
            listener: "www".to_owned(),
            rule: Some(2),
            load_balancer: word("main"),
            pool: word("web"),
            origin: word("web-1"),
            link: word("7"),
            connector: word("dc1"),
            by: word("steering"),
            considered: vec![pool("old", Some("critical")), pool("web", None)],
            next: vec![next],
            ..Explanation::default()
        };
        let text = text(&explanation);
        assert!(text.starts_with("listener www, load balancer main (by rule 2)\n"), "{text}");
        assert!(text.contains("passed over: critical") && text.contains("chosen"), "{text}");
        assert!(text.contains("goes to origin web-1 of pool web, over link 7 of dc1 (steering)\n"), "{text}");
        assert!(text.ends_with("then to origin web-1 of pool web, directly (steering)\n"), "{text}");
    }

    #[test]
    fn without_a_place_the_reason_is_told() {
        let explanation = Explanation {
            reason: Some("tunnel_down".to_owned()),
            detail: Some("no link is up".to_owned()),
            ..Explanation::default()
        };
        assert!(text(&explanation).ends_with("there is no place for it: tunnel_down: no link is up\n"));
    }
}
