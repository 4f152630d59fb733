//! `check FILE…`: all that is wrong with files of edges and connectors, without starting anything.

use std::path::{Path, PathBuf};

use config::{FileKind, Mistakes};

use crate::{failure::Failure, output};

/// What is said of a file that could be anybody's.
const WHOSE: &str =
    "neither an edge's nor a connector's file: an edge's has [tunnel], a connector's has `edges` or [[route]]";

pub(super) fn run(files: &[PathBuf]) -> Result<(), Failure> {
    let mut wrong: Vec<Mistakes> = Vec::new();
    for file in files {
        match check(file) {
            Ok(whose) => output::print(&format!("{}: ok ({whose})\n", file.display()))?,
            Err(mistakes) => wrong.push(mistakes),
        }
    }
    let Some(last) = wrong.pop() else { return Ok(()) };
    wrong.into_iter().for_each(|mistakes| output::complain(&mistakes.into()));
    Err(last.into())
}

fn check(file: &Path) -> Result<&'static str, Mistakes> {
    let text = config::read(file)?;
    match config::kind(&text) {
        Some(FileKind::Edge) => edge::config::parse(&text, file).map(|_| "edge"),
        Some(FileKind::Connector) => connector::config::parse(&text, file).map(|_| "connector"),
        None => Err(Mistakes::of_file(file.to_owned(), WHOSE.to_owned())),
    }
}
