//! The forward pass of a source: make it, take its codes, feed what reads it.

use super::buffer::Buf;
use super::codes::{CodeSink, Slots, Taken};
use super::group::{Forward, Group};
use super::kernels::elementwise::{self as elem, Pool, Term};
use super::output::Reading;
use super::padded::{Affine, Padded};
use super::params::Params;
use super::pass::Cx;
use super::paths::PathTerms;
use super::pieces::blocks;
use super::plan::{Origin, Plan, Reader, Source, SourceId, TermOf};
use super::plane::{Mode, Plane, Terms};
use super::runtime::{Arena, Exec, room};
use super::unit::{UnitId, Units};
use crate::contract::Codes;

/// Values of a batch's tensor from which on it is written past the caches: it would not stay there until it is read.
const STREAM: usize = 1 << 18;

/// Values of mixed outputs that stay in a second-level cache.
const CODED: usize = 1 << 16;

/// How the pass of a source makes it: the sum of terms, and of the 3x3 average of others (averaging is linear, so one pass
/// serves all edges and no averaged tensor is kept).
struct Made<'a> {
    plain: PathTerms<'a>,
    averaged: PathTerms<'a>,
    shift: &'a [f32],
    /// What the plain terms add to the shift: a weight, and channels.
    shifts: Vec<Option<(f32, &'a [f32])>>,
    zeros: Vec<f32>,
}

impl Made<'_> {
    /// Values of the scratch that [`Made::write`] needs.
    fn scratch(&self, p: Plane) -> [usize; 2] {
        if self.averaged.terms.is_empty() { [0, 0] } else { average_scratch(p) }
    }

    /// Values of the scratch for what drop-path multiplies.
    fn dropping(&self, c: usize) -> usize {
        let [plain, averaged] = [&self.plain, &self.averaged].map(|terms| terms.scratch(c));
        if plain == 0 { averaged } else { plain.max(averaged) + c }
    }

    /// Writes the image `i` at `o` to `x`. `row` begins and ends with a pixel of zeros. Without `dropping` nothing is dropped.
    ///
    /// # Safety
    /// The terms' sources were written by earlier passes; `x` has room for an image, `z`, `row` and `dropping` as
    /// [`Made::scratch`] and [`Made::dropping`] say.
    #[allow(clippy::too_many_arguments)]
    unsafe fn write(
        &self,
        exec: Exec,
        p: Plane,
        (i, o): (usize, usize),
        x: *mut f32,
        here: &mut Vec<Term>,
        z: *mut f32,
        row: *mut f32,
        dropping: &mut [f32],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let mut shift = self.shift;
            let mut scales = &mut *dropping;
            if self.plain.scratch(p.padded) > 0
                && let Some(own) = scales.split_off_mut(..p.padded)
            {
                own.fill(0.0);
                for (factors, (weight, channels)) in
                    self.plain.factors.iter().zip(&self.shifts).filter_map(|(f, s)| Some((f, (*s)?)))
                {
                    let weight = factors.map_or(1.0, |f| f[i]) * weight;
                    own.iter_mut().zip(channels).for_each(|(own, channel)| *own += weight * channel);
                }
                shift = own;
            }
            self.plain.at(i, o, p.padded, scales, here);
            elem::mix(exec.isa, x, here, shift.as_ptr(), p.pixels(), p.padded);
            if !self.averaged.terms.is_empty() {
                self.averaged.at(i, o, p.padded, scales, here);
                elem::mix(exec.isa, z, here, self.zeros.as_ptr(), p.pixels(), p.padded);
                elem::box_sum(exec.isa, z, x, p.height, p.width, p.padded, Pool::AddAverage, row);
            }
        }
    }
}

/// Values of an image, and of a row in a border, for 3x3 averages.
pub(super) fn average_scratch(p: Plane) -> [usize; 2] {
    [p.len(), (p.width + 2) * p.padded]
}

