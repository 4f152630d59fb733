//! A fleet in temporary directories, for tests: a CA, an authority, enrolled connectors, at a time of their own.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use protocol::{
    control::{Enrol, Refusal},
    id::Name,
};
use tempfile::TempDir;

use crate::{
    ca::Ca,
    enrol::Authority,
    identity::{ConnectorState, Identity, KeyRequest},
    token::JoinToken,
    tokens::{LIFETIME_DEFAULT, NewToken},
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The moment tests happen at, with milliseconds that certificates cannot say.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123)
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(crate) fn temporary() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) struct Fleet {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
}

/// An enrolled connector.
pub(crate) struct Member {
    pub(crate) dir: TempDir,
    pub(crate) state: ConnectorState,
    pub(crate) identity: Identity,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let dir = temporary();
        let ca = Ca::open(dir.path(), now() - 100 * DAY).expect("a CA");
        let authority = Authority::open(dir.path(), Arc::new(ca)).expect("an authority");
        Self { dir, authority }
    }

    /// The same edge, started again.
    pub(crate) fn restarted(self) -> Self {
        let (dir, ca) = (self.dir, self.authority.ca().clone());
        Self { authority: Authority::open(dir.path(), ca).expect("an authority"), dir }
    }

    /// Another edge with the same CA.
    pub(crate) fn second_edge(&self) -> Self {
        let dir = temporary();
        Self { authority: Authority::open(dir.path(), self.ca().clone()).expect("an authority"), dir }
    }

    pub(crate) fn ca(&self) -> &Arc<Ca> {
        self.authority.ca()
    }

    pub(crate) fn token(&self, connector: &str, at: SystemTime) -> JoinToken {
        let edges = vec!["edge-1.example.com:7843".parse().expect("a target")];
        let new = NewToken { connector: name(connector), lifetime: LIFETIME_DEFAULT, edges };
        self.authority.tokens().create(new, self.ca().fingerprint(), at).expect("a token")
    }

    pub(crate) fn member(&self, connector: &str, at: SystemTime) -> Member {
        let dir = temporary();
        let state = ConnectorState::open(dir.path()).expect("a state");
        let token = self.token(connector, at);
        let request = state.enrolment().expect("a key");
        let (_, enrolled) = self.authority.enrol(&ask(&token, &state, &request), |_| true, at).expect("enrolled");
        let identity = state.finish_enrolment(&request, &token, &enrolled).expect("kept");
        Member { dir, state, identity }
    }
}

/// What a connector sends to redeem a token.
pub(crate) fn ask(token: &JoinToken, state: &ConnectorState, request: &KeyRequest) -> Enrol {
    Enrol {
        token: token.id.0,
        secret: *token.secret.expose(),
        replica: state.replica().to_string(),
        csr: request.csr().to_vec(),
    }
}

/// The word of a refusal.
pub(crate) fn code<T>(result: Result<T, Refusal>) -> &'static str {
    result.err().map_or("accepted", |refusal| refusal.code().as_str())
}
