//! The backward pass of a source: gather its gradient from what reads it, with the gradients of the weights of that, and
//! take the sums that what it is made of needs.

use std::ops::Range;

use super::buffer::{Buf, Ptr};
use super::convolve::Transformed;
use super::forward::{average_scratch, reading};
use super::group::{Backward, Group};
use super::kernels::elementwise::{self as elem, Pool, Term};
use super::output::OutputGrad;
use super::padded::Padded;
use super::params::Params;
use super::pass::Cx;
use super::paths::{Factors, PathTerms};
use super::pieces::{Grain, Partials, Sums, add_f64, blocks};
use super::plan::{Origin, Plan, Reader, SourceId, Term as MixTerm, TermOf};
use super::plane::{Plane, Terms};
use super::runtime::{Arena, Exec, room};
use super::unit::{UnitId, Units};

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) omega: bool,
    pub(super) mixing: bool,
}

/// Gradients of the mixing.
#[derive(Clone, Debug)]
pub(super) struct MixingGrads {
    /// `dL/dw`, `[R, O]`.
    pub(super) per_op: Vec<f64>,
    /// Sum of `dL/d output` of each edge, `[R]`.
    pub(super) per_edge: Vec<f64>,
}

/// What the classifier hands back: of each image the gradient of the mean over the pixels, `[n, stored channels]`.
pub(super) type Classifier<'a> = Option<&'a [f32]>;

/// Terms over the gradients of the mixes that a source is read by as it is, or as its average: of weights, and of ones.
struct PassThrough<'a> {
    terms: PathTerms<'a>,
    places: Vec<Option<usize>>,
    scales: Vec<Buf>,
}

impl<'a> PassThrough<'a> {
    fn new(cx: &'a Cx<'_>, readers: &[Reader], c: usize) -> Self {
        let mut through = PassThrough { terms: PathTerms::default(), places: vec![], scales: vec![] };
        for reader in readers {
            let mut scale = Buf::zeros(c);
            scale.fill(reader.place.map_or(1.0, |place| cx.w[place]));
            let term = Term { src: cx.g[reader.source].0, scale: scale.as_ptr() };
            through.terms.push(term, cx.paths.of(reader.path));
            through.scales.push(scale);
            through.places.push(reader.place);
        }
        through
    }

    /// The gradients themselves, for products with the source.
    fn unscaled(&self, zeros: &[f32]) -> Terms {
        Terms(self.terms.terms.0.iter().map(|t| Term { scale: zeros.as_ptr(), ..*t }).collect())
    }
}

impl Plan {
    /// Whether the gradient of a source is wanted.
    fn wants(&self, id: SourceId, want: Wanted) -> bool {
        let depends = self.sources[id].depends;
        (want.omega && depends.omega) || (want.mixing && depends.mixing)
    }

    /// Units that a source is made of, whose sums its pass takes: each with the index of its weight in `w`.
    fn summed(&self, id: SourceId, units: &Units, want: Wanted) -> Vec<(UnitId, Option<usize>)> {
        match &self.sources[id].origin {
            Origin::Image | Origin::Concat(_) => vec![],
            &Origin::Unit { unit, .. } => vec![(unit, None)],
            Origin::Mix { terms, .. } => {
                let unit = |term: &MixTerm| match term.of {
                    TermOf::Unit(unit) => Some((unit, term.place)),
                    TermOf::Source(_) | TermOf::Average(_) => None,
                };
                // Without normalisation the sums say dL/dw and nothing else.
                let needed = |&(unit, place): &(UnitId, Option<usize>)| {
                    units[unit].norm.is_some() || (want.mixing && place.is_some())
                };
                terms.iter().filter_map(unit).filter(needed).collect()
            }
        }
    }

