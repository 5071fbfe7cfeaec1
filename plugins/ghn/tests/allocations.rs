//! In the steady state a training step of the GHN allocates next to nothing.
//!
//! A test binary of its own: it counts what the whole process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ghnas_core::registry::BuildContext;
use ghnas_core::{
    Catalogue, Network, Phase, Settings, Shape, StepOptions, Task, WeightGenerator, Weights,
};
use ghnas_ghn as _;
use ghnas_space_cell as _;

/// Counts what it passes on to the system's allocator.
struct Counting;

static COUNTING: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates, and how many bytes.
fn allocations(work: impl FnOnce()) -> [usize; 2] {
    CALLS.store(0, Ordering::Relaxed);
    BYTES.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::Relaxed);
    work();
    COUNTING.store(false, Ordering::Relaxed);
    [&CALLS, &BYTES].map(|count| count.load(Ordering::Relaxed))
}

fn networks(catalogue: &Catalogue, context: &BuildContext<'_>) -> Vec<Network> {
    let preset = &catalogue.spaces.get("cell").unwrap().presets[0];
    let space = catalogue.spaces.build("cell", &preset.settings, context).unwrap();
    let task = Task { image: Shape::new(3, 32, 32), classes: 10 };
    let network = |seed| space.lower(&space.sample(Phase::Train, seed).unwrap(), task).unwrap();
    (0..3).map(network).collect()
}

/// The parts of a training step; `weights` are taken for their own gradients.
fn step(
    ghn: &mut dyn WeightGenerator,
    network: &Network,
    weights: &mut Weights,
) -> [[usize; 2]; 3] {
    weights.reset_for(network.params());
    let mut ticket = None;
    let generate = allocations(|| ticket = Some(ghn.generate(network, weights).unwrap()));
    let vjp = allocations(|| ghn.vjp(ticket.take().unwrap(), weights).unwrap());
    let options = StepOptions { learning_rate: 1e-3, clip_norm: 5.0 };
    let update = allocations(|| assert!(ghn.step(options).unwrap().applied));
    [generate, vjp, update]
}

/// The most calls and bytes of a product: the tape of dfdx with its one operation (a closure in a
/// box), what the operation owns, the number that it gives, and that number's gradient.
const TAPE: [usize; 2] = [8, 2048];

/// The most calls and bytes of [`ROUNDS`] steps on several threads beyond that: the queue through
/// which work enters a pool of rayon grows by a block every 63 times, and a step enters it 3 times.
const QUEUE: [usize; 2] = [2, 4096];

const ROUNDS: usize = 20;

#[track_caller]
fn check(threads: usize, settings: &str, beyond: [usize; 2]) {
    let catalogue = Catalogue::built_in().unwrap();
    let settings: Settings = serde_json::from_str(settings).unwrap();
    let context = BuildContext { threads, ..BuildContext::new(&catalogue) };
    let networks = networks(&catalogue, &context);
    let mut ghn = catalogue.generators.build("ghn", &settings, &context).unwrap();
    let mut weights = Weights::default();
    for network in networks.iter().chain(&networks) {
        step(&mut *ghn, network, &mut weights);
    }
    let mut total = [0; 2];
    for network in networks.iter().cycle().take(ROUNDS) {
        for part in step(&mut *ghn, network, &mut weights) {
            (total[0], total[1]) = (total[0] + part[0], total[1] + part[1]);
        }
    }
    for ((total, tape), beyond) in total.into_iter().zip(TAPE).zip(beyond) {
        let most = ROUNDS * tape + beyond;
        assert!(total <= most, "{threads} threads: {total} in {ROUNDS} steps, expected {most}");
    }
}

// One test: tests beside it would be counted too.
#[test]
fn a_step_on_known_networks_allocates_no_more_than_its_tape() {
    check(1, "{}", [0; 2]);
    check(1, r#"{"average": 0.75, "propagator": "synchronous"}"#, [0; 2]);
    check(2, "{}", QUEUE);

    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext::new(&catalogue);
    let network = networks(&catalogue, &context).remove(0);
    let mut ghn = catalogue.generators.build("ghn", &Settings::new(), &context).unwrap();
    let mut weights = Weights::default();
    let [generate, _, update] = step(&mut *ghn, &network, &mut weights);
    assert!(generate[0] > 100, "nothing is counted: {generate:?}");
    assert_eq!(update, [0; 2], "even the first update allocates nothing");
    let [generate, vjp, update] = step(&mut *ghn, &network, &mut weights);
    assert_eq!([generate, update], [[0; 2]; 2], "only a product has a tape");
    assert!(vjp[0] > 0 && vjp[0] <= TAPE[0], "{vjp:?}");
}
