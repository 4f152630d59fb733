//! `reload`: what the settings of a running edge say now, told as differences, and put in force unless only that was asked.

use std::time::Duration;

use api::{
    code::Code,
    reload::{Change, RELOAD, Reload},
};

use crate::{
    admin::AdminEndpoint,
    args::{Common, ReloadArgs},
    failure::Failure,
    lifecycle, output,
};

/// Files may be on a slow file system, and addresses have to be let go of.
const WAIT: Duration = Duration::from_secs(25);

pub(super) fn run(common: &Common, flags: &ReloadArgs) -> Result<(), Failure> {
    let query = if flags.dry_run { "?dry_run=true" } else { "" };
    let endpoint = AdminEndpoint::find(common, &flags.admin)?.patient(WAIT);
    let answer = lifecycle::runtime()?.block_on(endpoint.post_checked(&format!("{RELOAD}{query}")))?;
    let reload: Reload = serde_json::from_slice(&answer).map_err(|error| {
        Failure::Failed(format!("what came of it cannot be understood: {error}")).coded(Code::StrangeAnswer)
    })?;
    if flags.json {
        output::print(&format!("{}\n", String::from_utf8_lossy(&answer).trim_end()))?;
    }
    if !reload.mistakes.is_empty() {
        return Err(Failure::Misconfigured(reload.mistakes));
    }
    if flags.json { Ok(()) } else { output::print(&text(&reload)) }
}

/// As people read it: what changes first.
fn text(reload: &Reload) -> String {
    let is_same = |change: &&Change| change.fate == "unchanged";
    let (same, other): (Vec<_>, Vec<_>) = reload.changes.iter().partition(is_same);
    let mut text: String = other.into_iter().chain(same).map(line).collect();
    for key in &reload.restart {
        text += &format!("{key}: differs, and changes only with a restart ({})\n", Code::NeedsRestart);
    }
    text += &match (reload.dry_run, reload.catalog_version) {
        (true, version) => format!("nothing was changed: catalog {version} stays in force\n"),
        (false, version) => format!("in force: catalog {version}\n"),
    };
    text
}

fn line(change: &Change) -> String {
    let Change { kind, name, fate, words } = change;
    let what = match fate.as_str() {
        "changed" if words.is_empty() => "what it names has changed".to_owned(),
        "changed" => words.join("; "),
        fate => fate.to_owned(),
    };
    format!("{} {name}: {what}\n", kind.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_told_before_what_does_not() {
        let change = |kind: &str, fate: &str, words: &[&str]| Change {
            kind: kind.to_owned(),
            name: "www".to_owned(),
            fate: fate.to_owned(),
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let changes = vec![
            change("listener", "unchanged", &[]),
            change("load_balancer", "changed", &[]),
            change("pool", "changed", &["origin web-3 added", "weight of web-1 1 → 0.5"]),
            change("monitor", "removed", &[]),
        ];
        let reload = Reload {
            applied: true,
            catalog_version: 7,
            changes,
            restart: vec!["admin".to_owned()],
            ..Reload::default()
        };
        assert_eq!(
            text(&reload),
            "load balancer www: what it names has changed\n\
             pool www: origin web-3 added; weight of web-1 1 → 0.5\n\
             monitor www: removed\n\
             listener www: unchanged\n\
             admin: differs, and changes only with a restart (UP-109)\n\
             in force: catalog 7\n"
        );
        let dry = Reload { dry_run: true, catalog_version: 6, ..Reload::default() };
        assert_eq!(text(&dry), "nothing was changed: catalog 6 stays in force\n");
    }
}
