//! One module a command. Each takes its flags and returns when it is done, or says why it failed.

mod age;
mod check;
mod completion;
mod connector;
mod connectors;
mod drain;
mod edge;
mod explain;
mod look;
mod ready;
mod reload;
mod status;
mod table;
mod token;
mod trace;

use crate::{
    args::{Cli, Command, ConnectorCommand, TokenCommand},
    failure::Failure,
};

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { common, command } = cli;
    match command {
        Command::Edge(flags) => edge::run(&common, &flags),
        Command::Connector(args) => match args.command {
            None => connector::run(&common, args.run),
            Some(ConnectorCommand::List(admin)) => connectors::list(&common, &admin),
            Some(ConnectorCommand::Revoke(revoke)) => connectors::revoke(&common, &revoke),
        },
        Command::Token(TokenCommand::Create(flags)) => token::create(&common, &flags),
        Command::Check { schema: Some(whose), .. } => check::schema(whose),
        Command::Check { files, schema: None } => check::run(&common, files),
        Command::Status(flags) => status::run(&common, &flags),
        Command::Explain(flags) => explain::run(&common, &flags),
        Command::Trace(flags) => trace::run(&common, &flags),
        Command::Reload(flags) => reload::run(&common, &flags),
        Command::Drain(flags) => drain::drain(&common, &flags),
        Command::Undrain(flags) => drain::undrain(&common, &flags),
        Command::Ready { admin } => ready::run(&common, admin.as_deref()),
        #[cfg(feature = "lab")]
        Command::Lab(args) => lab(args),
        Command::Completion { shell } => completion::run(shell),
    }
}

#[cfg(feature = "lab")]
fn lab(args: crate::lab::Args) -> Result<(), Failure> {
    use crate::lab::{Ended, run};

    match run(args).map_err(Failure::failed)? {
        Ended::Well => Ok(()),
        Ended::PromiseBroken => Err(Failure::Failed("a promise was broken".to_owned())),
    }
}
