//! The binary `underpass`: reads the command line, starts the log, runs one command, and says how it ended.

mod admin;
mod again;
mod args;
mod commands;
mod edge_file;
mod failure;
#[cfg(feature = "lab")]
mod lab;
mod lifecycle;
mod limits;
mod logging;
mod notify;
mod output;
mod settings_file;
mod watchdog;

use std::process::ExitCode;

use args::Read;

fn main() -> ExitCode {
    let cli = match args::read() {
        Ok(cli) => cli,
        Err(Read::Done) => return ExitCode::SUCCESS,
        Err(Read::Failed(failure)) => {
            output::complain(&failure);
            return failure.exit_code();
        }
    };
    // What runs on tells what it does; what answers only answers.
    let runs_on = cli.command.runs_on();
    let log = cli.common.log.clone();
    let in_json = cli.command.answers_in_json();
    let started = if runs_on { logging::start_running(&log) } else { logging::start(&log) };
    if let Err(failure) = started {
        output::complain(&failure);
        return failure.exit_code();
    }
    let ended = commands::run(cli);
    let code = match &ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if runs_on {
                logging::complain(failure, log.format);
            } else if in_json {
                output::complain_in_json(failure);
            } else {
                output::complain(failure);
            }
            failure.exit_code()
        }
    };
    logging::flush();
    code
}
