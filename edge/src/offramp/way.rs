//! A way to an origin, held: what leads there, and not its number.

use std::sync::Arc;

use net::Network;
use protocol::id::Name;

use crate::{model::Via, tunnel::Link};

/// What a path leads over.
#[derive(Debug, Clone)]
pub enum Way {
    /// This network, which the edge itself is on.
    Direct(Arc<dyn Network>),
    /// This link, to a connector that dials.
    Link(Arc<Link>),
}

impl Way {
    /// Which way that is.
    #[must_use]
    pub fn via(&self) -> Via {
        match self {
            Self::Direct(_) => Via::Direct,
            Self::Link(link) => Via::Link(link.id),
        }
    }

    /// The link.
    #[must_use]
    pub fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Self::Direct(_) => None,
            Self::Link(link) => Some(link),
        }
    }

    /// Whose link it is.
    #[must_use]
    pub fn connector(&self) -> Option<&Name> {
        self.link().map(|link| &link.connector)
    }
}
