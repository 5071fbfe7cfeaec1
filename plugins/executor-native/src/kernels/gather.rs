//! Sums of normalised, rectified or masked values: everything elementwise, in one pass.
//!
//! Batch norms, rectifications, sums and concatenations have no buffers of their own; their
//! consumer gathers them when it needs them, forward and backward.

use super::{Extent, Source, Target};
use crate::instructions::{LANES, Simd, kernel};

/// What is made of a term's source before it is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// a * x + b.
    Affine,
    /// max(a * x + b, 0).
    Rectified,
    /// x where the mask is positive, otherwise zero.
    Masked,
    /// a * x + b + c * second: the gradient that a batch norm passes on.
    Norm,
    /// As `Norm`, where the mask is positive.
    MaskedNorm,
}

/// One summand; coefficients are per channel of the term.
#[derive(Clone, Copy)]
pub(crate) struct Summand {
    pub(crate) kind: Kind,
    pub(crate) x: Source,
    /// Of the kinds with two sources; otherwise anything.
    pub(crate) second: Source,
    /// Of the kinds with a mask, which is positive where mask_a * mask + mask_b is.
    pub(crate) mask: Source,
    pub(crate) a: *const f32,
    pub(crate) b: *const f32,
    pub(crate) c: *const f32,
    pub(crate) mask_a: *const f32,
    pub(crate) mask_b: *const f32,
    /// The first channel of the target.
    pub(crate) to: usize,
    pub(crate) channels: usize,
    /// Whether all of these are multiples of [`LANES`], or may be taken as such.
    pub(crate) aligned: bool,
    /// Whether it is added to what the target holds.
    pub(crate) accumulate: bool,
}

/// Floats of the target that stay in the first-level cache while the terms are added.
const TILE: usize = 2048;

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
                && (!has_second(term.kind) || flat(term.second.row, term.second.pixel))
                && (!has_mask(term.kind) || flat(term.mask.row, term.mask.pixel))
        });
    let (height, width) =
        if all_flat { (1, extent.height * extent.width) } else { (extent.height, extent.width) };
    let tile = (TILE / (extent.blocks * LANES)).max(1);
    for y in 0..height {
        let mut x = 0;
        while x < width {
            let count = tile.min(width - x);
            for term in terms {
                // SAFETY: the caller's promise: (y, x) and `count` pixels lie in every buffer.
                unsafe { strip::<S>(term, to, y, x, count) };
            }
            x += count;
        }
    }
}

fn has_second(kind: Kind) -> bool {
    matches!(kind, Kind::Norm | Kind::MaskedNorm)
}

fn has_mask(kind: Kind) -> bool {
    matches!(kind, Kind::Masked | Kind::MaskedNorm)
}

/// Adds one term to `count` pixels of a row.
#[inline(always)]
unsafe fn strip<S: Simd>(term: &Summand, to: Target, y: usize, x: usize, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let place = Place {
            to: to.pixel(y, x).add(term.to),
            x: term.x.pixel(y, x),
            second: if has_second(term.kind) { term.second.pixel(y, x) } else { term.second.at },
            mask: if has_mask(term.kind) { term.mask.pixel(y, x) } else { term.mask.at },
            to_pixel: to.pixel,
            count,
        };
        if !term.aligned {
            return scalars(term, place);
        }
        let blocks = term.channels.div_ceil(LANES);
        let mut block = 0;
        while block + 4 <= blocks {
            vectors_of_kind::<S, 4>(term, place, block);
            block += 4;
        }
        if block + 2 <= blocks {
            vectors_of_kind::<S, 2>(term, place, block);
            block += 2;
        }
        if block < blocks {
            vectors_of_kind::<S, 1>(term, place, block);
        }
    }
}

/// Where a strip's pixels begin.
#[derive(Clone, Copy)]
struct Place {
    to: *mut f32,
    x: *const f32,
    second: *const f32,
    mask: *const f32,
    to_pixel: usize,
    count: usize,
}

const AFFINE: u8 = 0;
const RECTIFIED: u8 = 1;
const MASKED: u8 = 2;
const NORM: u8 = 3;
const MASKED_NORM: u8 = 4;

