//! `check FILE…`: all that is wrong with files of edges and connectors, and with the files they name, without starting
//! anything. `check --schema`: what an editor knows of such a file.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use config::{Mistake, Mistakes, Spec};
use connector::config::Doubt;
use edge::edge::Findings;

use crate::{
    args::{Common, Whose},
    failure::Failure,
    output,
    settings_file::Settings,
};

const WARNING: &str = "warning: ";

pub(super) fn run(common: &Common, mut files: Vec<PathBuf>) -> Result<(), Failure> {
    if files.is_empty() {
        files.extend(common.config.clone());
    }
    if files.is_empty() {
        return Err(Failure::Usage("check what? give files: underpass check edge.toml".to_owned()));
    }
    let mut wrong: Vec<Failure> = Vec::new();
    for file in files {
        match checked(&file) {
            Ok(text) => output::print(&text)?,
            Err(failure) => wrong.push(failure),
        }
    }
    let Some(last) = wrong.pop() else { return Ok(()) };
    wrong.iter().for_each(output::complain);
    Err(last)
}

/// The schema of a file, as it is documented.
pub(super) fn schema(whose: Whose) -> Result<(), Failure> {
    output::print(match whose {
        Whose::Edge => include_str!("../../../docs/schema/edge.json"),
        Whose::Connector => include_str!("../../../docs/schema/connector.json"),
    })
}

/// What is printed of a file that is right.
fn checked(file: &Path) -> Result<String, Failure> {
    let spec = Spec::read(file)?;
    let settings = Settings::of(&spec, file)?;
    let (wrong, warnings) = match &settings {
        Settings::Edge(settings) => {
            let findings = Findings::of(settings, SystemTime::now());
            (findings.mistakes(&spec, file), findings.warnings(&spec, file, WARNING))
        }
        // It names no file that has to be there.
        Settings::Connector(settings) => {
            let placed = |Doubt { entry, text: doubt }: Doubt| {
                spec.at_string(|string| string == entry, format!("{WARNING}{doubt}"))
            };
            (Vec::new(), settings.doubts().into_iter().map(placed).collect())
        }
    };
    let sorted = |mut list: Vec<Mistake>| {
        list.sort();
        Mistakes { list }
    };
    if !wrong.is_empty() {
        return Err(sorted(wrong).into());
    }
    let warnings = sorted(warnings).to_string();
    let warnings: String = warnings.lines().map(|line| format!("{line}\n")).collect();
    Ok(format!("{}: ok ({})\n{warnings}", file.display(), settings.whose()))
}
