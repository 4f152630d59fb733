//! The command line: every command, every flag, and the environment variable that stands for each.
//!
//! It only reads: what a flag means is checked by the room whose setting it is.

mod drain;
mod explain;
mod run;

use std::{convert::Infallible, io::ErrorKind, path::PathBuf, time::Duration};

use certs::secret::Secret;
use clap::{
    ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::Resettable,
    parser::ValueSource,
};
use clap_complete::Shell;
pub(crate) use drain::{DrainArgs, DrainKind, DrainSubject, UndrainArgs};
pub(crate) use explain::{ExplainArgs, TraceArgs};
use protocol::id::Name;
pub(crate) use run::{ConnectorRun, EdgeOverrides, EdgeRun};

use crate::{failure::Failure, output};

/// How long a join token lasts, unless told otherwise.
const TOKEN_LIFETIME: &str = "1h";

/// Load-balances public traffic over origins inside private networks, through tunnels that are dialled from inside.
#[derive(Debug, Parser)]
#[command(name = "underpass", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What a command line may be besides a command. A wrong one ends the process.
#[derive(Debug)]
pub(crate) enum Read {
    /// It asked for help or the version, and got it.
    Done,
    /// It asked, and that could not be printed.
    Failed(Failure),
}

/// Reads the command line and the variables.
pub(crate) fn read() -> Result<Cli, Read> {
    let matches = without_empty(Cli::command()).try_get_matches();
    matches.and_then(|matches| understood(&matches)).map_err(|error| {
        if error.use_stderr() {
            error.exit();
        }
        match error.print() {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Read::Failed(output::cannot_print(&e)),
            Ok(()) | Err(_) => Read::Done,
        }
    })
}

fn understood(matches: &ArgMatches) -> Result<Cli, clap::Error> {
    let mut cli = Cli::from_arg_matches(matches)?;
    if let (Command::Connector(args), Some(("connector", given))) = (&mut cli.command, matches.subcommand()) {
        match (given.value_source("token"), given.value_source("token_file")) {
            (Some(ValueSource::CommandLine), Some(ValueSource::CommandLine)) => {
                let words = "--token and --token-file each give a join token: give one of them\n";
                return Err(Cli::command().error(clap::error::ErrorKind::ArgumentConflict, words));
            }
            // A flag beats a variable, also one of another name.
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => args.run.token = None,
            _ => {}
        }
    }
    Ok(cli)
}

/// A variable that a container's template has left empty is not there.
fn without_empty(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty)
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The configuration file of the edge (or of the connector, for `underpass connector`)
    #[arg(short, long, global = true, env = "UNDERPASS_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// How to log.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogFlags {
    /// error, warn, info, debug, trace or off; or a filter such as "info,edge=debug,access=off"
    #[arg(long = "log-level", global = true, env = "UNDERPASS_LOG_LEVEL", value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// How log lines look
    #[arg(
        long = "log-format",
        global = true,
        env = "UNDERPASS_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an edge: the public relay that connectors dial and clients connect to
    Edge(EdgeRun),
    /// Run a connector inside a private network; or see and revoke connectors at an edge
    Connector(Box<ConnectorArgs>),
    /// Make join tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// Validate configuration files without starting anything
    Check {
        /// Files of edges or connectors; unless given the one that -c names
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Print the JSON Schema of such a file instead, for an editor that completes by it
        #[arg(long, env = "UNDERPASS_SCHEMA", value_name = "WHOSE", conflicts_with = "files")]
        schema: Option<Whose>,
    },
    /// Show tunnels, paths, origins, pools and load balancers of a running edge
    Status(StatusArgs),
    /// Have a running edge read its file again, say what differs, and wait until that is in force
    Reload(ReloadArgs),
    /// Say where a running edge would send a flow now, and why
    Explain(ExplainArgs),
    /// Have a running edge send a flow on its way, and say how far it comes; ends with 0 if it came through, else with 1
    Trace(TraceArgs),
    /// Let something at a running edge take nothing new, while what flows there goes on; it is kept over restarts
    Drain(DrainArgs),
    /// Let something that is drained take new flows again
    Undrain(UndrainArgs),
    /// Ask a running edge or connector whether it is ready, by its admin URL or its file; ends with 0 if it is, else with 1
    Ready {
        /// Its admin endpoint, such as http://127.0.0.1:7841; unless given it is read from its file
        #[arg(long, env = "UNDERPASS_ADMIN", value_name = "URL")]
        admin: Option<String>,
    },
    #[cfg(feature = "lab")]
    /// Try everything on this machine: two edges, three connectors and five origins on loopback
    Lab(crate::lab::Args),
    /// Print shell completion
    Completion {
        /// The shell to complete for
        shell: Shell,
    },
}

