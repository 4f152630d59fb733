//! `connector`: settings and join token from file and flags, then the connector until it is told to end.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
    sync::Arc,
};

use api::code::Code;
use certs::{
    identity::ConnectorState,
    token::{JoinToken, TEXT_MAX},
};
use connector::{
    config::{Config, RawFlags, Settings, Wrong},
    connector::{ConnectorError, Predecessor, Start, Succession},
};
use net::{Sockets, network::Os};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    again,
    args::{Common, ConnectorRun},
    failure::Failure,
    lifecycle::{self, End, Signals},
    limits, logging, notify,
};

/// Reloads asked for while one is under way.
const RELOADS_MAX: usize = 1;
/// The token file that is no file.
const STANDARD_INPUT: &str = "-";

pub(super) fn run(common: &Common, flags: ConnectorRun) -> Result<(), Failure> {
    let (grace, replace) = (flags.grace.grace_period, flags.replace);
    let given = flags.token.clone().filter(|token| !token.expose().trim().is_empty());
    let settings = settings(common.config.as_deref(), flags);
    let config = settings.current().map_err(wrong)?;
    limits::raise_open_files();
    limits::warn_if_few_open_files();
    let runtime = lifecycle::runtime()?;
    let ended = runtime.block_on(async {
        let signals = Signals::take()?;
        let end = End::default();
        let lost_lines = logging::lost();
        let (reload, reloads) = mpsc::channel(RELOADS_MAX);
        let stop = end.stop.clone();
        // Told again to end, the process is gone: nobody is left who could cut.
        let cut = CancellationToken::new();
        let sockets = Arc::new(Sockets::default());
        let before = match replace {
            true => Predecessor::meet(&sockets, &config.state_dir).await.map_err(not_replaced)?.map(Arc::new),
            false => None,
        };
        if replace && before.is_none() {
            info!("no connector runs with this state_dir: there is nothing to take over");
        }
        let token = match (given, &before) {
            (Some(text), _) => Some(text.expose().parse().map_err(|e| Failure::Settings(format!("--token: {e}")))?),
            // Its state is held by the process that has enrolled.
            (None, Some(_)) => None,
            (None, None) => token_in_file(&config)?,
        };
        let (successor, succeeded) = watch::channel(None);
        let succession = Some(Succession { sockets, before, successor });
        let network = Arc::new(Os);
        let start = Start { config, settings, reloads, token, network, succession, grace, stop, cut, lost_lines };
        let running = async {
            tokio::select! {
                ended = Box::pin(connector::connector::run(start)) => ended.map_err(failure),
                never = notify::of_successor(succeeded) => match never {},
                failed = again::at_signals() => failed.map(|never| match never {}),
            }
        };
        let reload = async || {
            let (asked, done) = oneshot::channel();
            // The connector itself is ending if it takes no more, or does not answer.
            if reload.send(asked).await.is_ok() {
                let _ = done.await;
            }
        };
        notify::ready();
        lifecycle::attend(running, signals, end, grace, reload).await
    });
    // What is left reads or writes a file, or resolves a name; nobody waits for it any more.
    runtime.shutdown_background();
    if ended.is_ok() {
        info!("connector has ended");
    }
    ended
}

/// The file, or the defaults, with the flags laid over; at each reload the same flags.
fn settings(file: Option<&Path>, flags: ConnectorRun) -> Settings {
    let given = |list: Vec<String>| list.into_iter().filter(|text| !text.trim().is_empty()).collect();
    let over = RawFlags {
        name: flags.name,
        edges: given(flags.edges),
        routes: given(flags.routes),
        allow: given(flags.allow),
        state_dir: flags.state_dir,
        token_file: flags.token_file,
        links_per_edge: flags.links_per_edge,
        admin_listen: flags.admin_listen,
        workers: flags.workers,
    };
    Settings { file: file.map(Path::to_owned), over }
}

fn wrong(wrong: Wrong) -> Failure {
    match wrong {
        Wrong::File(mistakes) => mistakes.into(),
        Wrong::Flags(mistakes) => Failure::Usage(mistakes.to_string()),
    }
}

/// The join token in the file that the settings name. It is needed once: that it is gone matters only to a connector
/// without an identity.
fn token_in_file(config: &Config) -> Result<Option<JoinToken>, Failure> {
    let Some(file) = &config.token_file else { return Ok(None) };
    let wrong = match read_token(file) {
        Ok(token) => return Ok(Some(token)),
        Err(wrong) => format!("token file {}: {wrong}", file.display()),
    };
    let state = ConnectorState::open(&config.state_dir).map_err(Failure::failed)?;
    if state.identity().map_err(Failure::failed)?.is_none() {
        return Err(Failure::Settings(wrong));
    }
    debug!("{wrong}; it is not needed, since state_dir holds an identity");
    Ok(None)
}

fn read_token(file: &Path) -> Result<JoinToken, String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        let is_standard_input = file == Path::new(STANDARD_INPUT);
        if is_standard_input || file.metadata()?.file_type().is_fifo() {
            // It is waited for without a bound, as a shell does: whoever is to write may be a person.
            info!(token_file = %file.display(), "the join token is read up to its end, which may have to be waited for");
        }
        let source: Box<dyn Read> = if is_standard_input { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
        // One byte more than a token has, so that a longer text is not cut into a right one.
        source.take(TEXT_MAX as u64 + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|e| format!("cannot be read: {e}"))?;
    if text.trim().is_empty() {
        return Err("is empty".to_owned());
    }
    text.parse().map_err(|e: certs::token::TokenTextError| e.to_string())
}

fn not_replaced(error: impl ToString) -> Failure {
    Failure::failed(error).coded(Code::NotReplaced)
}

fn failure(error: ConnectorError) -> Failure {
    match &error {
        ConnectorError::TokenRefused(_) => Failure::Refused(error.to_string()),
        ConnectorError::Handover(_) => not_replaced(error),
        ConnectorError::Settings(_) => Failure::Settings(error.to_string()),
        ConnectorError::State(_) | ConnectorError::Io(_) | ConnectorError::Identity(_) | ConnectorError::Lost(_) => {
            Failure::failed(error)
        }
    }
}