    /// The backward pass of a source.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn backward(
        &mut self,
        cx: &Cx<'_>,
        id: SourceId,
        classifier: Classifier<'_>,
        units: &mut Units,
        params: &mut Params,
        want: Wanted,
        mixing: &mut MixingGrads,
    ) {
        let own = self.wants(id, want);
        let source = &self.sources[id];
        let through = [&source.skips, &source.averages].map(|r| PassThrough::new(cx, r, source.plane.padded));
        let dots = if want.mixing { through.iter().map(|t| t.places.len()).sum() } else { 0 };
        if !own && dots == 0 && (!want.omega || source.groups.is_empty()) {
            return;
        }
        let summed = if own { self.summed(id, units, want) } else { vec![] };
        let mut sums = self.gather(cx, id, classifier, units, params, want, own, &through, &summed);
        let places = through.iter().flat_map(|t| &t.places);
        for (dot, place) in sums.split_off(sums.len() - dots).into_iter().zip(places) {
            if let Some(place) = place {
                mixing.per_op[*place] += dot;
            }
        }
        if own && !matches!(self.sources[id].origin, Origin::Concat(_)) {
            self.set_grads(cx, id, &summed, &sums, units, params, want, mixing);
        }
    }

    /// Turns the sums of a source into `dL/dw` of the units it is made of and the coefficients of their normalisations. What
    /// is added to an edge's output reaches the mix as it is, so the sum of the mix's gradient is the edge's.
    #[allow(clippy::too_many_arguments)]
    fn set_grads(
        &self,
        cx: &Cx<'_>,
        id: SourceId,
        summed: &[(UnitId, Option<usize>)],
        sums: &[f64],
        units: &mut Units,
        params: &mut Params,
        want: Wanted,
        mixing: &mut MixingGrads,
    ) {
        let source = &self.sources[id];
        let (c, channels) = (source.plane.padded, source.plane.channels);
        let count = (cx.run.n * source.plane.pixels()) as f64;
        if let Origin::Mix { terms, rows } = &source.origin {
            let sum: f64 = sums[..channels].iter().sum();
            rows.iter().for_each(|&row| mixing.per_edge[row] += sum);
            for term in terms {
                if let TermOf::Unit(unit) = term.of {
                    units[unit].set_plain(term.place.map_or(1.0, |place| cx.w[place]));
                }
            }
        }
        for (i, &(unit, place)) in summed.iter().enumerate() {
            let gy = &sums[(1 + i) * c..(2 + i) * c];
            // Of what is dropped now and then the gradient has a sum of its own.
            let g = if cx.paths.of(Some(unit)).is_some() { &sums[(1 + summed.len() + i) * c..] } else { sums };
            let weight = place.map_or(1.0, |place| f64::from(cx.w[place]));
            let dw = match &mut units[unit].norm {
                Some(norm) => norm.backward(params, &g[..c], gy, weight, count, want.omega),
                None => gy[..channels].iter().sum(),
            };
            if let Some(place) = place {
                mixing.per_op[place] += dw;
            }
        }
    }

    /// The pass over the images. Returns the sums: `[1 + summed][channels]` of the own gradient, then the products of the
    /// source with the gradients of the mixes that read it.
    #[allow(clippy::too_many_arguments)]
    fn gather(
        &self,
        cx: &Cx<'_>,
        id: SourceId,
        classifier: Classifier<'_>,
        units: &Units,
        params: &mut Params,
        want: Wanted,
        own: bool,
        [skips, averages]: &[PassThrough<'_>; 2],
        summed: &[(UnitId, Option<usize>)],
    ) -> Vec<f64> {
        let source = &self.sources[id];
        let (p, exec, affine) = (source.plane, cx.run.exec(), self.affine(id, units));
        let (c, len) = (p.padded, p.len());
        let parts: &[SourceId] = if let Origin::Concat(parts) = &source.origin { parts } else { &[] };
        let zeros = vec![0f32; c];
        let ones = vec![1f32; c];
        let dots = if want.mixing { [skips.places.len(), averages.places.len()] } else { [0, 0] };
        let (skip_dots, average_dots) = (skips.unscaled(&zeros), averages.unscaled(&zeros));
        let against = Terms(
            summed
                .iter()
                .map(|&(unit, _)| {
                    let mean = units[unit].norm.as_ref().map_or(zeros.as_ptr(), |n| n.mean.as_ptr());
                    Term { src: self.output(cx, unit).0, scale: mean }
                })
                .collect(),
        );
        let outputs: Vec<Vec<OutputGrad>> = source
            .groups
            .iter()
            .map(|g| g.members().iter().map(|&u| self.output_grad(cx, u, units)).collect())
            .collect();
        let norms: Vec<OutputGrad> = source.norms.iter().map(|&n| self.norm_grad(cx, n, units)).collect();
        // Without weight gradients and one of its own, the convolutions have nothing to do.
        let groups: &[_] = if want.omega || own { &source.groups } else { &[] };
        let (dws, sums) = weight_sums(groups, want.omega);
        let one_len = dws.iter().filter(|dw| dw.end <= sums.images).map(ExactSizeIterator::len).max().unwrap_or(0);
        let padded = [true, false].map(|relu| Padded::of(source, relu, affine).filter(|_| !groups.is_empty()));
        let masked = affine.is_some() && own;
        let [z_len, row_len] = if averages.places.is_empty() { [0, 0] } else { average_scratch(p) };
        let dropped: Vec<_> = summed.iter().map(|&(unit, _)| cx.paths.of(Some(unit))).collect();
        let one_by_one = dropped.iter().any(Option::is_some);
        let part_sums = if own && parts.is_empty() { (1 + summed.len()) * c } else { 0 };
        let own_sums = if one_by_one && part_sums > 0 { part_sums + summed.len() * c } else { part_sums };
        let part_len = part_sums.max((1 + dots[0].max(dots[1])) * c);
        let per = source.images_per_block;
        let together_len = if parts.is_empty() { 0 } else { len };
        let mask_len = if classifier.is_some() && source.classified.is_some_and(|c| c.relu) { len } else { 0 };
        // Gradients of what the convolutions read: of the ReLU, and of the source itself.
        let reads = |group: &Group| usize::from(!group.border().is_some_and(|(relu, _)| relu));
        let dr_lens = [0, 1].map(|which| if groups.iter().any(|g| reads(g) == which) { per * len } else { 0 });
        let dy_len = if norms.is_empty() { 0 } else { len };
        let mut partials = cx.run.partials();
        let transformed = transformed(cx, groups, per, want.omega, &mut partials);
        let sizes =
            [z_len, row_len, part_len, mask_len, dy_len, dr_lens[0], dr_lens[1], together_len, together_len, one_len];
        let dropping = skips.terms.scratch(c).max(averages.terms.scratch(c));
        let scratch = room(&sizes)
            + Arena::room(dropping)
            + padded.iter().flatten().map(|r| Arena::room(r.len())).sum::<usize>()
            + groups
                .iter()
                .zip(&transformed)
                .map(|(g, apart)| Backward::room(g, want.omega, per, apart.is_some()))
                .sum::<usize>();
        let totals = cx.run.sum_with(&mut partials, scratch, sums, |images, arena, dw| {
            let z = arena.take(z_len);
            let row = arena.zeros(row_len);
            let part = arena.take(part_len);
            let mask = arena.take(mask_len);
            let dy = arena.take(dy_len);
            // A concatenation and its gradient.
            let (together, apart) = (arena.take(together_len), arena.take(together_len));
            let dr = dr_lens.map(|len| arena.take(len));
            // The weight gradients of an image that is not the first.
            let one = arena.take(one_len);
            let dropping = arena.take(dropping);
            let first = images.start;
            let mut r = padded.map(|padded| arena.zeros(padded.map_or(0, |r| r.len())));
            let mut workers = vec![];
            for ((group, outputs), apart) in groups.iter().zip(&outputs).zip(&transformed) {
                let place = apart.map(|t| t.place(first));
                workers.push(Backward::new(group, exec, outputs, (want.omega, own), per, arena, place));
            }
            let mut totals = vec![0f64; own_sums + dots[0] + dots[1]];
            let mut here = vec![];
            for block in blocks(images, per) {
                // Which of `dr` hold something.
                let mut written = [false; 2];
                for (q, i) in block.clone().enumerate() {
                    let x = if parts.is_empty() {
                        cx.x[id].0.wrapping_add(i * len)
                    } else {
                        // SAFETY: the forward pass wrote the parts.
                        unsafe { self.put_together(cx, parts, i, together) }
                    };
                    written = [false; 2];
                    for (padded, r) in padded.iter().zip(&mut r) {
                        if let Some(padded) = padded.as_ref().filter(|_| want.omega) {
                            // SAFETY: sources and outputs were written by the forward pass, the gradients of later sources
                            // by earlier passes.
                            unsafe { padded.fill(exec, x, affine, r) }
                        }
                    }
                    for ((group, worker), own) in groups.iter().zip(&mut workers).zip(&dws) {
                        let which = reads(group);
                        let from = reading(group, &padded, [r[0], r[1]], x, p.width);
                        let to = (dr[which][q * len..].as_mut_ptr(), written[which]);
                        // Those of Winograd come when the chunk ends.
                        let own = if own.end <= sums.images { own.clone() } else { 0..0 };
                        let more = i > first && !own.is_empty();
                        // SAFETY: as above.
                        unsafe {
                            let own_dw = if more { &mut one[..own.len()] } else { &mut dw[own.clone()] };
                            written[which] |= worker.image(q, i, from, to, own_dw);
                            if more {
                                let (len, dw) = (own.len(), dw[own].as_mut_ptr());
                                elem::rows(exec.isa, one.as_ptr(), len, 1, len, dw, len, true);
                            }
                        }
                    }
                }
                workers.iter_mut().for_each(|worker| worker.block(block.len()));
                for (q, i) in block.enumerate() {
                    let o = i * len;
                    // SAFETY: images of a piece belong to this thread: it alone writes their part of the source's
                    // gradient; the rest as above. Lengths are those of the plan.
                    unsafe {
                        // A concatenation still stands as it was put together: its blocks are of one image.
                        let x = if parts.is_empty() { cx.x[id].at(o) } else { together.as_mut_ptr() };
                        let (z, row) = (z.as_mut_ptr(), row.as_mut_ptr());
                        let (own_totals, dot_totals) = totals.split_at_mut(own_sums);
                        let (skip_totals, average_totals) = dot_totals.split_at_mut(dots[0]);
                        if !skip_totals.is_empty() {
                            skip_dots.at(o, &mut here);
                            products(exec, x, &here, (p.pixels(), c), part, &skips.terms.factors, i, skip_totals);
                        }
                        if !average_totals.is_empty() {
                            elem::box_sum(exec.isa, x, z, p.height, p.width, c, Pool::Average, row);
                            average_dots.at(o, &mut here);
                            products(exec, z, &here, (p.pixels(), c), part, &averages.terms.factors, i, average_totals);
                        }
                        if !own {
                            continue;
                        }
                        let g = if parts.is_empty() { cx.g[id].at(o) } else { apart.as_mut_ptr() };
                        skips.terms.at(i, o, c, dropping, &mut here);
                        if !source.concats.is_empty() {
                            // Written by the pass of the concatenation.
                            here.push(Term { src: g, scale: ones.as_ptr() });
                        }
                        match norms.split_first() {
                            // The gradient of a normalisation alone is written at once.
                            Some((first, _)) if here.is_empty() => first.write(exec, i, p, g),
                            _ => elem::mix(exec.isa, g, &here, zeros.as_ptr(), p.pixels(), c),
                        }
                        for norm in norms.iter().skip(usize::from(here.is_empty())) {
                            norm.write(exec, i, p, dy.as_mut_ptr());
                            elem::rows(exec.isa, dy.as_ptr(), len, 1, len, g, len, true);
                        }
                        if !averages.places.is_empty() {
                            averages.terms.at(i, o, c, dropping, &mut here);
                            elem::mix(exec.isa, z, &here, zeros.as_ptr(), p.pixels(), c);
                            elem::box_sum(exec.isa, z, g, p.height, p.width, c, Pool::AddAdjoint, row);
                        }
                        for relu in [true, false] {
                            let which = usize::from(!relu);
                            if dr[which].is_empty() {
                                continue;
                            }
                            let dr = &mut dr[which][q * len..][..len];
                            if !written[which] {
                                dr.fill(0.0);
                            }
                            for (group, worker) in groups.iter().zip(&mut workers) {
                                if reads(group) == which {
                                    worker.add_products(q, dr.as_mut_ptr());
                                }
                            }
                            let values = p.width * c;
                            if !relu {
                                elem::rows(exec.isa, dr.as_ptr(), len, 1, len, g, len, true);
                            } else if let Some(padded) = padded[which].as_ref().filter(|_| masked) {
                                // The ReLU's input is positive where its output is.
                                if per > 1 || !want.omega {
                                    padded.fill(exec, x, affine, r[which]);
                                }
                                for y in 0..p.height {
                                    let (g, dr) = (g.add(y * values), dr[y * values..].as_ptr());
                                    elem::add_where_positive(
                                        exec.isa,
                                        g,
                                        r[which][padded.row(y)..].as_ptr(),
                                        dr,
                                        1,
                                        values,
                                        0,
                                    );
                                }
                            } else {
                                elem::add_where_positive(exec.isa, g, x, dr.as_ptr(), p.height, values, values);
                            }
                        }
                        if let (Some(df), Some(classified)) = (classifier, source.classified) {
                            let through = affine.unwrap_or((&ones, &zeros));
                            spread(exec, x, through, classified.relu, &df[i * c..][..c], p, mask, g);
                        }
                        let mut first = 0;
                        for &part in parts {
                            let p = self.sources[part].plane;
                            let (from, to) = (apart[first..].as_ptr(), cx.g[part].at(i * p.len()));
                            elem::rows(exec.isa, from, c, p.pixels(), p.padded, to, p.padded, false);
                            first += p.padded;
                        }
                        if !parts.is_empty() {
                            continue;
                        }
                        against.at(o, &mut here);
                        elem::correlate(exec.isa, g, &here, p.pixels(), c, part.as_mut_ptr());
                        if !one_by_one {
                            add_f64(own_totals, part);
                            continue;
                        }
                        let (common, rest) = own_totals.split_at_mut(c);
                        let (products, sums) = rest.split_at_mut(summed.len() * c);
                        add_f64(common, &part[..c]);
                        for (k, factors) in dropped.iter().enumerate() {
                            let (at, factor) = (k * c..(k + 1) * c, factors.map_or(1.0, |f| f64::from(f[i])));
                            for (j, at) in at.enumerate() {
                                products[at] += factor * f64::from(part[c + at]);
                                sums[at] += factor * f64::from(part[j]);
                            }
                        }
                    }
                }
            }
            for ((worker, apart), own) in workers.into_iter().zip(&transformed).zip(&dws) {
                if apart.is_none() && own.end > sums.images {
                    worker.finish(&mut dw[own.clone()]);
                }
            }
            totals
        });
        for ((group, apart), own) in groups.iter().zip(&transformed).zip(&dws) {
            if let (Some(dense), Some(apart)) = (group.winograd(), apart) {
                apart.weight_grads(dense, &mut partials.chunks, own.clone());
            }
        }
        if want.omega {
            let dw = partials.total(&cx.run, sums);
            for (group, own) in groups.iter().zip(dws) {
                group.unpack_grad(&dw[own], units, params);
            }
        }
        totals
    }

    /// The output of a unit before its normalisation: of one that is nothing else, what it reads.
    fn output(&self, cx: &Cx<'_>, unit: UnitId) -> Ptr {
        match self.targets[unit].map(|target| &self.sources[target].origin) {
            Some(&Origin::Unit { unit: own, of: Some(of), .. }) if own == unit => cx.x[of],
            _ => cx.y[unit],
        }
    }

    /// Where the gradient of a unit's output comes from.
    fn output_grad(&self, cx: &Cx<'_>, unit: UnitId, units: &Units) -> OutputGrad {
        let target = self.targets[unit].expect("the output of a unit in a plan is read");
        let weighted = match &self.sources[target].origin {
            Origin::Mix { terms, .. } => terms.iter().any(|t| t.of == TermOf::Unit(unit) && t.place.is_some()),
            Origin::Unit { .. } | Origin::Concat(_) | Origin::Image => false,
        };
        let direct = units[unit].norm.is_none() && !weighted;
        let factors = cx.paths.of(Some(unit)).map_or(std::ptr::null(), <[f32]>::as_ptr);
        OutputGrad { g: cx.g[target], y: cx.y[unit], norm: units[unit].grad(), direct, factors }
    }

    /// The same of the source `id`, which is the normalisation of another one.
    fn norm_grad(&self, cx: &Cx<'_>, id: SourceId, units: &Units) -> OutputGrad {
        let Origin::Unit { unit, .. } = self.sources[id].origin else { unreachable!("a normalisation is a unit") };
        OutputGrad {
            g: cx.g[id],
            y: self.output(cx, unit),
            norm: units[unit].grad(),
            direct: false,
            factors: std::ptr::null(),
        }
    }
}

