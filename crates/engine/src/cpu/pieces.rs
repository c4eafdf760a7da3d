//! How a batch is cut for the threads, and how what is summed over its images is put together.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use rayon::prelude::*;

use super::buffer::Buf;
use super::runtime::{Arena, Exec, Runtime, lock};
use super::simd::fence;

/// Chunks that a batch is cut into, whatever the number of threads: sums are those of the images, added in order within a
/// chunk, then those of the chunks in order. So results do not depend on who takes which images.
const CHUNKS: usize = 8;

/// What a thread takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// A chunk: what is summed over its images stays in one place.
    Chunk,
    /// An image: as many pieces as images, at the price of sums of its own for each.
    Image,
}

impl Grain {
    /// Chunks, unless threads would wait for others for more than a ninth of the time: 6 threads take 8 chunks in the time
    /// of 12.
    fn of(threads: usize) -> Self {
        if CHUNKS.div_ceil(threads) * threads * 8 <= CHUNKS * 9 { Grain::Chunk } else { Grain::Image }
    }
}

/// What the pieces of a pass leave to be summed: a network's own, because a pass is followed by the sum over them.
#[derive(Debug, Default)]
pub(crate) struct Partials {
    pub(crate) chunks: Vec<Buf>,
    /// With [`Grain::Image`].
    images: Vec<Buf>,
    /// With [`Grain::Image`], what a pass keeps of the whole batch.
    pub(crate) batch: Buf,
}

/// Values that the pieces of a pass leave to be summed: first those of which every image has its own, then those of which
/// only chunks do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) images: usize,
    pub(crate) chunks: usize,
}

impl Sums {
    fn len(self) -> usize {
        self.images + self.chunks
    }
}

/// Values that are added at a time.
const SLICE: usize = 1 << 14;

/// Adds the others to the first, one after the other.
fn add_up(first: &mut [f32], rest: &[&[f32]]) {
    first.par_chunks_mut(SLICE).enumerate().for_each(|(i, sum)| {
        for part in rest {
            for (s, p) in sum.iter_mut().zip(&part[i * SLICE..]) {
                *s += p;
            }
        }
    });
}

impl Partials {
    /// Sum over the chunks, in their order, of what the last [`Run::sum_with`] left.
    pub(crate) fn total(&mut self, run: &Run<'_>, sums: Sums) -> &[f32] {
        let (first, rest) = self.chunks[..run.chunks()].split_first_mut().expect("a batch has at least one chunk");
        let rest: Vec<&[f32]> = rest.iter().map(|b| &b[..sums.len()]).collect();
        add_up(&mut first[..sums.len()], &rest);
        &first[..sums.len()]
    }
}

/// A pass over a batch of `n` images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) partials: &'a Mutex<Partials>,
    pub(crate) n: usize,
}

impl<'a> Run<'a> {
    pub(crate) fn exec(&self) -> Exec {
        self.runtime.exec
    }

    pub(crate) fn grain(&self) -> Grain {
        Grain::of(self.runtime.threads())
    }

