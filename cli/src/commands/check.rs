//! `check FILE…`: all that is wrong with files of edges and connectors, without starting anything.

use std::path::PathBuf;

use config::Mistakes;

use crate::{failure::Failure, output, settings_file::Settings};

pub(super) fn run(files: &[PathBuf]) -> Result<(), Failure> {
    let mut wrong: Vec<Mistakes> = Vec::new();
    for file in files {
        match Settings::read(file) {
            Ok(settings) => output::print(&format!("{}: ok ({})\n", file.display(), settings.whose()))?,
            Err(mistakes) => wrong.push(mistakes),
        }
    }
    let Some(last) = wrong.pop() else { return Ok(()) };
    wrong.into_iter().for_each(|mistakes| output::complain(&mistakes.into()));
    Err(last.into())
}
