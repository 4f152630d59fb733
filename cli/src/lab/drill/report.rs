//! What a drill says: a line when something is broken, a line of what clients saw, a table at the end, JSON. Pure.

use std::fmt::{self, Write};

use serde::Serialize;

use super::judge::Findings;

/// One step of a drill, judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// What was broken.
    pub(super) broke: String,
    /// What Underpass promises for that case.
    pub(super) promise: String,
    /// Whether it held.
    pub(super) held: bool,
    /// Why it did not; empty if it held.
    pub(super) why: Vec<String>,
    /// What clients saw.
    #[serde(flatten)]
    pub(super) findings: Findings,
    /// From the restart of what was killed until every edge found everything healthy again; absent: nothing was killed, or
    /// it never came back.
    pub(super) back_ms: Option<u64>,
}

/// What one step is about, before it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) broke: String,
    pub(super) promise: &'static str,
    /// Whether something is killed, which only proves something if there are survivors.
    pub(super) kills: bool,
}

impl Step {
    /// Judges: `amiss` is whatever went wrong beside the clients' view.
    pub(super) fn new(subject: Subject, findings: Findings, back_ms: Option<u64>, amiss: Vec<String>) -> Self {
        let mut why = Vec::new();
        let mut check = |count: usize, what: &str| {
            if count > 0 {
                why.push(format!("{count} {what}"));
            }
        };
        check(findings.failed, "failed without being on what was killed");
        check(findings.late, "waited longer than a second without being on what was killed");
        check(findings.wrong, "got wrong bytes");
        if subject.kills && findings.connections_unharmed == 0 {
            why.push("no established connection went on, so nothing is proved".to_owned());
        }
        if findings.requests == 0 {
            why.push("no client got to ask anything".to_owned());
        }
        why.extend(amiss);
        let Subject { broke, promise, kills: _ } = subject;
        Self { broke, promise: promise.to_owned(), held: why.is_empty(), why, findings, back_ms }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { requests, blocks, failed, late, wrong, cut, recovered_ms, .. } = &self.findings;
        let Findings { connections_cut, connections_unharmed, examples, .. } = &self.findings;
        let verdict = verdict(self.held);
        write!(
            f,
            "   {verdict}  sent {requests} requests and {blocks} blocks; failed {failed}, late {late}, wrong {wrong}"
        )?;
        let killed = connections_cut + connections_unharmed > 0;
        if killed {
            write!(f, "; cut with it {cut} (on {connections_cut} kept connections, {connections_unharmed} went on)")?;
            write!(f, "; recovered in {recovered_ms} ms")?;
        }
        if let Some(back_ms) = self.back_ms {
            write!(f, "; all healthy {back_ms} ms after its return")?;
        }
        writeln!(f)?;
        self.why.iter().try_for_each(|why| writeln!(f, "         {why}"))?;
        examples.iter().try_for_each(|example| writeln!(f, "         e.g. {example}"))
    }
}

/// A whole drill.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every promise did.
    pub(super) held: bool,
    /// How long it took, start and end of the lab included.
    pub(super) seconds: f64,
    /// In order.
    pub(super) steps: Vec<Step>,
}

impl Report {
    pub(super) fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and texts are always JSON");
        text.push('\n');
        text
    }

    /// The table at the end.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text).expect("writing to a string does not fail");
        text
    }

    fn write_table(&self, text: &mut String) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.broke.chars().count()).max().unwrap_or_default();
        writeln!(
            text,
            "\n{:<width$}  {:>8} {:>7} {:>6} {:>5} {:>5} {:>5} {:>9} {:>8}",
            "broken", "requests", "blocks", "failed", "late", "wrong", "cut", "recovered", "promise"
        )?;
        for Step { broke, held, findings, .. } in &self.steps {
            let Findings { requests, blocks, failed, late, wrong, cut, recovered_ms, .. } = findings;
            let (recovered, verdict) = (format!("{recovered_ms} ms"), verdict(*held));
            writeln!(
                text,
                "{broke:<width$}  {requests:>8} {blocks:>7} {failed:>6} {late:>5} {wrong:>5} {cut:>5} {recovered:>9} {verdict:>8}"
            )?;
        }
        writeln!(text, "cut: was on what was killed, in that moment; every other failure breaks a promise")?;
        let kept = self.steps.iter().filter(|step| step.held).count();
        writeln!(text, "{kept} of {} promises held, in {:.1} s", self.steps.len(), self.seconds)
    }
}

fn verdict(held: bool) -> &'static str {
    if held { "held" } else { "BROKEN" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject { broke: "kill -9 connector-1".to_owned(), promise: "nobody else feels it", kills: true }
    }

    fn findings() -> Findings {
        Findings {
            requests: 900,
            blocks: 1200,
            cut: 7,
            connections_cut: 6,
            connections_unharmed: 14,
            recovered_ms: 312,
            ..Findings::default()
        }
    }

    #[test]
    fn a_step_without_harm_holds() {
        let step = Step::new(subject(), findings(), Some(640), Vec::new());
        assert!(step.held);
        assert_eq!(
            step.to_string(),
            "   held  sent 900 requests and 1200 blocks; failed 0, late 0, wrong 0; cut with it 7 (on 6 kept connections, \
             14 went on); recovered in 312 ms; all healthy 640 ms after its return\n"
        );
    }

    #[test]
    fn each_harm_breaks_the_promise_and_is_named() {
        let one = |change: fn(&mut Findings)| {
            let mut findings = findings();
            change(&mut findings);
            Step::new(subject(), findings, None, Vec::new())
        };
        for (step, named) in [
            (one(|f| f.failed = 2), "2 failed"),
            (one(|f| f.late = 1), "1 waited"),
            (one(|f| f.wrong = 3), "3 got wrong bytes"),
            (one(|f| f.connections_unharmed = 0), "nothing is proved"),
            (one(|f| f.requests = 0), "no client"),
            (Step::new(subject(), findings(), None, vec!["edge-2 ended".to_owned()]), "edge-2 ended"),
        ] {
            assert!(!step.held);
            assert!(step.why.len() == 1 && step.why[0].contains(named), "{:?}", step.why);
            assert!(step.to_string().starts_with("   BROKEN  "));
        }
    }

    #[test]
    fn the_table_and_the_json_show_every_step() {
        let good = Step::new(subject(), findings(), None, Vec::new());
        let bad = Step::new(subject(), Findings { wrong: 1, ..findings() }, None, Vec::new());
        let report = Report { held: false, seconds: 27.04, steps: vec![good, bad] };
        let table = report.table();
        assert!(
            table.contains("\nkill -9 connector-1       900    1200      0     0     0     7    312 ms     held\n"),
            "{table}"
        );
        assert!(table.ends_with("1 of 2 promises held, in 27.0 s\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("it is JSON");
        assert_eq!(json["held"], false);
        assert_eq!(json["steps"][1]["wrong"], 1);
        assert_eq!(json["steps"][0]["recovered_ms"], 312);
    }
}