    /// What the network's passes leave to be summed.
    pub(crate) fn partials(&self) -> MutexGuard<'a, Partials> {
        lock(self.partials)
    }

    pub(crate) fn chunks(&self) -> usize {
        CHUNKS.min(self.n)
    }

    /// The images of a chunk.
    pub(crate) fn chunk(&self, c: usize) -> Range<usize> {
        c * self.n / self.chunks()..(c + 1) * self.n / self.chunks()
    }

    /// The chunk of an image.
    pub(crate) fn chunk_of(&self, image: usize) -> usize {
        // The inverse of the rounding in `chunk`.
        ((image + 1) * self.chunks() - 1) / self.n
    }

    /// What threads take: the images of each piece.
    fn pieces(&self) -> Vec<Range<usize>> {
        match self.grain() {
            Grain::Chunk => (0..self.chunks()).map(|c| self.chunk(c)).collect(),
            Grain::Image => (0..self.n).map(|i| i..i + 1).collect(),
        }
    }

    /// Runs `f` on every piece and returns the results in order. `scratch`: values that `f` takes from its arena (each rounded
    /// up to whole cache lines).
    pub(crate) fn map<T: Send>(&self, scratch: usize, f: impl Fn(Range<usize>, &mut Arena<'_>) -> T + Sync) -> Vec<T> {
        self.pieces().into_par_iter().with_max_len(1).map(|images| self.piece(scratch, images, &f)).collect()
    }

    fn piece<T>(&self, scratch: usize, images: Range<usize>, f: impl FnOnce(Range<usize>, &mut Arena<'_>) -> T) -> T {
        let result = self.runtime.with_scratch(scratch, |arena| f(images, arena));
        fence();
        result
    }

    /// Sum over the images of what `f` returns, which must itself be the sum, in order, of what it would return for each of
    /// its images.
    pub(crate) fn sum(&self, scratch: usize, f: impl Fn(Range<usize>, &mut Arena<'_>) -> Vec<f64> + Sync) -> Vec<f64> {
        self.total(self.map(scratch, f))
    }

    /// As [`Run::sum`]. `f` also writes to its last argument the sum, in order, of what it would write for each of its
    /// images, for [`Partials::total`]; of [`Sums::chunks`] only where it is given a whole chunk.
    pub(crate) fn sum_with(
        &self,
        partials: &mut Partials,
        scratch: usize,
        sums: Sums,
        f: impl Fn(Range<usize>, &mut Arena<'_>, &mut [f32]) -> Vec<f64> + Sync,
    ) -> Vec<f64> {
        partials.chunks.resize_with(CHUNKS, Buf::default);
        partials.chunks[..self.chunks()].iter_mut().for_each(|b| b.ensure(sums.len()));
        let (to, len) = match self.grain() {
            Grain::Chunk => (&mut partials.chunks, sums.len()),
            Grain::Image => {
                if partials.images.len() < self.n {
                    partials.images.resize_with(self.n, Buf::default);
                }
                partials.images[..self.n].iter_mut().for_each(|b| b.ensure(sums.images));
                (&mut partials.images, sums.images)
            }
        };
        let pieces = self.pieces().into_par_iter().zip(to.par_iter_mut()).with_max_len(1);
        let piece = |(images, to): (Range<usize>, &mut Buf)| {
            self.piece(scratch, images, |images, arena| f(images, arena, &mut to[..len]))
        };
        let results = pieces.map(piece).collect();
        if self.grain() == Grain::Image && sums.images > 0 {
            let images = &partials.images;
            partials.chunks[..self.chunks()].par_iter_mut().enumerate().for_each(|(c, to)| {
                let (first, rest) = images[self.chunk(c)].split_first().expect("a chunk has images");
                let rest: Vec<&[f32]> = rest.iter().map(|b| &b[..sums.images]).collect();
                to[..sums.images].copy_from_slice(&first[..sums.images]);
                add_up(&mut to[..sums.images], &rest);
            });
        }
        self.total(results)
    }

    /// The sum over the pieces of a pass: over the images of each chunk, then over the chunks.
    fn total(&self, pieces: Vec<Vec<f64>>) -> Vec<f64> {
        let add = |mut sum: Vec<f64>, part: Vec<f64>| {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
            sum
        };
        let mut pieces = pieces.into_iter();
        let chunk = |c| match self.grain() {
            Grain::Chunk => pieces.next(),
            Grain::Image => pieces.by_ref().take(self.chunk(c).len()).reduce(add),
        };
        (0..self.chunks()).filter_map(chunk).reduce(add).unwrap_or_default()
    }
}

/// A piece's images in blocks of at most `per`.
pub(crate) fn blocks(images: Range<usize>, per: usize) -> impl Iterator<Item = Range<usize>> {
    images.clone().step_by(per).map(move |first| first..images.end.min(first + per))
}

/// Adds `part` to `sums` in f64.
pub(crate) fn add_f64(sums: &mut [f64], part: &[f32]) {
    for (s, &p) in sums.iter_mut().zip(part) {
        *s += f64::from(p);
    }
}

#[cfg(test)]
mod tests {
    use super::super::runtime::{Kernels, Options};
    use super::*;

    fn runtime(threads: usize) -> Runtime {
        Runtime::new(Options { threads, kernels: Kernels::Auto }).unwrap()
    }

    #[test]
    fn a_batch_is_cut_fine_enough_for_the_threads() {
        for (threads, pieces) in [
            (1, 8),
            (2, 8),
            (3, 8),
            (4, 8),
            (5, 64),
            (6, 64),
            (7, 64),
            (8, 8),
            (9, 8),
            (10, 64),
            (12, 64),
            (16, 64),
            (64, 64),
        ] {
            let (runtime, partials) = (runtime(threads), Mutex::default());
            let run = Run { runtime: &runtime, partials: &partials, n: 64 };
            assert_eq!(run.pieces().len(), pieces, "{threads} threads");
        }
    }

    #[test]
    fn pieces_are_all_images_in_order_and_chunks_know_theirs() {
        let (partials, threads) = (Mutex::default(), [runtime(2), runtime(6)]);
        for n in (1..20).chain([64, 96, 100]) {
            for runtime in &threads {
                let run = Run { runtime, partials: &partials, n };
                assert!(run.pieces().into_iter().flatten().eq(0..n), "{n} images");
                for c in 0..run.chunks() {
                    assert!(run.chunk(c).all(|image| run.chunk_of(image) == c), "chunk {c} of {n} images");
                }
            }
        }
    }

    /// Numbers whose sum depends on the order.
    #[test]
    fn sums_do_not_depend_on_the_grain() {
        let value = |image: usize, k: usize| 1.0 / (3 + image * 7 + k) as f32;
        let sums = Sums { images: 40_000, chunks: 0 };
        let all = [2, 6].map(|threads| {
            let (runtime, partials) = (runtime(threads), Mutex::new(Partials::default()));
            let run = Run { runtime: &runtime, partials: &partials, n: 21 };
            let mut partials = run.partials();
            let total = run.sum_with(&mut partials, 0, sums, |images, _, to| {
                let first = images.start;
                let mut sum = vec![0.0];
                for image in images {
                    sum[0] += f64::from(value(image, 0)).sqrt();
                    for (k, to) in to.iter_mut().enumerate() {
                        *to = if image == first { value(image, k) } else { *to + value(image, k) };
                    }
                }
                sum
            });
            (total, partials.total(&run, sums).to_vec())
        });
        assert!(all[0] == all[1]);
        let sum: f64 = (0..21).map(|image| f64::from(value(image, 39_999))).sum();
        assert!((f64::from(all[0].1[39_999]) - sum).abs() < 1e-7 * sum);
    }
}
