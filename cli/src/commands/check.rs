//! `check FILE…`: all that is wrong with files of edges and connectors, and with the files they name, without starting
//! anything.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use config::{Mistake, Mistakes};
use edge::edge::{Finding, Findings};

use crate::{failure::Failure, output, settings_file::Settings};

pub(super) fn run(files: &[PathBuf]) -> Result<(), Failure> {
    let mut wrong: Vec<Failure> = Vec::new();
    for file in files {
        match checked(file) {
            Ok(text) => output::print(&text)?,
            Err(failure) => wrong.push(failure),
        }
    }
    let Some(last) = wrong.pop() else { return Ok(()) };
    wrong.iter().for_each(output::complain);
    Err(last)
}

/// What is printed of a file that is right.
fn checked(file: &Path) -> Result<String, Failure> {
    let text = config::read(file)?;
    let settings = Settings::parse(&text, file)?;
    let Findings { wrong, warnings } = match &settings {
        Settings::Edge(config) => Findings::of(config, SystemTime::now()),
        // It names nothing that has to be there.
        Settings::Connector(_) => Findings::default(),
    };
    let placed = |finding: &Finding, word: &str| {
        let is_it = |string: &str| finding.file().is_some_and(|named| config::beside(file, string) == named);
        config::at_string(&text, is_it, format!("{word}{}", finding.text))
    };
    let sorted = |findings: &[Finding], word| {
        let mut list: Vec<Mistake> = findings.iter().map(|finding| placed(finding, word)).collect();
        list.sort();
        Mistakes { file: file.to_owned(), list }
    };
    if !wrong.is_empty() {
        return Err(sorted(&wrong, "").into());
    }
    let warnings = sorted(&warnings, "warning: ").to_string();
    let warnings: String = warnings.lines().map(|line| format!("{line}\n")).collect();
    Ok(format!("{}: ok ({})\n{warnings}", file.display(), settings.whose()))
}