#[inline(always)]
unsafe fn vectors_of_kind<S: Simd, const B: usize>(term: &Summand, place: Place, block: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match (term.kind, term.accumulate) {
            (Kind::Affine, false) => vectors::<S, B, AFFINE, false>(term, place, block),
            (Kind::Affine, true) => vectors::<S, B, AFFINE, true>(term, place, block),
            (Kind::Rectified, false) => vectors::<S, B, RECTIFIED, false>(term, place, block),
            (Kind::Rectified, true) => vectors::<S, B, RECTIFIED, true>(term, place, block),
            (Kind::Masked, false) => vectors::<S, B, MASKED, false>(term, place, block),
            (Kind::Masked, true) => vectors::<S, B, MASKED, true>(term, place, block),
            (Kind::Norm, false) => vectors::<S, B, NORM, false>(term, place, block),
            (Kind::Norm, true) => vectors::<S, B, NORM, true>(term, place, block),
            (Kind::MaskedNorm, false) => vectors::<S, B, MASKED_NORM, false>(term, place, block),
            (Kind::MaskedNorm, true) => vectors::<S, B, MASKED_NORM, true>(term, place, block),
        }
    }
}

/// `B` vectors of channels of each pixel, their coefficients in registers.
#[inline(always)]
unsafe fn vectors<S: Simd, const B: usize, const KIND: u8, const ACCUMULATE: bool>(
    term: &Summand,
    place: Place,
    block: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let first = block * LANES;
        let zero = S::splat(0.0);
        let masked = KIND == MASKED || KIND == MASKED_NORM;
        let norm = KIND == NORM || KIND == MASKED_NORM;
        let [mut a, mut b, mut c, mut mask_a, mut mask_b] = [[zero; B]; 5];
        for j in 0..B {
            let channel = first + j * LANES;
            if KIND != MASKED {
                a[j] = S::load(term.a.add(channel));
                b[j] = S::load(term.b.add(channel));
            }
            if norm {
                c[j] = S::load(term.c.add(channel));
            }
            if masked {
                mask_a[j] = S::load(term.mask_a.add(channel));
                mask_b[j] = S::load(term.mask_b.add(channel));
            }
        }
        let (mut x, mut to) = (place.x.add(first), place.to.add(first));
        let mut second = if norm { place.second.add(first) } else { place.second };
        let mut mask = if masked { place.mask.add(first) } else { place.mask };
        for _ in 0..place.count {
            for j in 0..B {
                let mut value = S::load(x.add(j * LANES));
                if KIND != MASKED {
                    value = S::mul_add(a[j], value, b[j]);
                }
                if norm {
                    value = S::mul_add(c[j], S::load(second.add(j * LANES)), value);
                }
                if KIND == RECTIFIED {
                    value = S::max(value, zero);
                }
                if masked {
                    let mask = S::load(mask.add(j * LANES));
                    value = S::where_positive(S::mul_add(mask_a[j], mask, mask_b[j]), value);
                }
                let at = to.add(j * LANES);
                S::store(at, if ACCUMULATE { S::add(S::load(at), value) } else { value });
            }
            // Not `add`: past the last pixel the pointers may leave the buffer, unread.
            x = x.wrapping_add(term.x.pixel);
            to = to.wrapping_add(place.to_pixel);
            second = second.wrapping_add(term.second.pixel);
            mask = mask.wrapping_add(term.mask.pixel);
        }
    }
}

/// Channel by channel, for ranges that do not start or end with a vector.
#[inline(always)]
unsafe fn scalars(term: &Summand, place: Place) {
    // SAFETY: the caller's promise.
    unsafe {
        for pixel in 0..place.count {
            for channel in 0..term.channels {
                let at = |source: *const f32, step: usize| *source.add(pixel * step + channel);
                let x = at(place.x, term.x.pixel);
                let affine = || *term.a.add(channel) * x + *term.b.add(channel);
                let norm = || affine() + *term.c.add(channel) * at(place.second, term.second.pixel);
                let kept = || {
                    let mask = at(place.mask, term.mask.pixel);
                    *term.mask_a.add(channel) * mask + *term.mask_b.add(channel) > 0.0
                };
                let value = match term.kind {
                    Kind::Affine => affine(),
                    Kind::Rectified => affine().max(0.0),
                    Kind::Masked => {
                        if kept() {
                            x
                        } else {
                            0.0
                        }
                    }
                    Kind::Norm => norm(),
                    Kind::MaskedNorm => {
                        if kept() {
                            norm()
                        } else {
                            0.0
                        }
                    }
                };
                let to = place.to.add(pixel * place.to_pixel + channel);
                *to = if term.accumulate { *to + value } else { value };
            }
        }
    }
}