impl Plan {
    /// Scales and shift of a mix.
    pub(super) fn set_mixing(&mut self, id: SourceId, units: &Units, w: &[f32]) {
        let Source { origin: Origin::Mix { terms, .. }, scales, shift, .. } = &mut self.sources[id] else { return };
        shift.fill(0.0);
        for (term, scale) in terms.iter().zip(scales) {
            let weight = term.place.map_or(1.0, |place| w[place]);
            let unit = match term.of {
                TermOf::Unit(unit) => Some(&units[unit]),
                TermOf::Source(_) | TermOf::Average(_) => None,
            };
            match unit.and_then(|u| Some((u.to.channels, u.norm.as_ref()?))) {
                Some((channels, norm)) => {
                    for c in 0..channels {
                        scale[c] = weight * norm.scale[c];
                        shift[c] += weight * norm.shift[c];
                    }
                }
                None => scale.fill(weight),
            }
        }
    }

    /// What is to be written for a source; `None` where nothing is.
    fn made<'a>(&'a self, cx: &'a Cx<'_>, id: SourceId, units: &'a Units) -> Option<Made<'a>> {
        let source = &self.sources[id];
        let (mut plain, mut averaged, mut shifts) = (PathTerms::default(), PathTerms::default(), vec![]);
        let zeros = vec![0.0; source.plane.padded];
        match &source.origin {
            Origin::Mix { terms, .. } => {
                for (term, scale) in terms.iter().zip(&source.scales) {
                    // Its gradient is wanted in training; else it takes part in another pass over the same images only.
                    if cx.g.is_empty() && term.place.is_some_and(|place| cx.w[place] == 0.0) {
                        continue;
                    }
                    let (list, src) = match term.of {
                        TermOf::Source(from) => (&mut plain, cx.x[from]),
                        TermOf::Average(from) => (&mut averaged, cx.x[from]),
                        TermOf::Unit(unit) => (&mut plain, cx.y[unit]),
                    };
                    list.push(Term { src: src.0, scale: scale.as_ptr() }, cx.paths.of(term.path));
                    if !matches!(term.of, TermOf::Average(_)) {
                        let norm = if let TermOf::Unit(unit) = term.of { units[unit].norm.as_ref() } else { None };
                        shifts.push(norm.map(|norm| (term.place.map_or(1.0, |place| cx.w[place]), &norm.shift[..])));
                    }
                }
                Some(Made { plain, averaged, shift: &source.shift, shifts, zeros })
            }
            &Origin::Unit { unit, stored: true, .. } => {
                let norm = units[unit].norm.as_ref()?;
                plain.push(Term { src: cx.y[unit].0, scale: norm.scale.as_ptr() }, None);
                Some(Made { plain, averaged, shift: &norm.shift, shifts, zeros })
            }
            Origin::Unit { .. } | Origin::Concat(_) | Origin::Image => None,
        }
    }

