//! Settings from flags (or the environment variables that stand for them), laid over those of a file or the defaults.

use std::{fmt, net::SocketAddr, path::PathBuf};

use ipnetwork::IpNetwork;
use protocol::{
    id::{Name, Target},
    limits::ROUTES_MAX,
};

use super::{Config, EDGES_MAX, LINKS_PER_EDGE_MAX, WORKERS_MAX, routes::is_claimed};

/// Flags as they were given. What is absent or empty leaves the setting of the file, or the default, as it is; a list
/// replaces the file's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawFlags {
    /// `--name`.
    pub name: Option<String>,
    /// `--edge HOST:PORT`, each.
    pub edges: Vec<String>,
    /// `--route VNET=CIDR`, each.
    pub routes: Vec<String>,
    /// `--allow CIDR:PORTS`, each.
    pub allow: Vec<String>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// `--token-file`.
    pub token_file: Option<PathBuf>,
    /// `--links-per-edge`.
    pub links_per_edge: Option<usize>,
    /// `--admin-listen IP:PORT`.
    pub admin_listen: Option<String>,
    /// `--workers`.
    pub workers: Option<usize>,
}

/// Everything that is wrong with the flags; one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagMistakes(pub Vec<String>);

impl fmt::Display for FlagMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for FlagMistakes {}

impl RawFlags {
    /// Lays the flags over the settings of a file, or over [`Config::default`].
    ///
    /// # Errors
    /// Every mistake in the flags, and maps of the file that the flags' routes leave without a route.
    pub fn merge(self, below: Config) -> Result<Config, FlagMistakes> {
        let mut mistakes = Mistakes(Vec::new());
        let name = self.name.and_then(|name| mistakes.parse("--name", &name, str::parse::<Name>));
        let edges = mistakes.list("--edge", &self.edges, EDGES_MAX, str::parse::<Target>);
        let routes = mistakes.list("--route", &self.routes, ROUTES_MAX, route);
        let allow = mistakes.list("--allow", &self.allow, usize::MAX, str::parse::<super::AllowEntry>);
        let links_per_edge = mistakes.bounded("--links-per-edge", self.links_per_edge, LINKS_PER_EDGE_MAX);
        let workers = mistakes.bounded("--workers", self.workers, WORKERS_MAX);
        let admin_listen = self.admin_listen.and_then(|text| mistakes.parse("--admin-listen", &text, address));
        let config = Config {
            name: name.or(below.name),
            edges: if self.edges.is_empty() { below.edges } else { edges },
            state_dir: self.state_dir.unwrap_or(below.state_dir),
            token_file: self.token_file.or(below.token_file),
            links_per_edge: links_per_edge.unwrap_or(below.links_per_edge),
            routes: if self.routes.is_empty() { below.routes } else { routes },
            maps: below.maps,
            allow: if self.allow.is_empty() { below.allow } else { Some(allow) },
            admin_listen: admin_listen.unwrap_or(below.admin_listen),
            workers: workers.unwrap_or(below.workers),
            withdrawn: below.withdrawn,
            reload: below.reload,
        };
        if mistakes.0.is_empty() {
            mistakes.check_maps(&config);
        }
        if mistakes.0.is_empty() { Ok(config) } else { Err(FlagMistakes(mistakes.0)) }
    }
}

struct Mistakes(Vec<String>);

impl Mistakes {
    fn parse<T, E: fmt::Display>(&mut self, flag: &str, text: &str, parse: fn(&str) -> Result<T, E>) -> Option<T> {
        parse(text).map_err(|e| self.0.push(format!("{flag} {}: {e}", text.escape_debug()))).ok()
    }

    fn list<T, E>(&mut self, flag: &str, texts: &[String], most: usize, parse: fn(&str) -> Result<T, E>) -> Vec<T>
    where
        T: PartialEq,
        E: fmt::Display,
    {
        if texts.len() > most {
            self.0.push(format!("{flag} may be given at most {most} times"));
            return Vec::new();
        }
        let mut list = Vec::with_capacity(texts.len());
        for text in texts {
            match self.parse(flag, text, parse) {
                Some(value) if list.contains(&value) => self.0.push(format!("{flag} {text} is given twice")),
                Some(value) => list.push(value),
                None => (),
            }
        }
        list
    }

    fn bounded(&mut self, flag: &str, number: Option<usize>, most: usize) -> Option<usize> {
        let number = number?;
        if !(1..=most).contains(&number) {
            self.0.push(format!("{flag} {number}: must be from 1 to {most}"));
        }
        Some(number)
    }

    fn check_maps(&mut self, config: &Config) {
        for map in config.maps.iter().filter(|map| !is_claimed(&config.routes, &map.vnet, map.from)) {
            let (from, vnet) = (map.from, &map.vnet);
            self.0.push(format!("--route: the file maps {from} of vnet {vnet}, which is inside none of the routes"));
        }
    }
}

fn route(text: &str) -> Result<(Name, IpNetwork), String> {
    let (vnet, cidr) = text.split_once('=').ok_or("a route is VNET=CIDR, such as prod=10.0.0.0/16")?;
    let vnet = vnet.parse().map_err(|e: protocol::id::BadName| e.to_string())?;
    Ok((vnet, config::cidr(cidr)?))
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address to listen on is IP:PORT, such as 127.0.0.1:7841")
}
