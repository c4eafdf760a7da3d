//! What the CPU engine says that networks will take, beside what they take. In a process of its own, whose allocations are
//! counted.

#[path = "suite/cases.rs"]
#[allow(dead_code, unreachable_pub)]
mod cases;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use hpe_darts_engine::{Batch, CpuEngines, Engines, Gradients, Kernels, Normalisation, Options, Pass};

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), SeqCst);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_estimate_is_what_is_taken() {
    let (train, evaluate) = (24, 60);
    let mut finals = cases::affine(cases::two_inputs((16, 16, 3), 8));
    finals.alive = (0..finals.mixing_len()).map(|i| i % 4 == 1).collect();
    let supernet = cases::supernet(cases::nas_bench_201(), (16, 16, 3), 12, 3);
    for spec in [supernet.clone(), cases::affine(supernet), cases::two_inputs((16, 16, 3), 8), finals] {
        let images = vec![0.5; evaluate * spec.image.len()];
        let labels = vec![0; evaluate];
        let w = vec![0.5; spec.mixing_len()];
        let batch = |n: usize| Batch { images: &images[..n * spec.image.len()], labels: &labels[..n] };
        for threads in [1, 2, 6] {
            for trains in [false, true] {
                let before = IN_USE.load(SeqCst);
                let engines = CpuEngines::new(Options { threads, kernels: Kernels::Auto }).unwrap();
                let mut network = engines.build(&spec, 0).unwrap();
                if trains {
                    network.train_step(batch(train), Pass::new(&w), Gradients::Both).unwrap();
                }
                network.evaluate(batch(evaluate), Pass::new(&w), Normalisation::Batch).unwrap();
                let taken = IN_USE.load(SeqCst) - before;
                let estimate = engines.memory(&spec, if trains { train } else { 0 }, evaluate).unwrap();
                let ratio = estimate.total() as f64 / taken as f64;
                assert!(
                    (0.95..1.1).contains(&ratio),
                    "{threads} threads, trains {trains}: {estimate:?}, {taken} taken"
                );
            }
        }
    }
}
