//! `trace LISTENER`: has a running edge send a flow on its way, and prints how far it comes.

use std::time::Duration;

use api::trace::{Stage, TRACE, Trace};

use super::table::Table;
use crate::{
    admin::AdminEndpoint,
    args::{Common, TraceArgs},
    failure::Failure,
    lifecycle, output,
};

/// Longer than an edge takes for it.
const WAIT: Duration = Duration::from_secs(28);

pub(super) fn run(common: &Common, flags: &TraceArgs) -> Result<(), Failure> {
    let question = flags.said.question(&flags.listener);
    let query = serde_urlencoded::to_string(&question).map_err(|error| Failure::Failed(error.to_string()))?;
    let edge = AdminEndpoint::find(common, &flags.admin)?.patient(WAIT);
    let answer = lifecycle::runtime()?.block_on(edge.post(&format!("{TRACE}?{query}")))?;
    let trace: Trace = serde_json::from_slice(&answer)
        .map_err(|error| Failure::Failed(format!("the trace cannot be understood: {error}")))?;
    if flags.json {
        output::print(&format!("{}\n", String::from_utf8_lossy(&answer).trim_end()))?;
    } else {
        output::print(&text(&trace))?;
    }
    if trace.through { Ok(()) } else { Err(Failure::Failed(stopped(&trace))) }
}

/// As people read it.
fn text(trace: &Trace) -> String {
    let Trace { flow, listener, stages, through, total_ms, .. } = trace;
    let mut table = Table::new("stages", &["TRY", "STAGE", "MS", "", "WHAT"]);
    stages.iter().for_each(|stage| table.row(row(stage)));
    let mut text = format!("flow {flow} at listener {listener}\n\n{}", table.text());
    if *through {
        text += &format!("\nit came through, after {total_ms} ms\n");
    }
    text
}

fn row(stage: &Stage) -> [String; 5] {
    let Stage { stage, attempt, took_ms, failed, note } = stage;
    let attempt = if *attempt == 0 { String::new() } else { attempt.to_string() };
    let took = took_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.3}"));
    let mark = if *failed { "stopped" } else { "" };
    [attempt, stage.clone(), took, mark.to_owned(), note.clone().unwrap_or_default()]
}

/// Where it stopped, why, and what to do.
fn stopped(trace: &Trace) -> String {
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let detail = trace.detail.as_ref().filter(|detail| !detail.is_empty());
    let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
    let (stage, reason, advice) = (word(&trace.stopped_at), word(&trace.reason), word(&trace.advice));
    format!("it stopped at {stage}: {reason}{detail}\nwhat to do: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_stopped_is_told_with_what_to_do() {
        let stage = |stage: &str, failed| Stage {
            stage: stage.to_owned(),
            attempt: 1,
            took_ms: Some(1.5),
            failed,
            note: Some("a note".to_owned()),
        };
        let trace = Trace {
            flow: "a1".to_owned(),
            listener: "www".to_owned(),
            stages: vec![stage("place", false), stage("dial", true)],
            stopped_at: Some("dial".to_owned()),
            reason: Some("connect_refused".to_owned()),
            detail: Some("10.0.0.1:80".to_owned()),
            advice: Some("look there".to_owned()),
            ..Trace::default()
        };
        let text = text(&trace);
        assert!(
            text.contains("flow a1 at listener www") && text.contains("stopped") && text.contains("1.500"),
            "{text}"
        );
        assert_eq!(stopped(&trace), "it stopped at dial: connect_refused (10.0.0.1:80)\nwhat to do: look there");
    }
}
