//! Sums of normalised, rectified or masked values: everything elementwise, in one pass.
//!
//! Batch norms, rectifications, sums and concatenations have no buffers of their own; their
//! consumer gathers them when it needs them, forward and backward.

use super::{Extent, Source, Target};
use crate::instructions::{LANES, Lanes, Simd, Vector, kernel};

/// What is made of a term's source before it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// max(a * x + b, floor); the floor is zero for what is rectified, otherwise minus infinity.
    Value,
    /// a * x + b where the mask is positive, otherwise zero.
    Masked,
}

/// One summand; coefficients are per channel of the term.
#[derive(Clone, Copy)]
pub(crate) struct Summand {
    pub(crate) kind: Kind,
    pub(crate) x: Source,
    /// Of what is masked, otherwise anything; positive where mask_a * mask + mask_b is.
    pub(crate) mask: Source,
    pub(crate) a: *const f32,
    pub(crate) b: *const f32,
    pub(crate) mask_a: *const f32,
    pub(crate) mask_b: *const f32,
    pub(crate) floor: f32,
    /// The first channel of the target.
    pub(crate) to: usize,
    pub(crate) channels: usize,
    /// Whether all of these are multiples of [`LANES`], or may be taken as such.
    pub(crate) aligned: bool,
    /// Whether it is added to what the target holds.
    pub(crate) accumulate: bool,
}

impl Summand {
    /// Whether it can be added in one go with `next`, which follows it.
    fn joins(&self, next: &Self) -> bool {
        let mask = |term: &Self| (term.mask.at, term.mask_a, term.mask.pixel);
        let place = |term: &Self| (term.kind, term.to, term.channels, term.aligned);
        place(self) == place(next)
            && self.aligned
            && next.accumulate
            && (self.kind == Kind::Value || mask(self) == mask(next))
    }
}

/// Floats of the target that stay in the first-level cache while the terms are added.
const TILE: usize = 1024;

/// Floats that terms are asked for ahead of their use: tiles of several terms are too short for the
/// processor to see where each goes on.
const AHEAD: usize = 384;

kernel! {
    /// Writes the sum of `terms` to `to`.
    gather(terms: &[Summand], to: Target, extent: Extent) = gather_body
}

#[inline(always)]
unsafe fn gather_body<S: Simd>(terms: &[Summand], to: Target, extent: Extent) {
    let flat = |row: usize, pixel: usize| row == extent.width * pixel;
    let all_flat = flat(to.row, to.pixel)
        && terms.iter().all(|term| {
            flat(term.x.row, term.x.pixel)
                && (term.kind == Kind::Value || flat(term.mask.row, term.mask.pixel))
        });
    let (height, width) =
        if all_flat { (1, extent.height * extent.width) } else { (extent.height, extent.width) };
    let tile = (TILE / (extent.blocks * LANES)).max(1);
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let count = tile.min(width - x);
            let mut rest = terms;
            while let [first, ..] = rest {
                let joined = rest[1..].iter().take_while(|next| first.joins(next)).count();
                let (group, others) = rest.split_at(1 + joined);
                let strip = Strip { to, y, x, count };
                // SAFETY: the caller's promise: (y, x) and `count` pixels lie in every buffer.
                unsafe {
                    if first.aligned {
                        strip.add::<S>(group);
                    } else {
                        strip.add_scalars(first);
                    }
                }
                rest = others;
            }
            x += count;
        }
    }
}

/// `count` pixels of a row of the target.
#[derive(Clone, Copy)]
struct Strip {
    to: Target,
    y: usize,
    x: usize,
    count: usize,
}

