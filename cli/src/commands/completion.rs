//! `completion SHELL`.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{args::Cli, failure::Failure, output};

pub(super) fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "underpass", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
