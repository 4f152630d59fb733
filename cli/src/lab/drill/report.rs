//! What a drill says: a line when something is broken, a line of what clients saw, a table at the end, JSON. Pure.

use std::fmt::{self, Write};

use rig::judge::{self, Findings, Promise};
use serde::Serialize;

/// Samples that broke a promise and are told in full.
const EXAMPLES_MAX: usize = 5;

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
    figures: Figures,
    /// From the restart of what was killed until every edge found everything healthy again; absent: nothing was killed, or
    /// it never came back.
    pub(super) back_ms: Option<u64>,
}

/// What clients saw in one step, as programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Figures {
    /// Of all protocols.
    total: Counts,
    http: Counts,
    tcp: Counts,
    udp: Counts,
    /// Long flows that broke with it.
    flows_cut: usize,
    /// Long flows that were open when it was killed and went on.
    flows_unharmed: usize,
    /// The first of what failed, was late or wrong, in words.
    examples: Vec<String>,
}

/// How many exchanges came to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Counts {
    /// New connections, and requests or questions on kept ones.
    requests: usize,
    /// Blocks through long flows.
    blocks: usize,
    /// Failed without excuse.
    failed: usize,
    /// Served, and too late, without excuse.
    late: usize,
    /// Wrong bytes or a wrong answerer.
    wrong: usize,
    /// Broke with the killed part.
    cut: usize,
    /// Questions asked again, since UDP may lose them.
    repeats: u64,
    /// Until, for a second, nothing new failed or waited any more; from the kill, of an edge from its restart.
    recovered_ms: u64,
}

impl From<&Findings> for Figures {
    fn from(findings: &Findings) -> Self {
        let examples =
            findings.broken.iter().filter(|(promise, _)| is_of_a_sample(*promise)).map(|(_, told)| told.clone());
        Self {
            total: (&findings.total).into(),
            http: (&findings.http).into(),
            tcp: (&findings.tcp).into(),
            udp: (&findings.udp).into(),
            flows_cut: findings.flows_cut,
            flows_unharmed: findings.flows_unharmed,
            examples: examples.take(EXAMPLES_MAX).collect(),
        }
    }
}

impl From<&judge::Counts> for Counts {
    fn from(counts: &judge::Counts) -> Self {
        let judge::Counts { requests, blocks, failed, late, wrong, cut, repeats, felt } = *counts;
        let recovered_ms = u64::try_from(felt.as_millis()).unwrap_or(u64::MAX);
        Self { requests, blocks, failed, late, wrong, cut, repeats, recovered_ms }
    }
}

impl Counts {
    /// Everything that was sent.
    fn sent(&self) -> usize {
        self.requests + self.blocks
    }
}

/// Whether it is a client's single exchange that tells of it, and not something beside the clients.
fn is_of_a_sample(promise: Promise) -> bool {
    match promise {
        Promise::Right | Promise::Served | Promise::Prompt | Promise::Left | Promise::Recovered => true,
        Promise::Once | Promise::Told | Promise::Memory | Promise::Alone => false,
    }
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
    /// Says in words what broke the promise.
    pub(super) fn new(subject: Subject, findings: &Findings, back_ms: Option<u64>) -> Self {
        let figures = Figures::from(findings);
        let mut why = Vec::new();
        let mut check = |count: usize, what: &str| {
            if count > 0 {
                why.push(format!("{count} {what}"));
            }
        };
        check(figures.total.failed, "failed without excuse");
        check(figures.total.late, "waited longer than a second without excuse");
        check(figures.total.wrong, "got wrong bytes");
        if subject.kills && figures.flows_unharmed == 0 {
            why.push("no long flow went on, so nothing is proved".to_owned());
        }
        for (protocol, counts) in protocols(&figures) {
            if counts.requests == 0 {
                why.push(format!("no client got to ask anything over {protocol}"));
            }
        }
        why.extend(
            findings.broken.iter().filter(|(promise, _)| !is_of_a_sample(*promise)).map(|(_, told)| told.clone()),
        );
        let Subject { broke, promise, kills: _ } = subject;
        let held = why.is_empty() && findings.broken.is_empty();
        Self { broke, promise: promise.to_owned(), held, why, figures, back_ms }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { total, flows_cut, flows_unharmed, examples, .. } = &self.figures;
        write!(f, "   {}", verdict(self.held))?;
        for (protocol, counts) in protocols(&self.figures) {
            let Counts { failed, cut, repeats, .. } = counts;
            write!(f, "  {protocol}: sent {}, failed {failed}", counts.sent())?;
            write_unless_zero(f, u64::try_from(*cut).unwrap_or(u64::MAX), "cut")?;
            write_unless_zero(f, *repeats, "asked again")?;
            f.write_str(";")?;
        }
        write!(f, "  late {}, wrong {}", total.late, total.wrong)?;
        if flows_cut + flows_unharmed > 0 {
            write!(f, "; of the long flows {flows_cut} cut, {flows_unharmed} unharmed")?;
            write!(f, "; recovered in {} ms", total.recovered_ms)?;
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
            "\n{:<width$} {:>9} {:>9} {:>9} {:>5} {:>5} {:>5} {:>9} {:>8}",
            "broken", "http", "tcp", "udp", "cut", "late", "wrong", "recovered", "promise"
        )?;
        for Step { broke, held, figures, .. } in &self.steps {
            write!(text, "{broke:<width$}")?;
            for (_, counts) in protocols(figures) {
                write!(text, " {:>9}", format!("{}/{}", counts.failed, counts.sent()))?;
            }
            let Counts { cut, late, wrong, recovered_ms, .. } = figures.total;
            let (recovered, verdict) = (format!("{recovered_ms} ms"), verdict(*held));
            writeln!(text, " {cut:>5} {late:>5} {wrong:>5} {recovered:>9} {verdict:>8}")?;
        }
        writeln!(text, "http, tcp, udp: failed/sent (requests; connections and blocks of 4 KiB; questions)")?;
        writeln!(text, "cut: a TCP flow on what was killed, or sent to an edge while it was dead")?;
        let kept = self.steps.iter().filter(|step| step.held).count();
        writeln!(text, "{kept} of {} promises held, in {:.1} s", self.steps.len(), self.seconds)
    }
}

