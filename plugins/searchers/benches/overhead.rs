//! A searcher's own time: suggesting and reporting, with evaluations that cost nothing. In the
//! tabular mode of a search that is most of what there is.

use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput};
use ghnas_core::{BuildContext, CandidateId, Catalogue, Outcome, SearchSpace, Searcher, rng};
use rand::RngExt;
use {ghnas_searchers as _, ghnas_space_nas_bench_201 as _};

fn context<'a>(
    catalogue: &'a Catalogue,
    space: Option<&'a Arc<dyn SearchSpace>>,
) -> BuildContext<'a> {
    BuildContext { seed: 1, space, ..BuildContext::new(catalogue) }
}

/// Runs `objectives.len()` evaluations, one after the other.
fn search(searcher: &mut dyn Searcher, objectives: &[f64]) {
    for (candidate, &objective) in (0..).zip(objectives) {
        if searcher.suggest(1).expect("it goes on").is_empty() {
            break;
        }
        let candidate = CandidateId(candidate);
        let outcome = Outcome { candidate, objective, multiply_adds: candidate.0 % 7, rung: 0 };
        searcher.report(&[outcome]).expect("it is awaited");
    }
}

fn overhead(criterion: &mut Criterion) {
    let catalogue = Catalogue::built_in().expect("ids are unique");
    let presets = &catalogue.spaces.get("nas-bench-201").expect("it is named above").presets;
    let space =
        catalogue.spaces.build("nas-bench-201", &presets[0].settings, &context(&catalogue, None));
    let space = space.expect("its own preset");
    let mut random = rng::stream(1, "bench", 0);
    let objectives: Vec<f64> = (0..300).map(|_| random.random_range(0.0..1.0)).collect();
    for entry in catalogue.searchers.entries() {
        let build = || {
            let context = context(&catalogue, Some(&space));
            let built = catalogue.searchers.build(&entry.id, &entry.presets[0].settings, &context);
            built.expect("its own preset")
        };
        let count = if entry.id == "bananas" { 150 } else { 300 };
        let mut group = criterion.benchmark_group("suggest_and_report");
        group.sample_size(10).throughput(Throughput::Elements(count));
        group.bench_function(&entry.id, |bencher| {
            bencher.iter_batched(
                build,
                |mut searcher| search(&mut *searcher, &objectives[..count as usize]),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    overhead(&mut criterion);
    criterion.final_summary();
}