/// Whose settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Whose {
    /// An edge's
    Edge,
    /// A connector's
    Connector,
}

impl Command {
    /// Whether it stays until it is told to end, and logs meanwhile.
    pub(crate) fn runs_on(&self) -> bool {
        match self {
            Self::Edge(_) => true,
            Self::Connector(args) => args.command.is_none(),
            Self::Token(_)
            | Self::Check { .. }
            | Self::Status(_)
            | Self::Explain(_)
            | Self::Trace(_)
            | Self::Reload(_)
            | Self::Drain(_)
            | Self::Undrain(_)
            | Self::Ready { .. }
            | Self::Completion { .. } => false,
            #[cfg(feature = "lab")]
            Self::Lab(_) => false,
        }
    }

    /// Whether a program reads what it says.
    pub(crate) fn answers_in_json(&self) -> bool {
        match self {
            Self::Status(flags) => flags.json,
            Self::Explain(flags) => flags.json,
            Self::Trace(flags) => flags.json,
            Self::Reload(flags) => flags.json,
            Self::Drain(flags) => flags.json,
            Self::Undrain(flags) => flags.json,
            Self::Edge(_)
            | Self::Connector(_)
            | Self::Token(_)
            | Self::Check { .. }
            | Self::Ready { .. }
            | Self::Completion { .. } => false,
            #[cfg(feature = "lab")]
            Self::Lab(_) => false,
        }
    }
}

/// `connector`, alone or with a command of its own.
#[derive(Debug, Args)]
pub(crate) struct ConnectorArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ConnectorCommand>,
    #[command(flatten)]
    pub(crate) run: ConnectorRun,
}

/// What an edge is asked about connectors.
#[derive(Debug, Subcommand)]
pub(crate) enum ConnectorCommand {
    /// List the connectors of a running edge
    List(AdminArgs),
    /// Void every certificate and token of a connector and close its links
    Revoke(Revoke),
}

/// Which connector is revoked.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The connector
    pub(crate) name: Name,
    /// Also a name that the edge grants nothing (any more)
    #[arg(long, env = "UNDERPASS_FORCE")]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// What is done with join tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a join token; needs the edge's file and state directory, not a running edge
    Create(TokenCreate),
}

/// Flags of `token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// The connector that may join; the edge's file must grant it something
    pub(crate) name: Name,
    /// Write the bare token to this file, for its owner alone, instead of printing it; several files get a token each, and - prints it alone
    #[arg(long, env = "UNDERPASS_OUT", value_name = "FILE", value_delimiter = ',')]
    pub(crate) out: Vec<PathBuf>,
    /// How long the token may be used, at most 30d
    #[arg(long, env = "UNDERPASS_EXPIRES", value_name = "DURATION", default_value = TOKEN_LIFETIME,
        value_parser = config::duration)]
    pub(crate) expires: Duration,
    #[command(flatten)]
    pub(crate) over: EdgeOverrides,
}

/// Where the running edge is asked.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AdminArgs {
    /// The edge's admin endpoint, such as http://127.0.0.1:7842; unless given it is read from the edge's file
    #[arg(long, env = "UNDERPASS_ADMIN", value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// A file that holds the edge's admin token; unless given it is admin.token in the edge's state directory
    #[arg(long, env = "UNDERPASS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) over: EdgeOverrides,
}