fn protocols(figures: &Figures) -> [(&'static str, &Counts); 3] {
    [("http", &figures.http), ("tcp", &figures.tcp), ("udp", &figures.udp)]
}

fn write_unless_zero(f: &mut fmt::Formatter<'_>, count: u64, what: &str) -> fmt::Result {
    if count > 0 { write!(f, ", {what} {count}") } else { Ok(()) }
}

fn verdict(held: bool) -> &'static str {
    if held { "held" } else { "BROKEN" }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rig::judge::Counts;

    use super::*;

    fn subject() -> Subject {
        Subject { broke: "kill -9 connector-1".to_owned(), promise: "nobody else feels it", kills: true }
    }

    fn findings() -> Findings {
        let requests = |requests| Counts { requests, ..Counts::default() };
        Findings {
            total: Counts {
                requests: 1300,
                blocks: 1200,
                cut: 7,
                repeats: 5,
                felt: Duration::from_millis(312),
                ..Counts::default()
            },
            http: requests(800),
            tcp: Counts { blocks: 1200, cut: 7, ..requests(100) },
            udp: Counts { repeats: 5, ..requests(400) },
            flows_cut: 6,
            flows_unharmed: 14,
            ..Findings::default()
        }
    }

    #[test]
    fn a_step_without_harm_holds() {
        let step = Step::new(subject(), &findings(), Some(640));
        assert!(step.held);
        assert_eq!(
            step.to_string(),
            "   held  http: sent 800, failed 0;  tcp: sent 1300, failed 0, cut 7;  udp: sent 400, failed 0, asked again 5;  \
             late 0, wrong 0; of the long flows 6 cut, 14 unharmed; recovered in 312 ms; all healthy 640 ms after its \
             return\n"
        );
    }

    #[test]
    fn each_harm_breaks_the_promise_and_is_named() {
        let one = |change: fn(&mut Findings)| {
            let mut findings = findings();
            change(&mut findings);
            Step::new(subject(), &findings, None)
        };
        for (step, named) in [
            (one(|f| f.total.failed = 2), "2 failed"),
            (one(|f| f.total.late = 1), "1 waited"),
            (one(|f| f.total.wrong = 3), "3 got wrong bytes"),
            (one(|f| f.flows_unharmed = 0), "nothing is proved"),
            (one(|f| f.http.requests = 0), "no client got to ask anything over http"),
            (one(|f| f.udp.requests = 0), "no client got to ask anything over udp"),
            (one(|f| f.broken.push((Promise::Alone, "edge-2 ended".to_owned()))), "edge-2 ended"),
        ] {
            assert!(!step.held);
            assert!(step.why.len() == 1 && step.why[0].contains(named), "{:?}", step.why);
            assert!(step.to_string().starts_with("   BROKEN  "));
        }
    }

    #[test]
    fn the_table_and_the_json_show_every_step() {
        let good = Step::new(subject(), &findings(), None);
        let broken = vec![(Promise::Right, "red was answered by blue".to_owned())];
        let findings = Findings { total: Counts { wrong: 1, ..findings().total }, broken, ..findings() };
        let bad = Step::new(subject(), &findings, None);
        let report = Report { held: false, seconds: 27.04, steps: vec![good, bad] };
        let table = report.table();
        assert!(
            table
                .contains("\nkill -9 connector-1     0/800    0/1300     0/400     7     0     0    312 ms     held\n"),
            "{table}"
        );
        assert!(table.ends_with("1 of 2 promises held, in 27.0 s\n"), "{table}");
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("it is JSON");
        assert_eq!(json["held"], false);
        assert_eq!(json["steps"][1]["total"]["wrong"], 1);
        assert_eq!(json["steps"][0]["total"]["recovered_ms"], 312);
        assert_eq!(json["steps"][1]["examples"][0], "red was answered by blue");
    }
}
