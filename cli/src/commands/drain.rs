//! `drain` and `undrain`: empties something at a running edge, waits until it is empty if that is wanted, and fills it again.

use std::{env, time::Duration};

use api::{
    code::Code,
    drain::{Asked, DRAINS, Done, Drain, Progress},
};
use serde_json::from_slice;
use tokio::time::{Instant, sleep};

use crate::{
    admin::AdminEndpoint,
    args::{Common, DrainArgs, DrainKind, DrainSubject, UndrainArgs},
    failure::Failure,
    lifecycle, output,
};

/// From one line of progress to the next.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) fn drain(common: &Common, flags: &DrainArgs) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, &flags.admin)?;
    let DrainArgs { subject, wait, timeout, json, .. } = flags;
    lifecycle::runtime()?.block_on(async {
        let answer = edge.post(&path(subject, |asked| Asked { who: user(), ..asked })?).await?;
        if *json {
            line(&String::from_utf8_lossy(&answer))?;
        } else {
            line(&drained(subject, &from_slice(&answer).map_err(not_understood)?))?;
        }
        if *wait { until_empty(&edge, subject, (*timeout, *json)).await } else { Ok(()) }
    })
}

pub(super) fn undrain(common: &Common, UndrainArgs { subject, json, admin }: &UndrainArgs) -> Result<(), Failure> {
    let edge = AdminEndpoint::find(common, admin)?;
    let path = path(subject, |asked| asked)?;
    let answer = lifecycle::runtime()?.block_on(edge.delete(&path))?;
    if *json {
        return line(&String::from_utf8_lossy(&answer));
    }
    let words = match from_slice(&answer).map_err(not_understood)? {
        Done { changed: true, .. } => "takes new flows again",
        Done { removed: true, .. } => "is not in the edge's settings any more",
        Done { .. } => "was not drained",
    };
    line(&format!("{} {words}", spelt(subject)))
}

/// Watches until nothing is left, a line a second.
async fn until_empty(
    edge: &AdminEndpoint,
    subject: &DrainSubject,
    (timeout, json): (Duration, bool),
) -> Result<(), Failure> {
    let (until, mut sample, mut left, mut told) = (Instant::now() + timeout, Duration::ZERO, None, false);
    loop {
        let sample_ms = u64::try_from(sample.as_millis()).ok();
        match edge.get(&path(subject, |asked| Asked { sample_ms, ..asked })?).await {
            Ok(answer) => {
                let progress: Progress = from_slice(&answer).map_err(not_understood)?;
                line(&if json {
                    String::from_utf8_lossy(&answer).into_owned()
                } else {
                    what_is_left(subject, &progress)
                })?;
                match progress {
                    Progress { flows: 0, older: false, .. } => return Ok(()),
                    Progress { drain: None, removed: false, .. } => {
                        let text = format!("{} is drained no longer", spelt(subject));
                        return Err(Failure::Failed(text).coded(Code::StillDraining));
                    }
                    Progress { flows, .. } => left = Some(flows),
                }
                told = false;
            }
            Err(failure) if failure.lasts() => return Err(failure),
            // An edge that is started again goes on draining.
            Err(failure) => {
                if !std::mem::replace(&mut told, true) {
                    output::complain(&failure);
                }
                sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
            }
        }
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            let flows = left.map_or_else(|| "nobody knows how many flows".to_owned(), count);
            let after = config::spell(timeout);
            let text = format!("{} still has {flows} after {after}; it stays drained", spelt(subject));
            return Err(Failure::Failed(text).coded(Code::StillDraining));
        }
        sample = LOOK_EVERY.min(rest);
    }
}

/// Where the edge is asked about something.
fn path(subject: &DrainSubject, with: impl FnOnce(Asked) -> Asked) -> Result<String, Failure> {
    let asked = Asked { kind: kind(subject.kind).to_owned(), name: subject.name.clone(), ..Asked::default() };
    let query = serde_urlencoded::to_string(with(asked)).map_err(Failure::failed)?;
    Ok(format!("{DRAINS}?{query}"))
}

fn kind(kind: DrainKind) -> &'static str {
    match kind {
        DrainKind::Connector => "connector",
        DrainKind::Origin => "origin",
        DrainKind::Pool => "pool",
        DrainKind::LoadBalancer => "load_balancer",
        DrainKind::Listener => "listener",
    }
}

fn spelt(subject: &DrainSubject) -> String {
    format!("{} {}", kind(subject.kind).replace('_', " "), subject.name)
}