/// Flags of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    /// Draw again each second, until interrupted
    #[arg(long, env = "UNDERPASS_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) watch: bool,
    /// Print a row for everything there is, however much that is
    #[arg(long, env = "UNDERPASS_ALL", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) all: bool,
    /// Only what fails
    #[arg(long, env = "UNDERPASS_UNHEALTHY", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) unhealthy: bool,
    /// Only this pool, and its origins
    #[arg(long, env = "UNDERPASS_POOL", value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// Only this connector, its links, and what is reached over them
    #[arg(long, env = "UNDERPASS_CONNECTOR", value_name = "NAME")]
    pub(crate) connector: Option<String>,
}

/// Flags of `reload`.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// Only say what would change
    #[arg(long, env = "UNDERPASS_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) dry_run: bool,
    /// Print the edge's answer as it is, in JSON
    #[arg(long, env = "UNDERPASS_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
}

/// A secret is not checked here: a parser's message would repeat it.
fn secret(text: &str) -> Result<Secret<String>, Infallible> {
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::command().try_get_matches_from(line.split_whitespace()).and_then(|matches| understood(&matches))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_flags_stand_before_or_after_the_command() {
        for line in [
            "underpass -c a.toml --log-level debug --log-format json connector list",
            "underpass connector -c a.toml list --log-level debug --log-format json",
            "underpass connector list -c a.toml --log-level debug --log-format json",
        ] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.common.config.as_deref(), Some("a.toml".as_ref()), "{line}");
            assert_eq!(cli.common.log.level.as_deref(), Some("debug"), "{line}");
            assert_eq!(cli.common.log.format, LogFormat::Json, "{line}");
        }
    }

    #[test]
    fn connector_runs_unless_a_command_follows() {
        let run = "underpass connector --token upt1_x --edge a:1 --edge b:2 --route v=10.0.0.0/8,w=10.0.0.0/8";
        let Ok(Cli { command: Command::Connector(args), .. }) = parse(run) else { panic!("{run}") };
        assert!(args.command.is_none());
        assert_eq!(args.run.token, Some(Secret::new("upt1_x".to_owned())));
        assert_eq!(args.run.edges, ["a:1", "b:2"]);
        assert_eq!(args.run.routes, ["v=10.0.0.0/8", "w=10.0.0.0/8"]);
        assert_eq!(args.run.grace.grace_period, Duration::from_secs(30));

        let revoke = "underpass connector revoke dc1 --admin http://127.0.0.1:1";
        let Ok(Cli { command: Command::Connector(args), .. }) = parse(revoke) else { panic!("{revoke}") };
        let Some(ConnectorCommand::Revoke(Revoke { name, force: false, admin })) = args.command else {
            panic!("{revoke}")
        };
        assert_eq!((name.as_str(), admin.admin.as_deref()), ("dc1", Some("http://127.0.0.1:1")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "underpass",
            "underpass egde",
            "underpass edge --no-such-flag",
            "underpass token",
            "underpass token create",
            "underpass token create NAME",
            "underpass token create dc1 --expires soon",
            "underpass connector revoke",
            "underpass edge --grace-period 30",
            "underpass edge --log-format xml",
            "underpass completion cmd",
        ] {
            assert!(parse(wrong).is_err_and(|e| e.exit_code() == 2), "{wrong}");
        }
    }

    #[test]
    fn a_token_shows_neither_in_debug_nor_in_help() {
        let cli = parse("underpass connector --token upt1_secret").expect("right");
        assert!(!format!("{cli:?}").contains("upt1_secret"));
        let mut command = Cli::command();
        command.build();
        let connector = command.find_subcommand("connector").expect("there");
        let token = connector.get_arguments().find(|a| a.get_id() == "token").expect("there");
        assert!(token.is_hide_env_values_set());
    }

    #[test]
    fn every_flag_has_its_variable() {
        fn check(command: &clap::Command) {
            let own = ["help", "version"];
            for flag in command.get_arguments().filter(|a| !a.is_positional() && !own.contains(&a.get_id().as_str())) {
                let name = flag.get_long().expect("flags have long names").to_ascii_uppercase().replace('-', "_");
                let variable = flag.get_env().and_then(|v| v.to_str()).map(str::to_owned);
                assert_eq!(variable, Some(format!("UNDERPASS_{name}")), "{}", command.get_name());
            }
            // What a lab is told is said once, on the spot.
            command.get_subcommands().filter(|command| command.get_name() != "lab").for_each(check);
        }
        check(&Cli::command());
    }
}