impl Strip {
    /// Adds terms that join.
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, group: &[Summand]) {
        let first = &group[0];
        let blocks = first.channels.div_ceil(LANES);
        let mut block = 0;
        // SAFETY: the caller's promise.
        unsafe {
            while block < blocks {
                let pair = block + 2 <= blocks;
                match (first.kind, pair) {
                    (Kind::Value, false) => self.split::<S, false>(group, block),
                    (Kind::Masked, false) => self.split::<S, true>(group, block),
                    (Kind::Value, true) => self.split_pair::<S, false>(group, block),
                    (Kind::Masked, true) => self.split_pair::<S, true>(group, block),
                }
                block += if pair { 2 } else { 1 };
            }
        }
    }

    /// One vector of channels, of up to four terms at once.
    #[inline(always)]
    unsafe fn split<S: Simd, const MASKED: bool>(&self, mut group: &[Summand], block: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            while group.len() >= 4 {
                self.choose::<S, MASKED, 4, 1>(group, block);
                group = &group[4..];
            }
            if group.len() >= 2 {
                self.choose::<S, MASKED, 2, 1>(group, block);
                group = &group[2..];
            }
            if !group.is_empty() {
                self.choose::<S, MASKED, 1, 1>(group, block);
            }
        }
    }

    /// Two vectors of channels, of up to two terms at once.
    #[inline(always)]
    unsafe fn split_pair<S: Simd, const MASKED: bool>(&self, mut group: &[Summand], block: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            while group.len() >= 2 {
                self.choose::<S, MASKED, 2, 2>(group, block);
                group = &group[2..];
            }
            if !group.is_empty() {
                self.choose::<S, MASKED, 1, 2>(group, block);
            }
        }
    }

    #[inline(always)]
    unsafe fn choose<S: Simd, const MASKED: bool, const T: usize, const B: usize>(
        &self,
        group: &[Summand],
        block: usize,
    ) {
        let step = self.to.pixel;
        let uniform = group[..T]
            .iter()
            .all(|term| term.x.pixel == step && (!MASKED || term.mask.pixel == step));
        // SAFETY: the caller's promise.
        unsafe {
            match (uniform, group[0].accumulate) {
                (false, false) => self.vectors::<S, MASKED, T, B, false, false>(group, block),
                (false, true) => self.vectors::<S, MASKED, T, B, false, true>(group, block),
                (true, false) => self.vectors::<S, MASKED, T, B, true, false>(group, block),
                (true, true) => self.vectors::<S, MASKED, T, B, true, true>(group, block),
            }
        }
    }

    /// `B` vectors of channels of `T` terms. Where the steps between pixels are `UNIFORM` one
    /// offset serves all pointers.
    #[inline(always)]
    unsafe fn vectors<
        S: Simd,
        const MASKED: bool,
        const T: usize,
        const B: usize,
        const UNIFORM: bool,
        const ACCUMULATE: bool,
    >(
        &self,
        group: &[Summand],
        block: usize,
    ) {
        let first = block * LANES;
        let head = &group[0];
        // SAFETY: the caller's promise.
        unsafe {
            let zero = S::V::splat(0.0);
            let [mut a, mut b] = [[[zero; B]; T]; 2];
            let mut floor = [zero; T];
            let [mut mask_a, mut mask_b] = [[zero; B]; 2];
            let mut x = [std::ptr::null(); T];
            let mut x_step = [0; T];
            for (t, term) in group[..T].iter().enumerate() {
                x[t] = term.x.pixel(self.y, self.x).add(first);
                x_step[t] = term.x.pixel;
                floor[t] = S::V::splat(term.floor);
                for j in 0..B {
                    a[t][j] = S::V::load(term.a.add(first + j * LANES));
                    b[t][j] = S::V::load(term.b.add(first + j * LANES));
                }
            }
            if MASKED {
                for j in 0..B {
                    mask_a[j] = S::V::load(head.mask_a.add(first + j * LANES));
                    mask_b[j] = S::V::load(head.mask_b.add(first + j * LANES));
                }
            }
            let to = self.to.pixel(self.y, self.x).add(head.to + first);
            let mask =
                if MASKED { head.mask.pixel(self.y, self.x).add(first) } else { head.mask.at };
            let (mut at, mut mask_at, mut x_at) = (0, 0, [0; T]);
            for _ in 0..self.count {
                for j in 0..B {
                    let lane = j * LANES;
                    let offset = |own: usize| if UNIFORM { at + lane } else { own + lane };
                    let mut sum = zero;
                    for t in 0..T {
                        let place = x[t].add(offset(x_at[t]));
                        if j % 2 == 0 {
                            S::V::prefetch(place.wrapping_add(AHEAD));
                        }
                        let value = S::V::load(place);
                        let mut value = S::V::mul_add(a[t][j], value, b[t][j]);
                        if !MASKED {
                            // The value second: what is not a number stays so.
                            value = S::V::max(floor[t], value);
                        }
                        sum = if t == 0 { value } else { S::V::add(sum, value) };
                    }
                    if MASKED {
                        let mask = S::V::load(mask.add(offset(mask_at)));
                        sum = S::V::where_positive(S::V::mul_add(mask_a[j], mask, mask_b[j]), sum);
                    }
                    let to = to.add(at + lane);
                    S::V::store(to, if ACCUMULATE { S::V::add(S::V::load(to), sum) } else { sum });
                }
                at += self.to.pixel;
                mask_at += head.mask.pixel;
                for (at, step) in x_at.iter_mut().zip(x_step) {
                    *at += step;
                }
            }
        }
    }

    /// Adds one term channel by channel, for ranges that do not start or end with a vector.
    unsafe fn add_scalars(&self, term: &Summand) {
        for pixel in self.x..self.x + self.count {
            for channel in 0..term.channels {
                // SAFETY: the caller's promise.
                unsafe {
                    let at = |source: Source| *source.pixel(self.y, pixel).add(channel);
                    let of = |coefficients: *const f32| *coefficients.add(channel);
                    let x = at(term.x);
                    let affine = of(term.a) * x + of(term.b);
                    let kept = match term.kind {
                        Kind::Value => affine >= term.floor || affine.is_nan(),
                        Kind::Masked => of(term.mask_a) * at(term.mask) + of(term.mask_b) > 0.0,
                    };
                    // What a floor cuts off is at the floor, which then is zero.
                    let to = self.to.pixel(self.y, pixel).add(term.to + channel);
                    let value = if kept { affine } else { 0.0 };
                    *to = if term.accumulate { *to + value } else { value };
                }
            }
        }
    }
}