/// Where each group's packed weight gradients stand in the sums of a pass, and the lengths of these: Winograd's come last,
/// because images have none of their own.
fn weight_sums(groups: &[Group], omega: bool) -> (Vec<Range<usize>>, Sums) {
    let len = |group: &Group| if omega { group.grad_len() } else { 0 };
    let of = |winograd: bool| groups.iter().filter(|g| g.winograd().is_some() == winograd).map(len).sum::<usize>();
    let sums = Sums { images: of(false), chunks: of(true) };
    let mut next = [0, sums.images];
    let ranges = groups.iter().map(|group| {
        let next = &mut next[usize::from(group.winograd().is_some())];
        let start = *next;
        *next += len(group);
        start..*next
    });
    (ranges.collect(), sums)
}

/// Where threads take images one by one: room for the tensors that Winograd's weight gradients are made of.
fn transformed<'a>(
    cx: &Cx<'a>,
    groups: &[Group],
    per: usize,
    omega: bool,
    partials: &mut Partials,
) -> Vec<Option<Transformed<'a>>> {
    if !omega || cx.run.grain() == Grain::Chunk {
        return vec![None; groups.len()];
    }
    let mut lens = vec![];
    for group in groups {
        lens.push(group.winograd().map_or(0, |dense| Transformed::new(dense, cx.run, per, Ptr::NONE).room(dense)));
    }
    partials.batch.ensure(lens.iter().sum());
    let mut rest = &mut partials.batch[..];
    let of = groups.iter().zip(lens).map(|(group, len)| {
        let own = rest.split_off_mut(..len)?;
        Some(Transformed::new(group.winograd()?, cx.run, per, Ptr(own.as_mut_ptr())))
    });
    of.collect()
}

