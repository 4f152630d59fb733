//! `token create NAME`: a join token, and the command to paste on the private side.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use api::code::Code;
use certs::{
    ca::Ca,
    token::{JoinToken, TEXT_MAX, TokenId},
    tokens::{NewToken, TokenError, Tokens},
};
use edge::model::{Config, Grant};
use protocol::id::{Name, Target};
use tempfile::NamedTempFile;

use crate::{
    args::{Common, TokenCreate},
    edge_file,
    failure::Failure,
    output,
};

/// The file that is no file.
const STANDARD_OUTPUT: &str = "-";

pub(super) fn create(common: &Common, flags: &TokenCreate) -> Result<(), Failure> {
    let config = edge_file::read(common.config.as_deref(), &flags.over)?;
    let grant = grant(&config, &flags.name, common.config.as_deref())?;
    if flags.out.as_slice() == [Path::new(STANDARD_OUTPUT)] {
        let mut mint = Mint::open(&config, flags)?;
        let bare = mint.make().and_then(|token| output::hand_over(&format!("{}\n", token.reveal())));
        return bare.map_err(|failure| mint.withdraw(failure));
    }
    // The files come first: a token that nobody can be given must not be made.
    let outs = Out::open_all(&flags.out)?;
    let mut mint = Mint::open(&config, flags)?;
    if outs.is_empty() {
        let printed = print(&mut mint, grant);
        return printed.map_err(|failure| mint.withdraw(failure));
    }
    let text = write(&mut mint, outs, grant).map_err(|failure| mint.withdraw(failure))?;
    output::print(&text).map_err(|failure| {
        let files: Vec<_> = flags.out.iter().map(|path| path.display().to_string()).collect();
        let text = format!("{failure}; the join token is in its file: {}", files.join(", "));
        Failure::Failed(text).coded(failure.code())
    })
}

/// Prints a token.
fn print(mint: &mut Mint<'_>, grant: &Grant) -> Result<(), Failure> {
    let token = mint.make()?;
    output::hand_over(&shown(&token, grant, mint.flags.expires))
}

/// Writes a token to each file, and tells what to print of that. The files appear once all are written.
fn write(mint: &mut Mint<'_>, outs: Vec<Out>, grant: &Grant) -> Result<String, Failure> {
    let mut full = Vec::new();
    for mut out in outs {
        let token = mint.make()?;
        out.fill(&token)?;
        full.push((token, out));
    }
    let mut text = String::new();
    for (token, out) in full {
        let path = out.appear()?;
        mint.handed_over(&token);
        text += &written(&token, grant, mint.flags.expires, &path);
    }
    Ok(text)
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
        Failure::Settings(format!("{file} grants nothing to connector \"{name}\"{hint}; {right}")).coded(Code::NoGrant)
    })
}

/// Makes tokens, and remembers those that nobody has yet.
struct Mint<'a> {
    flags: &'a TokenCreate,
    edges: &'a [Target],
    ca: Ca,
    tokens: Tokens,
    not_handed_over: Vec<TokenId>,
}

impl<'a> Mint<'a> {
    fn open(config: &'a Config, flags: &'a TokenCreate) -> Result<Self, Failure> {
        let now = SystemTime::now();
        let ca = match &config.ca {
            Some(files) => Ca::from_files(&files.certificate, &files.key, now)?,
            None => Ca::open(&config.state_dir, now)?,
        };
        let tokens = Tokens::open(&config.state_dir).map_err(Failure::failed)?;
        Ok(Self { flags, edges: &config.tunnel.advertise, ca, tokens, not_handed_over: Vec::new() })
    }

    fn make(&mut self) -> Result<JoinToken, Failure> {
        let (connector, lifetime) = (self.flags.name.clone(), self.flags.expires);
        let new = NewToken { connector, lifetime, edges: self.edges.to_vec() };
        let token = self.tokens.create(new, self.ca.fingerprint(), SystemTime::now()).map_err(|e| match e {
            TokenError::Lifetime => Failure::Usage(format!("--expires {}: {e}", config::spell(lifetime))),
            TokenError::Edges(_) => Failure::Settings(e.to_string()),
            TokenError::File(_) | TokenError::Revocations(_) | TokenError::TooMany(_) => Failure::failed(e),
        })?;
        self.not_handed_over.push(token.id);
        Ok(token)
    }

    fn handed_over(&mut self, token: &JoinToken) {
        self.not_handed_over.retain(|id| *id != token.id);
    }

    /// Makes void what nobody has, and says so beside why.
    fn withdraw(self, failure: Failure) -> Failure {
        let mut lines = vec![failure.to_string()];
        for id in &self.not_handed_over {
            lines.push(match self.tokens.withdraw(*id) {
                Ok(()) => "the join token that was made is void".to_owned(),
                Err(error) => format!("the join token that was made is good until it expires: {error}"),
            });
        }
        if self.not_handed_over.is_empty() { failure } else { Failure::Failed(lines.join("\n")).coded(failure.code()) }
    }
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
    /// The same, however it is spelled.
    place: PathBuf,
}

impl Out {
    fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        let mut all: Vec<Self> = Vec::new();
        for path in paths {
            let out = Self::open(path)?;
            if all.iter().any(|other| other.place == out.place) {
                let path = path.display();
                return Err(Failure::Usage(format!("--out {path} is given twice: a token lets one replica join")));
            }
            all.push(out);
        }
        Ok(all)
    }

    fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |why: String| unwritten(path, &why);
        if path == Path::new(STANDARD_OUTPUT) {
            return Err(Failure::Usage("--out - prints one token and goes with no other --out".to_owned()));
        }
        // A device or a pipe would be replaced, and not written to.
        if path.metadata().is_ok_and(|about| !about.is_file()) {
            return Err(fail("it is no ordinary file; without --out the token is printed".to_owned()));
        }
        if holds_something_else(path) {
            let why = "it holds something that is no join token; remove it first, or name another file";
            return Err(fail(why.to_owned()));
        }
        let Some(name) = path.file_name() else { return Err(fail("it has no name".to_owned())) };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".token-").tempfile_in(dir).map_err(|e| fail(cause(&e)))?;
        let place = dir.canonicalize().map_err(|e| fail(e.to_string()))?.join(name);
        Ok(Self { file, path: path.to_owned(), place })
    }

    fn fill(&mut self, token: &JoinToken) -> Result<(), Failure> {
        let written = writeln!(self.file, "{}", token.reveal()).and_then(|()| self.file.as_file().sync_all());
        written.map_err(|e| self.fail(&e))
    }

    fn appear(self) -> Result<PathBuf, Failure> {
        let Self { file, path, place: _ } = self;
        match file.persist(&path) {
            Ok(_) => Ok(path),
            Err(e) => Err(unwritten(&path, &cause(&e.error))),
        }
    }

    fn fail(&self, error: &io::Error) -> Failure {
        unwritten(&self.path, &cause(error))
    }
}

fn unwritten(path: &Path, why: &str) -> Failure {
    Failure::Failed(format!("cannot write {}: {why}", path.display())).coded(Code::NotWritten)
}

/// True of a file with another content than a token's, which nobody wants to lose. A link is replaced, and loses nothing.
fn holds_something_else(path: &Path) -> bool {
    let Ok(about) = path.symlink_metadata() else { return false };
    let is_token = |bytes: Vec<u8>| str::from_utf8(&bytes).is_ok_and(|text| text.parse::<JoinToken>().is_ok());
    about.is_file() && about.len() > 0 && !certs::read(path, TEXT_MAX as u64).is_ok_and(is_token)
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
