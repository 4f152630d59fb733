//! An accepted connection, from its landing on its worker to its end.

use std::{net::SocketAddr, sync::Arc};

use net::Socket;
use tokio_util::task::TaskTracker;

use super::{connection::Connection, kept::Worker};
use crate::listener::http::client::{io::ClientIo, owed::Owed};
use crate::listener::http::serve::http1::serve as speak;
use crate::{
    listener::{guests::Admitted, shared::Shared, state::ListenerState},
    metrics::RefusedFlow,
    tls::Shaken,
};

/// An accepted connection on its way to its worker.
#[derive(Debug)]
pub(in crate::listener) struct Accepted {
    pub(in crate::listener) shared: Arc<Shared>,
    pub(in crate::listener) state: Arc<ListenerState>,
    pub(in crate::listener) source: SocketAddr,
    pub(in crate::listener) admitted: Admitted,
    /// What is kept there.
    pub(in crate::listener) kept: Arc<Worker>,
    pub(in crate::listener) tasks: TaskTracker,
}

/// Serves a client's connection to its end.
pub(in crate::listener) async fn serve(accepted: Accepted, client: Socket) {
    let Accepted { shared, state, source, admitted, kept, tasks } = accepted;
    let tls = state.serving().tls.clone();
    let mut connection = Connection {
        shared,
        state,
        worker: kept,
        talk: Arc::default(),
        owed: Owed::default(),
        source,
        tls: tls.is_some(),
        shown: None,
        certificate: None,
        tasks,
        _admitted: admitted,
    };
    let Some(tls) = tls else {
        return Box::pin(speak(Arc::new(connection), ClientIo::Plain(client), None)).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(client) => accepted,
        // It has asked for nothing yet: nobody waits for it for long.
        () = connection.forsaken() => return,
    };
    let Some(Shaken { stream: client, is_h2, shown, certificate }) = accepted else {
        let listener = &connection.state.listener().name;
        return connection.shared.metrics.refused_flow(listener, RefusedFlow::Handshake);
    };
    (connection.shown, connection.certificate) = (shown, certificate);
    Box::pin(speak(Arc::new(connection), ClientIo::Tls(client), is_h2)).await;
}
