//! What has arrived at a bound address and was not taken yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use super::waiters::Waiters;

/// A queue with a bound; whoever finds it full is told so.
#[derive(Debug)]
pub(super) struct Queue<T> {
    length_max: usize,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    closed: bool,
    waiters: Waiters,
}

impl<T> Queue<T> {
    pub(super) fn new(length_max: usize) -> Self {
        let state = State { items: VecDeque::new(), closed: false, waiters: Waiters::default() };
        Self { length_max, state: Mutex::new(state) }
    }

    /// Appends; gives the item back if the queue is full or closed.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed || state.items.len() >= self.length_max {
            return Err(item);
        }
        state.items.push_back(item);
        let waiters = state.waiters.take();
        drop(state);
        waiters.wake();
        Ok(())
    }

    /// Takes the oldest item, or has the task woken when there is one.
    pub(super) fn poll_pop(&self, cx: &Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(item) = state.items.pop_front() {
            return Poll::Ready(item);
        }
        state.waiters.add(cx);
        Poll::Pending
    }

    /// Takes the oldest item, if there is one.
    pub(super) fn pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// Takes nothing more; gives what nobody took.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.closed = true;
        std::mem::take(&mut state.items)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
