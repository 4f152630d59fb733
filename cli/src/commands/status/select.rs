//! Which part of a status was asked for. Pure.

use api::{code::Code, edge::Status};

use crate::failure::Failure;

/// Most names that are told to whoever has mistyped one.
const NAMES_MAX: usize = 20;

/// What was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// One pool alone.
    pub(super) pool: Option<String>,
    /// One connector alone, and what is reached over it.
    pub(super) connector: Option<String>,
    /// What fails alone.
    pub(super) unhealthy: bool,
    /// Every row.
    pub(super) all: bool,
}

impl Selection {
    /// Whether something is left out for what it is called.
    pub(super) fn is_named(&self) -> bool {
        self.pool.is_some() || self.connector.is_some()
    }

    /// What of an edge's status was asked for.
    ///
    /// # Errors
    /// There is no pool or connector of that name.
    pub(super) fn of(&self, mut status: Status) -> Result<Status, Failure> {
        let Self { pool, connector, .. } = self;
        if let Some(name) = pool {
            known("pool", name, status.pools.iter().map(|pool| &pool.pool[..]))?;
            status.origins.retain(|origin| origin.pool == *name);
            status.load_balancers.retain(|balancer| balancer.serving_pool.as_ref() == Some(name));
        }
        if let Some(name) = connector {
            known("connector", name, status.tunnels.iter().map(|tunnel| &tunnel.connector[..]))?;
            status.tunnels.retain(|tunnel| tunnel.connector == *name);
            for origin in &mut status.origins {
                origin.paths.retain(|path| path.connector.as_ref() == Some(name));
            }
            status.origins.retain(|origin| !origin.paths.is_empty());
            status.load_balancers.clear();
        }
        if self.is_named() {
            let Status { origins, tunnels, pools, listeners, .. } = &mut status;
            pools.retain(|pool| match &self.pool {
                Some(name) => pool.pool == *name,
                None => origins.iter().any(|origin| origin.pool == pool.pool),
            });
            let leads = |connector: &String| {
                origins.iter().flat_map(|origin| &origin.paths).any(|path| path.connector.as_ref() == Some(connector))
            };
            tunnels.retain(|tunnel| self.connector.is_some() || leads(&tunnel.connector));
            listeners.clear();
        }
        Ok(status)
    }
}

fn known<'a>(what: &str, name: &str, mut names: impl Iterator<Item = &'a str> + Clone) -> Result<(), Failure> {
    if names.clone().any(|other| other == name) {
        return Ok(());
    }
    let some: Vec<_> = names.by_ref().take(NAMES_MAX).collect();
    let rest = names.count();
    let there_are = match (some.is_empty(), rest) {
        (true, _) => "there is none".to_owned(),
        (false, 0) => format!("there are: {}", some.join(", ")),
        (false, rest) => format!("there are: {}, and {rest} more", some.join(", ")),
    };
    let text = format!("there is no {what} \"{}\"; {there_are}", name.escape_default());
    Err(Failure::Usage(text).coded(Code::NotThere))
}
