//! What is remembered between decisions: who is bound where, and whose turn it is. It may be lost without harm.

use super::{
    affinity::{Bindings, Bound, Life, Source},
    rotation::{Rotation, Rotations},
};
use crate::health::view::HealthView;

/// All of it.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) bindings: Bindings,
    pub(super) rotations: Rotations,
}

/// What a decision changes in memory, if it is carried out.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) binding: Option<(Source, Life, Binding)>,
    pub(super) turn: Option<Rotation>,
}

/// What becomes of a source's binding.
#[derive(Debug)]
pub(super) enum Binding {
    /// It holds anew.
    Renewed,
    /// It leads here from now on.
    New(Bound),
}

impl Memory {
    pub(super) fn new(bindings: usize) -> Self {
        Self { bindings: Bindings::new(bindings), rotations: Rotations::default() }
    }

    /// Changes what a decision that is carried out changes.
    pub(super) fn commit(&mut self, view: &HealthView, effects: Effects) {
        let Effects { binding, turn } = effects;
        match binding {
            Some((source, life, Binding::Renewed)) => self.bindings.renew(&source, life),
            Some((source, life, Binding::New(bound))) => self.bindings.bind(source, bound, life),
            None => {}
        }
        if let Some(rotation) = turn {
            self.rotations.put(view, rotation);
        }
    }
}
