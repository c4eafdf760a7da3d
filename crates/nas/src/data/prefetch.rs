//! A thread that prepares values ahead of their use.

use std::panic;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Values that lie ready before the worker waits.
const AHEAD: usize = 2;

/// An iterator whose values are made on a thread of their own. Used values go back through [`Prefetch::returns`]
/// and are filled again, so nothing is allocated in the steady state.
pub(super) struct Prefetch<T> {
    ready: Option<Receiver<T>>,
    returns: SyncSender<T>,
    worker: Option<JoinHandle<()>>,
}

impl<T: Default + Send + 'static> Prefetch<T> {
    /// `produce` fills a used or new value and says whether there was one left to make.
    pub(super) fn spawn(mut produce: impl FnMut(&mut T) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (send, ready) = sync_channel(AHEAD);
        // Room for all that can be under way: ready, being made, and two in use (omega's and alpha's).
        let (returns, used) = sync_channel::<T>(AHEAD + 3);
        let worker = std::thread::Builder::new().name("loader".to_owned()).spawn(move || {
            loop {
                let mut value = used.try_recv().unwrap_or_default();
                if !produce(&mut value) || send.send(value).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { ready: Some(ready), returns, worker: Some(worker) })
    }

    /// Where used values go back with `try_send`; a value that finds no room is dropped.
    pub(super) fn returns(&self) -> SyncSender<T> {
        self.returns.clone()
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let value = self.ready.as_ref()?.recv().ok();
        if value.is_none() {
            self.ready = None;
            // A worker that panicked must not look like the end of the data.
            if let Some(Err(payload)) = self.worker.take().map(JoinHandle::join) {
                panic::resume_unwind(payload);
            }
        }
        value
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // Closing the channel wakes a worker that waits to send.
        self.ready = None;
        if let Some(worker) = self.worker.take() {
            // Its panic, if any, concerns values that nobody asked for.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn count_to(n: u32) -> impl FnMut(&mut Vec<u32>) -> bool + Send {
        let mut next = 0;
        move |value| {
            value.clear();
            value.push(next);
            next += 1;
            next <= n
        }
    }

    #[test]
    fn yields_everything_in_order_then_ends() {
        let mut prefetch = Prefetch::spawn(count_to(100)).unwrap();
        let all: Vec<u32> = prefetch.by_ref().map(|v| v[0]).collect();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_eq!(prefetch.next(), None);
    }

    #[test]
    fn returned_values_are_used_again() {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = made.clone();
        let mut produce = count_to(1000);
        let prefetch = Prefetch::spawn(move |value: &mut Vec<u32>| {
            if value.capacity() == 0 {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            produce(value)
        })
        .unwrap();
        let returns = prefetch.returns();
        for value in prefetch {
            let _ = returns.try_send(value);
        }
        assert!(made.load(Ordering::Relaxed) <= AHEAD + 3, "{made:?}");
    }

    #[test]
    fn dropping_early_ends_the_worker() {
        let alive = Arc::new(());
        let held = alive.clone();
        let mut prefetch = Prefetch::spawn(move |value: &mut Vec<u32>| {
            value.push(Arc::strong_count(&held) as u32);
            true
        })
        .unwrap();
        assert!(prefetch.next().is_some());
        drop(prefetch);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn a_panic_of_the_worker_is_not_the_end_of_the_data() {
        let mut made = 0;
        let mut prefetch = Prefetch::spawn(move |_: &mut Vec<u32>| {
            made += 1;
            assert!(made < 3, "worker broke");
            true
        })
        .unwrap();
        assert!(prefetch.next().is_some() && prefetch.next().is_some());
        let caught = panic::catch_unwind(panic::AssertUnwindSafe(|| prefetch.next())).unwrap_err();
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"worker broke"));
    }
}