    /// What a source is read through.
    pub(super) fn affine<'a>(&self, id: SourceId, units: &'a Units) -> Affine<'a> {
        match self.sources[id].origin {
            Origin::Unit { unit, stored: false, .. } => units[unit].norm.as_ref().map(|n| (&n.scale[..], &n.shift[..])),
            Origin::Unit { .. } | Origin::Mix { .. } | Origin::Concat(_) | Origin::Image => None,
        }
    }

    /// The forward pass of a source. `taken`: where its codes are kept.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn forward(
        &mut self,
        cx: &Cx<'_>,
        id: SourceId,
        units: &mut Units,
        params: &Params,
        mode: Mode,
        mut codes: Option<&mut CodeSink>,
        taken: Option<&mut Vec<Taken>>,
    ) {
        self.set_mixing(id, units, cx.w);
        let jobs = codes.as_ref().map_or(vec![], |sink| self.code_jobs(sink.kind(), id));
        let slots = codes.as_mut().map(|sink| sink.slots(jobs.len(), self.sources[id].plane));
        if let Origin::Unit { unit, of: Some(_), .. } = self.sources[id].origin {
            self.normalise(cx, id, unit, units, params, mode);
        }
        let (pivots, sums) = {
            let made = self.made(cx, id, units);
            let pivots = self.pivots(cx, id, units, made.as_ref());
            let sums = self.images(cx, id, units, made.as_ref(), &pivots, slots.map(|s| (&jobs[..], s)));
            (pivots, sums)
        };
        if let Some(sink) = codes {
            sink.add(cx.run, self.sources[id].plane, cx.w, jobs.iter().map(|j| &j.counts), taken);
        }
        let count = |c: usize| (cx.run.n * c) as f64;
        let mut rest = &sums[..];
        for (g, group) in self.sources[id].groups.iter().enumerate() {
            let (to, c) = (group.to(), group.to().padded);
            // Members of one output share its moments.
            let columns = group.outputs().len() * c;
            let sums = rest.split_off(..2 * columns).expect("moments of each group");
            for (k, &unit) in group.members().iter().enumerate() {
                let Some(norm) = &mut units[unit].norm else { continue };
                let at = k.min(group.outputs().len() - 1) * c;
                // Pools are normalised by the batch in any mode: they have no running statistics.
                if mode == Mode::Running && norm.running.is_some() {
                    norm.set_running(params);
                    continue;
                }
                let (count, train) = (count(to.pixels()), mode == Mode::Train);
                norm.set_batch(params, &sums[at..], &sums[columns + at..], &pivots[g][at..], count, train);
            }
        }
    }

    /// Statistics of a source whose unit is nothing but a normalisation.
    fn normalise(&self, cx: &Cx<'_>, id: SourceId, unit: UnitId, units: &mut Units, params: &Params, mode: Mode) {
        let (p, c, x) = (self.sources[id].plane, self.sources[id].plane.padded, cx.x[id]);
        let Some(norm) = &mut units[unit].norm else { return };
        if mode == Mode::Running {
            return norm.set_running(params);
        }
        let middle = (p.height / 2 * p.width + p.width / 2) * c;
        // SAFETY: a pixel of image 0, written by an earlier pass.
        let pivot = unsafe { std::slice::from_raw_parts(x.at(middle), c) }.to_vec();
        let sums = cx.run.sum(0, |images, _| {
            let mut sums = vec![0f64; 2 * c];
            for i in images {
                // SAFETY: image i, only read.
                let image = unsafe { std::slice::from_raw_parts(x.at(i * p.len()), p.len()) };
                let mut own = vec![0f64; 2 * c];
                for pixel in image.chunks_exact(c) {
                    for k in 0..c {
                        let d = f64::from(pixel[k] - pivot[k]);
                        own[k] += d;
                        own[c + k] += d * d;
                    }
                }
                sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            }
            sums
        });
        norm.set_batch(params, &sums, &sums[c..], &pivot, (cx.run.n * p.pixels()) as f64, mode == Mode::Train);
    }

    /// The pass over the images; the moments of each group of convolutions, one after the other.
    fn images(
        &self,
        cx: &Cx<'_>,
        id: SourceId,
        units: &Units,
        made: Option<&Made<'_>>,
        pivots: &[Vec<f32>],
        codes: Option<(&[CodeJob], Slots)>,
    ) -> Vec<f64> {
        let source = &self.sources[id];
        let affine = self.affine(id, units);
        if made.is_none() && source.groups.is_empty() && codes.is_none_or(|(jobs, _)| jobs.is_empty()) {
            return vec![];
        }
        let (p, exec) = (source.plane, cx.run.exec());
        let (c, len) = (p.padded, p.len());
        let averages = codes.is_some_and(|(jobs, _)| jobs.iter().any(|j| j.code == Code::Average));
        let [z_len, row_len] = match made {
            _ if averages => average_scratch(p),
            Some(made) => made.scratch(p),
            None => [0, 0],
        };
        let padded = [true, false].map(|relu| Padded::of(source, relu, affine));
        let per = source.images_per_block;
        let together = if let Origin::Concat(_) = source.origin { len } else { 0 };
        let (ones, zeros) = (vec![1f32; c], vec![0f32; c]);
        let dropping = made.map_or(0, |made| made.dropping(c));
        // Outputs whose codes are taken; so many rows of the mix at a time that they are still in a cache then.
        let jobs = codes.iter().flat_map(|(jobs, _)| jobs.iter().enumerate());
        let coded: Vec<(usize, UnitId)> = jobs
            .filter_map(|(slot, job)| if let Code::Unit(unit) = job.code { Some((slot, unit)) } else { None })
            .collect();
        let whole = coded.is_empty() || made.is_none_or(|made| !made.averaged.terms.is_empty());
        let rows = if whole { p.height } else { (CODED / (coded.len() * p.width * c)).clamp(1, p.height) };
        let scratch = room(&[z_len, row_len, together, dropping])
            + padded.iter().flatten().map(|r| Arena::room(r.len())).sum::<usize>()
            + source.groups.iter().map(|g| Forward::room(g, per)).sum::<usize>();
        cx.run.sum(scratch, |images, arena| {
            let row = arena.zeros(row_len);
            let z = arena.take(z_len);
            let together = arena.take(together);
            let dropping = arena.take(dropping);
            let mut r = padded.map(|padded| arena.zeros(padded.map_or(0, |r| r.len())));
            let mut groups: Vec<Forward<'_>> = vec![];
            for (group, pivot) in source.groups.iter().zip(pivots) {
                let stream = cx.run.n * group.to().len() >= STREAM;
                groups.push(Forward::new(group, exec, per, stream, pivot, arena));
            }
            let mut here = vec![];
            for block in blocks(images, per) {
                for (q, i) in block.clone().enumerate() {
                    let o = i * len;
                    // SAFETY: images of a piece belong to this thread: it alone writes their part of the source and of
                    // the outputs; the terms' sources were written by earlier passes. Lengths are those of the plan.
                    unsafe {
                        let x = match &source.origin {
                            Origin::Concat(parts) => self.put_together(cx, parts, i, together),
                            Origin::Image | Origin::Mix { .. } | Origin::Unit { .. } => cx.x[id].at(o),
                        };
                        let (z, row) = (z.as_mut_ptr(), row.as_mut_ptr());
                        let code = |slot: usize, src: *const f32, through: Affine<'_>, p: Plane, first: usize| {
                            let (scale, shift) = through.unwrap_or((&ones, &zeros));
                            let code = codes.expect("there are jobs").1.at(slot, i).add(first / 16);
                            elem::positive_code(exec.isa, src, scale.as_ptr(), shift.as_ptr(), p.pixels(), c, code);
                        };
                        for y in made.iter().flat_map(|_| (0..p.height).step_by(rows)) {
                            let (band, first) = (Plane { height: rows.min(p.height - y), ..p }, y * p.width * c);
                            let (o, x) = (o + first, x.add(first));
                            if let Some(made) = made {
                                made.write(exec, band, (i, o), x, &mut here, z, row, dropping);
                            }
                            for &(slot, unit) in &coded {
                                let norm = units[unit].norm.as_ref().map(|n| (&n.scale[..], &n.shift[..]));
                                code(slot, cx.y[unit].at(o), norm, band, first);
                            }
                        }
                        for (slot, job) in codes.iter().flat_map(|(jobs, _)| jobs.iter().enumerate()) {
                            match job.code {
                                Code::Unit(_) => {}
                                Code::Source => code(slot, x, affine, p, 0),
                                Code::Average => {
                                    elem::box_sum(exec.isa, x, z, p.height, p.width, c, Pool::Average, row);
                                    code(slot, z, None, p, 0);
                                }
                            }
                        }
                        for (padded, r) in padded.iter().zip(&mut r) {
                            if let Some(padded) = padded {
                                padded.fill(exec, x, affine, r);
                            }
                        }
                        for (group, worker) in source.groups.iter().zip(&mut groups) {
                            worker.image(q, i, reading(group, &padded, [r[0], r[1]], x, p.width), &cx.y);
                        }
                    }
                }
                for group in &mut groups {
                    // SAFETY: as above.
                    unsafe { group.block(block.len(), block.start, &cx.y) }
                }
            }
            groups.into_iter().flat_map(Forward::sums).collect()
        })
    }

    /// Puts image `i` of a concatenation together.
    ///
    /// # Safety
    /// The parts were written by earlier passes; `to` has room for an image.
    pub(super) unsafe fn put_together(&self, cx: &Cx<'_>, parts: &[SourceId], i: usize, to: &mut [f32]) -> *mut f32 {
        let mut first = 0;
        for &part in parts {
            let (p, step) = (self.sources[part].plane, to.len() / self.sources[part].plane.pixels());
            // SAFETY: the caller's contract.
            unsafe {
                let (from, to) = (cx.x[part].at(i * p.len()), to[first..].as_mut_ptr());
                elem::rows(cx.run.exec().isa, from, p.padded, p.pixels(), p.padded, to, step, false);
            }
            first += p.padded;
        }
        to.as_mut_ptr()
    }

    /// For each group a value near the mean of every output channel: the output in the middle of the first image. Within a
    /// block averages are left out of the mix (they hardly move a mean); the output of a block is made as it is.
    fn pivots(&self, cx: &Cx<'_>, id: SourceId, units: &Units, made: Option<&Made<'_>>) -> Vec<Vec<f32>> {
        let source = &self.sources[id];
        let affine = self.affine(id, units);
        let (p, c, exec) = (source.plane, source.plane.padded, cx.run.exec());
        let terms = made.map(|m| Terms(m.plain.terms.0.iter().chain(&m.averaged.terms.0).copied().collect()));
        let mut here = vec![];
        let mut pixel = Buf::zeros(c);
        let exact = source.ends_block && !source.groups.is_empty();
        if let Some(made) = made.filter(|_| exact) {
            // What averages need of the rows next to those that are read is there as well.
            let rows = source.groups.iter().map(Group::pivot_rows);
            let rows = rows.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..p.height);
            let rows = rows.start.min(p.height - 1).saturating_sub(1)..(rows.end + 1).min(p.height);
            let band = Plane { height: rows.len(), ..p };
            let o = rows.start * p.width * c;
            let [mut z, mut row] = made.scratch(band).map(Buf::zeros);
            // SAFETY: rows of image 0, which the pass writes again; its sources were written by earlier passes.
            unsafe {
                let (x, z, row) = (cx.x[id].at(o), z.as_mut_ptr(), row.as_mut_ptr());
                made.write(exec, band, (0, o), x, &mut here, z, row, &mut []);
            }
        }
        let mut read = |(y, x): (usize, usize), relu: bool, to: &mut [f32]| {
            let o = (y * p.width + x) * c;
            // SAFETY: a pixel of image 0; its sources were written by earlier passes.
            unsafe {
                match (&terms, made, &source.origin) {
                    (Some(terms), Some(made), _) if !exact => {
                        terms.at(o, &mut here);
                        elem::mix(exec.isa, pixel.as_mut_ptr(), &here, made.shift.as_ptr(), 1, c);
                    }
                    (_, _, Origin::Concat(parts)) => {
                        let mut rest = &mut pixel[..];
                        for &part in parts {
                            let c = self.sources[part].plane.padded;
                            let from = cx.x[part].at((y * p.width + x) * c);
                            rest[..c].copy_from_slice(std::slice::from_raw_parts(from, c));
                            rest = &mut rest[c..];
                        }
                    }
                    _ => pixel.copy_from_slice(std::slice::from_raw_parts(cx.x[id].at(o), c)),
                }
                read_pixel(exec, &pixel, affine, relu, to);
            }
        };
        source.groups.iter().map(|group| group.pivot(exec, p, &mut read)).collect()
    }

    /// Codes that the pass of a source can take while their values are in cache: of the units that are mixed into it, and of
    /// the source itself, which its readers share.
    pub(super) fn code_jobs(&self, kind: Codes, id: SourceId) -> Vec<CodeJob> {
        let source = &self.sources[id];
        let job = |code, ops: Vec<usize>, outside| CodeJob { code, counts: (ops, outside) };
        let places = |readers: &[Reader]| readers.iter().filter_map(|r| r.place).collect();
        let mut jobs = vec![];
        match kind {
            Codes::ReluInputs => {
                let (ops, outside) = source.relus.clone();
                jobs.push(job(Code::Source, ops, outside));
                // Of a value that only a mix reads now: the ReLUs are there, whether anything comes after them or not.
                if let Origin::Mix { terms, .. } = &source.origin {
                    jobs.extend(terms.iter().filter_map(|t| match t.of {
                        TermOf::Unit(unit) => {
                            let (ops, outside) = self.idle_relus.get(&unit)?.clone();
                            Some(job(Code::Unit(unit), ops, outside))
                        }
                        TermOf::Source(_) | TermOf::Average(_) => None,
                    }));
                }
            }
            Codes::OpOutputs => {
                if let Origin::Mix { terms, .. } = &source.origin {
                    jobs.extend(terms.iter().filter_map(|t| match t.of {
                        TermOf::Unit(unit) => Some(job(Code::Unit(unit), vec![t.place?], 0)),
                        TermOf::Source(_) | TermOf::Average(_) => None,
                    }));
                }
                jobs.push(job(Code::Source, places(&source.skips), 0));
                jobs.push(job(Code::Average, places(&source.averages), 0));
            }
        }
        jobs.retain(|j| !j.counts.0.is_empty() || j.counts.1 > 0);
        jobs
    }
}

