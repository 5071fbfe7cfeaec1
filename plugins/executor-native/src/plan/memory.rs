//! Which memory a buffer gets: scratch of a thread where one stage uses it, otherwise a place in
//! the arena that it shares with buffers of other stages.

/// A buffer and the time in which it is used.
#[derive(Debug, Clone)]
pub(super) struct Buffer {
    /// Floats for one image.
    size: usize,
    /// First and last stage and position in the stage; none where nothing uses it.
    span: Option<[(usize, usize); 2]>,
    /// Whether it is used outside the stages too, and so cannot be a thread's.
    shared: bool,
}

impl Buffer {
    pub(super) fn new(size: usize) -> Self {
        Self { size, span: None, shared: false }
    }

    /// Notes a use.
    pub(super) fn touch(&mut self, stage: usize, at: usize) {
        let time = (stage, at);
        let [first, last] = self.span.unwrap_or([time, time]);
        self.span = Some([first.min(time), last.max(time)]);
    }

    /// Keeps it in the arena.
    pub(super) fn share(&mut self) {
        self.shared = true;
    }
}

/// Where a buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Floats from the arena's start, and from image to image.
    Arena { at: usize, image: usize },
    /// Floats from the start of a thread's scratch.
    Scratch { at: usize },
}

/// All buffers' places.
pub(super) struct Memory {
    pub(super) places: Vec<Place>,
    /// Floats of the arena, and of a thread's scratch.
    pub(super) arena: usize,
    pub(super) scratch: usize,
}

/// Floats of a cache line, which places are multiples of.
const LINE: usize = 16;

/// Places `buffers` for a batch of `count` images.
pub(super) fn place(buffers: &[Buffer], stages: usize, count: usize) -> Memory {
    let mut places = vec![Place::Scratch { at: 0 }; buffers.len()];
    let mut arena = Vec::new();
    let mut scratch = vec![Vec::new(); stages];
    for (index, buffer) in buffers.iter().enumerate() {
        let Some([first, last]) = buffer.span else { continue };
        if buffer.shared || first.0 < last.0 {
            arena.push(Lifetime { index, size: buffer.size * count, first: first.0, last: last.0 });
        } else {
            let (first, last) = (first.1, last.1);
            scratch[first_stage(buffer)].push(Lifetime { index, size: buffer.size, first, last });
        }
    }
    let arena = share(arena, |index, at| {
        places[index] = Place::Arena { at, image: buffers[index].size };
    });
    let stage = |lifetimes| share(lifetimes, |index, at| places[index] = Place::Scratch { at });
    let scratch = scratch.into_iter().map(stage).max().unwrap_or(0);
    Memory { places, arena, scratch }
}

fn first_stage(buffer: &Buffer) -> usize {
    buffer.span.map_or(0, |[first, _]| first.0)
}

#[derive(Debug, Clone)]
struct Lifetime {
    index: usize,
    size: usize,
    /// Times, both included.
    first: usize,
    last: usize,
}

/// Gives each lifetime the lowest place that is free for all of it; returns the room needed.
fn share(mut lifetimes: Vec<Lifetime>, mut set: impl FnMut(usize, usize)) -> usize {
    lifetimes.sort_by_key(|lifetime| (lifetime.first, lifetime.index));
    // Taken ranges by place: start, end, last use.
    let mut taken: Vec<(usize, usize, usize)> = Vec::new();
    let mut room = 0;
    for Lifetime { index, size, first, last } in lifetimes {
        taken.retain(|&(_, _, until)| until >= first);
        let size = size.next_multiple_of(LINE);
        let mut at = 0;
        let mut position = taken.len();
        for (next, &(start, end, _)) in taken.iter().enumerate() {
            if at + size <= start {
                position = next;
                break;
            }
            at = end;
        }
        taken.insert(position, (at, at + size, last));
        room = room.max(at + size);
        set(index, at);
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_together_do_not_overlap() {
        let spans = [(20, 0, 3), (16, 1, 1), (32, 1, 2), (16, 2, 5), (48, 3, 4), (1, 4, 6)];
        let lifetimes = spans.iter().enumerate();
        let lifetimes =
            lifetimes.map(|(index, &(size, first, last))| Lifetime { index, size, first, last });
        let mut at = [0; 6];
        let room = share(lifetimes.collect(), |index, place| at[index] = place);
        for (i, &(size, first, last)) in spans.iter().enumerate() {
            assert!(at[i] % LINE == 0 && at[i] + size <= room);
            for (j, other) in spans.iter().enumerate().skip(i + 1) {
                let together = first <= other.2 && other.1 <= last;
                let apart = at[i] + size <= at[j] || at[j] + other.0 <= at[i];
                assert!(!together || apart, "{i} and {j}");
            }
        }
        assert!(room < spans.iter().map(|span| span.0 + LINE).sum());
    }

    #[test]
    fn one_stage_is_scratch_and_two_are_arena() {
        let mut buffers = vec![Buffer::new(8), Buffer::new(8), Buffer::new(8)];
        buffers[0].touch(1, 0);
        buffers[0].touch(1, 4);
        buffers[1].touch(0, 2);
        buffers[1].touch(1, 0);
        buffers[2].touch(1, 5);
        buffers[2].share();
        let memory = place(&buffers, 2, 10);
        assert_eq!(memory.places[0], Place::Scratch { at: 0 });
        assert_eq!(memory.places[1], Place::Arena { at: 0, image: 8 });
        assert_eq!(memory.places[2], Place::Arena { at: 80, image: 8 });
        assert_eq!((memory.arena, memory.scratch), (160, 16));
    }
}
