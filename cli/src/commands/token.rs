//! `token create NAME`: a join token, and the command to paste on the private side.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use certs::{
    ca::Ca,
    token::JoinToken,
    tokens::{NewToken, TokenError, Tokens},
};
use edge::model::{Config, Grant};
use protocol::id::Name;
use tempfile::NamedTempFile;

use crate::{
    args::{Common, TokenCreate},
    edge_file,
    failure::Failure,
    output,
};

pub(super) fn create(common: &Common, flags: &TokenCreate) -> Result<(), Failure> {
    let config = edge_file::read(common.config.as_deref(), &flags.over)?;
    let grant = grant(&config, &flags.name, common.config.as_deref())?;
    if flags.out.is_empty() {
        let token = make(&config, flags)?;
        return output::print(&shown(&token, grant, flags.expires));
    }
    let twice = |i: &usize| flags.out[..*i].contains(&flags.out[*i]);
    if let Some(i) = (0..flags.out.len()).find(twice) {
        let path = flags.out[i].display();
        return Err(Failure::Usage(format!("--out {path} is given twice: a token lets one replica join")));
    }
    // The files come first: a token that nobody can be given must not be made.
    let outs: Vec<Out> = flags.out.iter().map(|path| Out::open(path)).collect::<Result<_, _>>()?;
    for out in outs {
        let token = make(&config, flags)?;
        let path = out.write(&token)?;
        output::print(&written(&token, grant, flags.expires, &path))?;
    }
    Ok(())
}

/// What is printed with a token.
fn shown(token: &JoinToken, grant: &Grant, lifetime: Duration) -> String {
    let (name, lasts, bare) = (&token.connector, config::spell(lifetime), token.reveal());
    let command = command_of(token, grant, "--token", &bare);
    format!(
        "join token for connector {name}: it lasts {lasts}, lets one replica join, and is shown only now\n\n  {bare}\n\n\
         run in the private network:\n\n  {command}\n\n\
         where others can read the process list, give it by --token-file FILE, --token-file - or UNDERPASS_TOKEN\n"
    )
}

/// What is printed instead of a token that is in a file.
fn written(token: &JoinToken, grant: &Grant, lifetime: Duration, path: &Path) -> String {
    let (name, lasts, path) = (&token.connector, config::spell(lifetime), path.display().to_string());
    let command = command_of(token, grant, "--token-file", &path);
    format!(
        "join token for connector {name} in {path}: it lasts {lasts} and lets one replica join\n\n\
         take the file to the private network and run there:\n\n  {command}\n"
    )
}

fn grant<'a>(config: &'a Config, name: &Name, file: Option<&Path>) -> Result<&'a Grant, Failure> {
    config.catalog.grants.iter().find(|grant| grant.connector == *name).ok_or_else(|| {
        let known = config.catalog.grants.iter().map(|grant| grant.connector.as_str());
        let hint = config::hint(name.as_str(), known.collect::<Vec<_>>());
        let file = file.unwrap_or(Path::new("the edge's file")).display();
        let right = format!("add a [[connector]] with name = \"{name}\" and its routes, then create the token");
        Failure::Settings(format!("{file} grants nothing to connector \"{name}\"{hint}; {right}"))
    })
}

fn make(config: &Config, flags: &TokenCreate) -> Result<JoinToken, Failure> {
    let now = SystemTime::now();
    let ca = match &config.ca {
        Some(files) => Ca::from_files(&files.certificate, &files.key, now)?,
        None => Ca::open(&config.state_dir, now)?,
    };
    let tokens = Tokens::open(&config.state_dir).map_err(Failure::failed)?;
    let edges = config.tunnel.advertise.clone();
    let new = NewToken { connector: flags.name.clone(), lifetime: flags.expires, edges };
    tokens.create(new, ca.fingerprint(), now).map_err(|e| match e {
        TokenError::Lifetime => Failure::Usage(format!("--expires {}: {e}", config::spell(flags.expires))),
        TokenError::Edges(_) => Failure::Settings(e.to_string()),
        TokenError::File(_) | TokenError::Revocations(_) | TokenError::TooMany(_) => Failure::failed(e),
    })
}

/// What to paste on the private side.
fn command_of(token: &JoinToken, grant: &Grant, token_flag: &str, value: &str) -> String {
    let mut command = "underpass connector".to_owned();
    let mut flag = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = write!(command, " {name} {}", quoted(value));
    };
    flag(token_flag, value);
    for edge in &token.edges {
        flag("--edge", &edge.to_string());
    }
    for route in &grant.routes {
        flag("--route", &format!("{}={}", route.vnet, route.cidr));
    }
    command
}

/// A word as every shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=:,./@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A file in the making, of mode 0600, that appears whole or not at all.
struct Out {
    file: NamedTempFile,
    path: PathBuf,
}

impl Out {
    fn open(path: &Path) -> Result<Self, Failure> {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".token-").tempfile_in(dir);
        let file = file.map_err(|e| Failure::Failed(format!("cannot write {}: {}", path.display(), cause(&e))))?;
        Ok(Self { file, path: path.to_owned() })
    }

    fn write(mut self, token: &JoinToken) -> Result<PathBuf, Failure> {
        let fail = |e: io::Error| Failure::Failed(format!("cannot write {}: {}", self.path.display(), cause(&e)));
        writeln!(self.file, "{}", token.reveal()).map_err(fail)?;
        self.file.as_file().sync_all().map_err(fail)?;
        self.file.persist(&self.path).map_err(|e| fail(e.error))?;
        Ok(self.path)
    }
}

/// The system's words alone: tempfile adds the name of a file that nobody asked for.
fn cause(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(Error::source);
    inner.map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        for (word, right) in [
            ("prod=10.0.0.0/16", "prod=10.0.0.0/16"),
            ("[fd00::1]:7843", "'[fd00::1]:7843'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), right);
        }
    }
}
