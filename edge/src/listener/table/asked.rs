//! What is asked about the listeners: where a flow would go, how far it comes, what became of one.

use std::sync::Arc;

use api::{
    explain::{Explanation, Flow, Question},
    trace::Trace,
};
use protocol::id::Name;

use super::{Listeners, TRACES_MAX};
use crate::{
    listener::{explain, state::ListenerState, trace},
    model::FlowId,
};

/// Why a flow was not traced.
#[derive(Debug, thiserror::Error)]
pub enum Untraced {
    /// As many are traced as may be at once.
    #[error("{TRACES_MAX} flows are being traced: ask again when one of them is over")]
    Busy,
    /// What is wrong with the question.
    #[error("{0}")]
    Wrong(String),
}

impl Listeners {
    /// Where a flow would go now, and why.
    ///
    /// # Errors
    /// What is wrong with the question, in words.
    pub fn explain(&self, question: &Question) -> Result<Explanation, String> {
        let state = self.named(&question.listener)?;
        if state.is_drained() {
            return Ok(explain::drained(&state.listener()));
        }
        explain::explain(&self.shared, &state.serving(), question)
    }

    /// Sends a flow that nobody sent on its way, and tells how far it comes.
    ///
    /// # Errors
    /// Too many are on their way, or what is wrong with the question, in words.
    pub async fn trace(&self, question: &Question) -> Result<Trace, Untraced> {
        let _turn = self.traces.try_acquire().map_err(|_| Untraced::Busy)?;
        let state = self.named(&question.listener).map_err(Untraced::Wrong)?;
        trace::trace(&self.shared, &state, question).await.map_err(Untraced::Wrong)
    }

    /// The listener of this name, as it stands.
    fn named(&self, name: &str) -> Result<Arc<ListenerState>, String> {
        let states = self.states();
        let names: Vec<_> = states.iter().map(|state| state.listener().name.clone()).collect();
        let at = names.iter().position(|known| known.as_str() == name);
        at.map(|at| states[at].clone()).ok_or_else(|| {
            let hint = config::hint(name, names.iter().map(Name::as_str));
            format!("there is no listener \"{name}\"{hint}")
        })
    }

    /// The flows of an id that did not go well at once, as far as they are remembered.
    #[must_use]
    pub fn recent(&self, id: FlowId) -> Vec<Flow> {
        self.shared.recent.find(&id.to_string())
    }
}
