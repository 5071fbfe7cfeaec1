//! Terms: how they are cut, joined and gathered into buffers.

use ghnas_core::Shape;

use super::{Mask, Op, Planner, Term, View, extent_of, padded, stage_of};
use crate::instructions::LANES;
use crate::kernels::Extent;
use crate::kernels::gather::Kind;

impl Term {
    /// The part of it in the channels `from..from + count`, counted from there.
    pub(super) fn cut(&self, from: usize, count: usize) -> Option<Self> {
        let start = self.to.max(from);
        let end = (self.to + self.channels).min(from + count);
        if start >= end {
            return None;
        }
        let skip = start - self.to;
        let mut cut = self.clone();
        cut.x = self.x.moved(skip);
        cut.mask = self.mask.map(|mask| Mask {
            x: mask.x.moved(skip),
            a: mask.a + skip,
            b: mask.b + skip,
            ..mask
        });
        (cut.a, cut.b) = (self.a + skip, self.b + skip);
        cut.to = start - from;
        cut.channels = end - start;
        cut.whole = self.whole && cut.channels == self.channels;
        Some(cut)
    }

    /// Whether it is a buffer's values as they are, for all `channels` of a value.
    fn is_plain(&self, planner: &Planner<'_>, channels: usize) -> bool {
        (self.kind, self.floor) == (Kind::Value, f32::NEG_INFINITY)
            && self.a < planner.widest
            && (self.to, self.channels) == (0, channels)
            && (self.whole
                || (channels.is_multiple_of(LANES) && self.x.offset.is_multiple_of(LANES)))
    }

    /// How many values are read for one.
    pub(super) fn reads(&self) -> usize {
        1 + usize::from(self.mask.is_some())
    }
}

/// Whether two terms cover one channel.
pub(super) fn overlap(terms: &[Term]) -> bool {
    terms.iter().enumerate().any(|(index, term)| {
        terms[..index].iter().any(|other| other.cut(term.to, term.channels).is_some())
    })
}

/// A gradient or value in a buffer with room around it.
pub(super) struct Frame {
    /// Pixels above and left of the first one.
    pub(super) before: [usize; 2],
    /// Rows and columns of the buffer.
    pub(super) size: [usize; 2],
    /// Distance between pixels.
    pub(super) spacing: usize,
    /// What the room is filled with.
    pub(super) fill: f32,
}

impl Planner<'_> {
    /// The buffer in which `terms` stand as they are, where there is one.
    pub(super) fn direct(&self, terms: &[Term], channels: usize) -> Option<View> {
        match terms {
            [term] if term.is_plain(self, channels) => Some(term.x),
            _ => None,
        }
    }

    /// `terms` in a buffer, at `stage`: their own where they stand in one, otherwise a new one.
    pub(super) fn in_buffer(&mut self, terms: &[Term], shape: Shape, stage: usize) -> View {
        let terms = self.refresh(terms, stage);
        self.direct(&terms, shape.channels).unwrap_or_else(|| {
            let to = self.buffer_of(shape);
            self.gather(terms, to, shape, stage);
            to
        })
    }

    /// As [`in_buffer`](Self::in_buffer), with nothing between the pixels.
    pub(super) fn contiguous(&mut self, terms: &[Term], shape: Shape, stage: usize) -> View {
        let view = self.in_buffer(terms, shape, stage);
        let pixel = padded(shape.channels);
        if (view.row, view.pixel) == (shape.width * pixel, pixel) {
            return view;
        }
        let to = self.buffer_of(shape);
        let plain = self.plain(view, shape.channels, stage);
        self.gather(vec![plain], to, shape, stage);
        to
    }

    /// One term for all of `terms`, in a buffer.
    pub(super) fn single(&mut self, terms: &[Term], shape: Shape) -> Term {
        let stage = stage_of(terms);
        let view = self.in_buffer(terms, shape, stage);
        self.plain(view, shape.channels, stage)
    }

    /// `terms` in a new buffer with room around them; returns the buffer's first pixel.
    pub(super) fn framed(
        &mut self,
        terms: &[Term],
        shape: Shape,
        stage: usize,
        frame: &Frame,
    ) -> View {
        let terms = self.refresh(terms, stage);
        let [height, width] = frame.size;
        let at = self.buffer(height, width, shape.channels);
        let [top, left] = frame.before;
        let inside = [top, left, shape.height, shape.width];
        let exact = frame.before == [0, 0] && frame.size == [shape.height, shape.width];
        if !exact || frame.spacing > 1 {
            let inside = (frame.spacing == 1).then_some(inside);
            let extent = Extent { height, width, ..extent_of(shape) };
            self.push(stage, Op::Fill { at, extent, inside, value: frame.fill });
        }
        let to = at.at_pixel(top, left).strided(frame.spacing);
        self.gather(terms, to, shape, stage);
        at
    }

    /// Writes the sum of `terms` to `to`.
    pub(super) fn gather(&mut self, mut terms: Vec<Term>, to: View, shape: Shape, stage: usize) {
        let extent = extent_of(shape);
        let whole = |term: &Term| {
            term.whole && (term.to, padded(term.channels)) == (0, extent.blocks * LANES)
        };
        for term in &mut terms {
            let mask = term.mask.map_or(0, |mask| mask.x.offset | mask.a | mask.b);
            let places = term.x.offset | mask | term.a | term.b | term.to;
            term.aligned = places.is_multiple_of(LANES)
                && (term.channels.is_multiple_of(LANES) || whole(term));
        }
        // Terms that the kernel adds in one go stand next to each other.
        terms.sort_by_key(|term| (term.to, term.mask.map(|mask| (mask.x.buffer, mask.x.offset))));
        // A term that comes first in its channels is stored, later ones are added. Channels that
        // no vector stores, or that only some of a term's vectors do, start from zeros.
        let mut covered = vec![false; extent.blocks];
        let mut zeros = terms.iter().any(|term| !term.aligned);
        for term in &mut terms {
            let blocks = &mut covered[term.to / LANES..(term.to + term.channels).div_ceil(LANES)];
            term.accumulate = blocks.iter().all(|&covered| covered);
            zeros |= !term.accumulate && blocks.iter().any(|&covered| covered);
            blocks.fill(true);
        }
        if zeros || covered.contains(&false) {
            terms.iter_mut().for_each(|term| term.accumulate = true);
            self.push(stage, Op::Fill { at: to, extent, inside: None, value: 0.0 });
        }
        if !terms.is_empty() {
            self.push(stage, Op::Gather { terms, to, extent });
        }
    }

    /// `terms` with the views that hold in `stage` of values that are computed again.
    pub(super) fn refresh(&mut self, terms: &[Term], stage: usize) -> Vec<Term> {
        let mut terms = terms.to_vec();
        for term in &mut terms {
            if let Some(value) = term.origin {
                term.x = self.again(value, term.x, stage);
            }
            if let Some(Mask { x, origin: Some(value), .. }) = &mut term.mask {
                *x = self.again(*value, *x, stage);
            }
        }
        terms
    }

    /// The view in `stage` that stands for `view` of `value`'s first buffer.
    fn again(&mut self, value: usize, view: View, stage: usize) -> View {
        let home = self.homes[value].expect("what may be computed again was computed");
        let now = self.available(value, stage);
        View { buffer: now.buffer, offset: now.offset + view.offset - home.offset, ..view }
    }
}