/// Who asks: behind `sudo` the one who called it.
fn user() -> Option<String> {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok());
    named.filter(|user| !user.is_empty()).or_else(|| Some(format!("uid {}", rustix::process::getuid().as_raw())))
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::Failed(format!("the answer cannot be understood: {error}")).coded(Code::StrangeAnswer)
}

fn line(text: &str) -> Result<(), Failure> {
    output::print(&format!("{}\n", text.trim_end()))
}

fn drained(subject: &DrainSubject, done: &Done) -> String {
    let what = spelt(subject);
    match done {
        Done { changed: true, .. } => format!("{what} is drained: it takes nothing new"),
        Done { drain: Some(drain), .. } => format!("{what} is drained already, {}", because(drain)),
        Done { drain: None, .. } => format!("{what} is not in the edge's settings any more: it takes nothing new"),
    }
}

fn because(Drain { by, who, since }: &Drain) -> String {
    match (by.as_str(), who) {
        ("file", _) => format!("by the edge's settings, since {since}"),
        (_, Some(who)) => format!("by {who}, since {since}"),
        (_, None) => format!("since {since}"),
    }
}

fn what_is_left(subject: &DrainSubject, progress: &Progress) -> String {
    if progress.flows == 0 && progress.older {
        let what = spelt(subject);
        return format!("{what} has no flow here, and may have some in the process before, which has not ended");
    }
    if progress.flows == 0 {
        return format!("{} is empty", spelt(subject));
    }
    let oldest = progress.oldest_s.map_or_else(String::new, |age| format!(", the oldest {}", age_of(age)));
    let rate = progress.bytes_per_second.map_or_else(String::new, |rate| format!(", {}", speed(rate)));
    format!("{} left{oldest}{rate}", count(progress.flows))
}

fn count(flows: usize) -> String {
    if flows == 1 { "1 flow".to_owned() } else { format!("{flows} flows") }
}

/// In its two largest units.
fn age_of(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} m {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} m", whole / 3_600, whole % 3_600 / 60),
        86_400.. => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

fn speed(rate: f64) -> String {
    let (unit, size) = match rate {
        rate if rate >= 1e9 => ("GB/s", 1e9),
        rate if rate >= 1e6 => ("MB/s", 1e6),
        rate if rate >= 1e3 => ("kB/s", 1e3),
        _ => return format!("{rate:.0} B/s"),
    };
    format!("{:.1} {unit}", rate / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> DrainSubject {
        DrainSubject { kind: DrainKind::LoadBalancer, name: "www".to_owned() }
    }

    #[test]
    fn what_is_left_is_told_in_a_line() {
        let left = |flows, oldest_s, bytes_per_second| {
            what_is_left(&web(), &Progress { flows, oldest_s, bytes_per_second, ..Progress::default() })
        };
        assert_eq!(left(0, None, Some(0.0)), "load balancer www is empty");
        assert_eq!(left(1, Some(59.9), None), "1 flow left, the oldest 59 s");
        assert_eq!(left(12, Some(184.0), Some(1_234_567.0)), "12 flows left, the oldest 3 m 4 s, 1.2 MB/s");
        assert_eq!(left(2, Some(90_000.0), Some(999.0)), "2 flows left, the oldest 1 d 1 h, 999 B/s");
    }

    #[test]
    fn two_drains_are_told_as_one() {
        let drain = |by: &str, who: Option<&str>| {
            let (by, who) = (by.to_owned(), who.map(str::to_owned));
            Done { drain: Some(Drain { by, who, since: "then".to_owned() }), ..Done::default() }
        };
        assert_eq!(
            drained(&web(), &drain("api", Some("ann"))),
            "load balancer www is drained already, by ann, since then"
        );
        assert_eq!(
            drained(&web(), &drain("file", None)),
            "load balancer www is drained already, by the edge's settings, since then"
        );
        assert!(
            drained(&web(), &Done::default()).ends_with("not in the edge's settings any more: it takes nothing new")
        );
    }

    #[test]
    fn names_are_spelt_for_a_query() {
        let subject = DrainSubject { kind: DrainKind::Origin, name: "web/a b".to_owned() };
        let path = path(&subject, |asked| Asked { sample_ms: Some(1), ..asked }).expect("text");
        assert_eq!(path, "/api/v1/drains?kind=origin&name=web%2Fa+b&sample_ms=1");
    }
}