/// Adds `sum(x * src)` of each term to `totals`, for one image, as often as it counts there.
#[allow(clippy::too_many_arguments)]
unsafe fn products(
    exec: Exec,
    x: *const f32,
    terms: &[Term],
    (pixels, c): (usize, usize),
    part: &mut [f32],
    factors: &[Factors<'_>],
    image: usize,
    totals: &mut [f64],
) {
    // SAFETY: the caller's: images at the addresses, room for the sums.
    unsafe { elem::correlate(exec.isa, x, terms, pixels, c, part.as_mut_ptr()) }
    for ((total, factors), sums) in totals.iter_mut().zip(factors).zip(part[c..].chunks_exact(c)) {
        let sum = sums.iter().map(|&s| f64::from(s)).sum::<f64>();
        *total += factors.map_or(sum, |factors| f64::from(factors[image]) * sum);
    }
}

/// Adds the gradient `df` of the mean over the pixels to every pixel, with a ReLU in between where it lets it through.
#[allow(clippy::too_many_arguments)]
unsafe fn spread(
    exec: Exec,
    x: *const f32,
    (scale, shift): (&[f32], &[f32]),
    relu: bool,
    df: &[f32],
    p: Plane,
    mask: &mut [f32],
    g: *mut f32,
) {
    let c = p.padded;
    // SAFETY: the caller's: images at the addresses, room for one in `mask` where there is a ReLU.
    let g = unsafe {
        if relu {
            let (scale, shift) = (scale.as_ptr(), shift.as_ptr());
            elem::scale_shift_relu(exec.isa, x, scale, shift, p.height, p.width, c, mask.as_mut_ptr(), p.width * c);
        }
        std::slice::from_raw_parts_mut(g, p.len())
    };
    for (i, g) in g.chunks_exact_mut(c).enumerate() {
        for k in 0..c {
            g[k] += if !relu || mask[i * c + k] > 0.0 { df[k] } else { 0.0 };
        }
    }
}
