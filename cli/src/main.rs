//! The binary `underpass`: reads the command line, starts the log, runs one command, and says how it ended.

mod admin;
mod args;
mod commands;
mod edge_file;
mod failure;
mod lab;
mod lifecycle;
mod limits;
mod logging;
mod notify;
mod output;
mod settings_file;

use std::process::ExitCode;

use args::{Cli, LogFormat};
use clap::Parser;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What runs on tells what it does; what answers only answers.
    let runs_on = cli.command.runs_on();
    let level = if runs_on { LevelFilter::INFO } else { LevelFilter::WARN };
    if let Err(failure) = logging::start(&cli.common.log, level) {
        output::complain(&failure);
        return failure.exit_code();
    }
    let is_json_to_its_end = runs_on && cli.common.log.format == LogFormat::Json;
    let Err(failure) = commands::run(cli) else { return ExitCode::SUCCESS };
    if is_json_to_its_end {
        logging::complain(&failure);
    } else {
        output::complain(&failure);
    }
    failure.exit_code()
}