/// What a group reads of an image `x` in rows of `width` pixels, or of its copies `r` in a border, with ReLU and without.
pub(super) fn reading(
    group: &Group,
    padded: &[Option<Padded>; 2],
    r: [&[f32]; 2],
    x: *const f32,
    width: usize,
) -> Reading {
    let copy = group.border().and_then(|(relu, _)| {
        let which = usize::from(!relu);
        Some(padded[which]?.reading(group.padding(), r[which]))
    });
    copy.unwrap_or(Reading { src: x, width })
}

/// A pixel as convolutions read it.
///
/// # Safety
/// All have the same channels.
unsafe fn read_pixel(exec: Exec, pixel: &[f32], affine: Affine<'_>, relu: bool, to: &mut [f32]) {
    let (c, isa) = (pixel.len(), exec.isa);
    let (from, to_start) = (pixel.as_ptr(), to.as_mut_ptr());
    // SAFETY: the caller's contract.
    unsafe {
        match affine {
            Some((scale, shift)) if relu => {
                elem::scale_shift_relu(isa, from, scale.as_ptr(), shift.as_ptr(), 1, 1, c, to_start, c);
            }
            Some((scale, shift)) => {
                elem::mix(isa, to_start, &[Term { src: from, scale: scale.as_ptr() }], shift.as_ptr(), 1, c);
            }
            None if relu => elem::pad(isa, from, 1, c, true, to_start, c),
            None => to.copy_from_slice(pixel),
        }
    }
}

/// A binary code that the pass of a source takes; the operations, and the number of ReLUs of none, that it counts for.
pub(super) struct CodeJob {
    code: Code,
    counts: (Vec<usize>, usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// Output of a unit that is mixed in, after normalisation.
    Unit(UnitId),
    /// The source.
    Source,
    /// Its 3x3 average.
    Average,
}
