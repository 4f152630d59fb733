//! `check FILE…`: all that is wrong with files of edges and connectors, and with the files they name, without starting
//! anything.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use edge::edge::Findings;

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
    let settings = Settings::read(file)?;
    let findings = match &settings {
        Settings::Edge(config) => Findings::of(config, SystemTime::now()),
        // It names nothing that has to be there.
        Settings::Connector(_) => Findings::default(),
    };
    let told = |line: &String| format!("{}: {line}\n", file.display());
    if !findings.wrong.is_empty() {
        return Err(Failure::Settings(findings.wrong.iter().map(told).collect()));
    }
    let warnings: String = findings.warnings.iter().map(|line| told(&format!("warning: {line}"))).collect();
    Ok(format!("{}: ok ({})\n{warnings}", file.display(), settings.whose()))
}
