//! Worker threads: one current-thread runtime each. A flow lives on one worker from end to end, so the data path shares
//! nothing.

use std::{io, sync::Arc, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::progress::Watched;

/// The worker threads of a process. Dropping it stops them.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<Handle>,
    watched: Vec<Arc<Watched>>,
    threads: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Workers {
    /// Starts `count` threads (at least one) named `name-0`, `name-1`, …
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub fn start(name: &str, count: usize) -> io::Result<Self> {
        let mut workers =
            Self { handles: Vec::new(), watched: Vec::new(), threads: Vec::new(), stop: CancellationToken::new() };
        for index in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (stop, handle) = (workers.stop.clone(), runtime.handle().clone());
            let thread = format!("{name}-{index}");
            workers.watched.push(Watched::enter(thread.clone(), handle.clone()));
            workers.handles.push(handle);
            let run = move || runtime.block_on(stop.cancelled());
            workers.threads.push(thread::Builder::new().name(thread).spawn(run)?);
        }
        Ok(workers)
    }

    /// How many there are; never 0.
    #[must_use]
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// A worker, by index modulo their number.
    #[must_use]
    pub fn handle(&self, index: usize) -> &Handle {
        &self.handles[index % self.handles.len()]
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // One that was told to end is not stuck.
        self.watched.clear();
        self.stop.cancel();
        // The last to let go of it may be a task of its own.
        let own = thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != own) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[test]
    fn the_last_to_let_go_may_be_a_task_of_its_own() {
        let workers = Arc::new(Workers::start("own", 2).expect("threads"));
        let (gone, is_gone) = mpsc::channel();
        let (last, turn) = (workers.clone(), workers.handle(0).clone());
        drop(workers);
        turn.spawn(async move {
            drop(last);
            let _ = gone.send(());
        });
        is_gone.recv_timeout(Duration::from_secs(10)).expect("it does not wait for itself");
    }
}
