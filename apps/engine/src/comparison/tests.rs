//! Laws of the statistics, and whole comparisons.

use ghnas_core::rng::stream;
use proptest::prelude::*;
use rand::RngExt;

use super::*;

/// Between 4 and 40 pairs of small whole numbers, so that ties are common.
fn pairs() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
    let value = || (-6i8..=6).prop_map(f64::from);
    prop::collection::vec((value(), value()), 4..40)
        .prop_filter("neither side is constant", |pairs| {
            pairs.iter().any(|pair| pair.0 != pairs[0].0)
                && pairs.iter().any(|pair| pair.1 != pairs[0].1)
        })
        .prop_map(|pairs| pairs.into_iter().unzip())
}

#[track_caller]
fn same(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a}, {b}");
}

proptest! {
    #[test]
    fn ranks_are_invariant_under_monotone_maps((x, y) in pairs()) {
        let before = correlations(&x, &y).unwrap();
        let map = |values: &[f64]| values.iter().map(|v| (v / 3.0).exp()).collect::<Vec<f64>>();
        let after = correlations(&map(&x), &map(&y)).unwrap();
        same(before.spearman, after.spearman);
        same(before.kendall, after.kendall);
    }

    #[test]
    fn pearson_is_invariant_under_scale_and_shift((x, y) in pairs()) {
        let mapped: Vec<f64> = x.iter().map(|v| 7.0 + 1e3 * v).collect();
        same(correlations(&x, &y).unwrap().pearson, correlations(&mapped, &y).unwrap().pearson);
    }

    #[test]
    fn a_negated_side_negates_every_statistic((x, y) in pairs()) {
        let negated: Vec<f64> = x.iter().map(|v| -v).collect();
        let (plus, minus) = (correlations(&x, &y).unwrap(), correlations(&negated, &y).unwrap());
        Statistic::ALL.iter().for_each(|&at| same(plus.get(at), -minus.get(at)));
    }

    #[test]
    fn sides_can_be_swapped((x, y) in pairs()) {
        let (a, b) = (correlations(&x, &y).unwrap(), correlations(&y, &x).unwrap());
        Statistic::ALL.iter().for_each(|&at| same(a.get(at), b.get(at)));
    }

    #[test]
    fn the_order_of_points_does_not_matter((x, y) in pairs(), turn in 1usize..39) {
        let turned = |values: &[f64]| {
            let mut values = values.to_vec();
            let turn = turn % values.len();
            values.rotate_left(turn);
            values
        };
        let (a, b) = (correlations(&x, &y).unwrap(), correlations(&turned(&x), &turned(&y)).unwrap());
        Statistic::ALL.iter().for_each(|&at| same(a.get(at), b.get(at)));
    }

    #[test]
    fn a_side_correlates_fully_with_itself((x, _) in pairs()) {
        let itself = correlations(&x, &x).unwrap();
        Statistic::ALL.iter().for_each(|&at| same(itself.get(at), 1.0));
    }
}

/// A sum of uniform draws, which is near enough to a normal one.
fn noise(rng: &mut impl rand::Rng) -> f64 {
    (0..6).map(|_| rng.random_range(-1.0..1.0f64)).sum::<f64>() / 2f64.sqrt()
}

fn hashes(n: usize) -> Vec<String> {
    (0..n).map(|at| format!("{:04x}", at * 7919 % 65_536)).collect()
}

fn method(name: &str, scores: Vec<f64>) -> MethodScores {
    MethodScores {
        name: name.into(),
        by: "score".into(),
        scores: scores.into_iter().map(Ok).collect(),
        initial_seconds: 12.0,
        per_arch_seconds: 0.25,
        memory_bytes: None,
    }
}

/// `n` architectures with two seeds, and methods whose scores are the truth and some noise.
fn drawn<'a>(
    hashes: &'a [String],
    noises: &[f64],
    seed: u64,
) -> (TruthColumn<'a>, Vec<MethodScores>) {
    let mut rng = stream(seed, "test", 0);
    let signal: Vec<f64> = hashes.iter().map(|_| 0.8 + 0.03 * noise(&mut rng)).collect();
    let mut near = |spread: f64| -> Vec<f64> {
        signal.iter().map(|t| t + 0.03 * spread * noise(&mut rng)).collect()
    };
    let by_seed = vec![near(0.3), near(0.3)];
    let methods = noises.iter().enumerate();
    let methods = methods.map(|(at, &spread)| method(&format!("m{at}"), near(spread))).collect();
    let accuracy = by_seed[0].iter().zip(&by_seed[1]).map(|(a, b)| (a + b) / 2.0).collect();
    (TruthColumn { hashes, accuracy, by_seed }, methods)
}

fn options(resamples: usize) -> CompareOptions {
    CompareOptions { seed: 5, resamples, threads: 2 }
}

#[test]
fn a_comparison_holds_what_the_numbers_say() {
    let hashes = hashes(100);
    let (truth, mut methods) = drawn(&hashes, &[0.3, 1.0, 4.0], 1);
    methods.push(method("backwards", truth.accuracy.iter().map(|a| -a).collect()));
    let result = compare(&truth, &methods, options(1000)).unwrap();
    assert_eq!((result.architectures, result.truth_seeds, result.resamples), (100, 2, 1000));
    for (report, method) in result.methods.iter().zip(&methods) {
        let scores: Vec<f64> = method.scores.iter().map(|score| *score.as_ref().unwrap()).collect();
        let all = correlations(&scores, &truth.accuracy).unwrap();
        let mut best: Vec<usize> = (0..100).collect();
        best.sort_by(|&a, &b| truth.accuracy[b].total_cmp(&truth.accuracy[a]));
        let take = |of: &[f64]| best[..50].iter().map(|&at| of[at]).collect::<Vec<f64>>();
        let half = correlations(&take(&scores), &take(&truth.accuracy)).unwrap();
        assert_eq!((report.n, report.random.n, report.top_half.n), (100, 100, 50));
        for statistic in Statistic::ALL {
            for (report, expect) in [(&report.random, all), (&report.top_half, half)] {
                let (got, expect) = (report.get(statistic).unwrap(), expect.get(statistic));
                same(got, expect);
                let [low, high] = report.ci95.unwrap().get(statistic);
                // Rounding tells a full correlation from its resamples.
                let inside = low - 1e-9 <= got && got <= high + 1e-9;
                assert!(inside, "{statistic:?}: {low}, {got}, {high}");
            }
        }
    }
    let [good, _, bad, backwards] = &result.methods[..] else { panic!("four methods") };
    assert!(good.random.pearson > bad.random.pearson);
    same(backwards.random.kendall.unwrap(), -1.0);
    let worst_of_all = truth.accuracy.iter().fold(1.0, |least: f64, &a| least.min(a));
    let best_of_all = truth.accuracy.iter().fold(0.0, |most: f64, &a| most.max(a));
    same(backwards.regret[0].points, 100.0 * (best_of_all - worst_of_all));
    assert_eq!(backwards.regret.iter().map(|regret| regret.k).collect::<Vec<_>>(), [1, 5, 10]);
    // Each pair of four methods, two subsets, three statistics.
    assert_eq!(result.differences.len(), 6 * 2 * 3);
    let of = |a: &str, b: &str| {
        let found = result.differences.iter().find(|it| (&*it.a, &*it.b) == (a, b));
        found.expect("every pair is there")
    };
    let sure = of("m0", "m2");
    same(sure.difference.unwrap(), good.random.pearson.unwrap() - bad.random.pearson.unwrap());
    assert!(sure.ci95.unwrap()[0] > 0.0 && sure.p.unwrap() < 0.01, "{sure:?}");
    let ceiling = result.noise_ceiling.unwrap();
    let reach = ceiling.random.unwrap();
    same(reach.pearson, ceiling.reliability.sqrt());
    assert!(reach.pearson > good.random.pearson.unwrap() && reach.pearson < 1.0, "{ceiling:?}");
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let hashes = hashes(40);
    let (truth, methods) = drawn(&hashes, &[0.5, 2.0], 2);
    let json = |threads| {
        let options = CompareOptions { threads, ..options(300) };
        serde_json::to_string(&compare(&truth, &methods, options).unwrap()).unwrap()
    };
    assert_eq!(json(1), json(3));
}

/// Swapping the methods must swap signs and nothing else: the resamples are shared.
#[test]
fn differences_are_paired() {
    let hashes = hashes(60);
    let (truth, methods) = drawn(&hashes, &[0.5, 0.5], 3);
    let swapped = [methods[1].clone(), methods[0].clone()];
    let one = compare(&truth, &methods, options(500)).unwrap();
    let other = compare(&truth, &swapped, options(500)).unwrap();
    for (one, other) in one.differences.iter().zip(&other.differences) {
        same(one.difference.unwrap(), -other.difference.unwrap());
        assert_eq!(one.p, other.p);
    }
    // A method that is a monotone map of another does not differ from it in ranks at all.
    let doubled = MethodScores { name: "doubled".into(), ..methods[0].clone() };
    let twins = compare(&truth, &[methods[0].clone(), doubled], options(500)).unwrap();
    let rank = |it: &&Difference| it.statistic == Statistic::Kendall;
    for difference in twins.differences.iter().filter(rank) {
        assert_eq!((difference.ci95, difference.p), (Some([0.0, 0.0]), Some(1.0)));
    }
}

/// Of methods that are equally good, about one in twenty differs with p below 0.05, and the 95%
/// interval of a correlation holds the true one in about nineteen of twenty samples.
#[test]
fn intervals_and_p_values_are_honest() {
    let big = hashes(5000);
    let (truth, methods) = drawn(&big, &[1.0], 900);
    let scores: Vec<f64> = methods[0].scores.iter().map(|s| *s.as_ref().unwrap()).collect();
    let population = correlations(&scores, &truth.accuracy).unwrap();
    let (hashes, runs) = (hashes(60), 120);
    let (mut rejected, mut covered, mut p_sum) = (0, [0; 3], 0.0);
    for seed in 0..runs {
        let (truth, methods) = drawn(&hashes, &[1.0, 1.0], 1000 + seed);
        let result = compare(&truth, &methods, options(200)).unwrap();
        let p = result.differences[1].p.unwrap();
        rejected += u32::from(p < 0.05);
        p_sum += p;
        for (covered, statistic) in covered.iter_mut().zip(Statistic::ALL) {
            let [low, high] = result.methods[0].random.ci95.unwrap().get(statistic);
            *covered += u32::from((low..=high).contains(&population.get(statistic)));
        }
    }
    // 6 of 120 are expected, with a standard deviation of 2.4; 114 of 120 with the same.
    assert!(rejected <= 15, "{rejected} of {runs} rejected");
    let p_mean = p_sum / runs as f64;
    assert!((0.4..0.6).contains(&p_mean), "the mean p is {p_mean}");
    assert!(covered.iter().all(|&covered| covered >= 104), "{covered:?} of {runs} covered");
}

#[test]
fn architectures_without_a_score_are_named() {
    let hashes = hashes(30);
    let (truth, mut methods) = drawn(&hashes, &[0.5, 1.0, 2.0], 4);
    methods[1].scores[3] = Err("training diverged".into());
    methods[1].scores[7] = Ok(f64::NAN);
    methods[2].scores[9] = Err("no rectifier".into());
    let result = compare(&truth, &methods, options(200)).unwrap();
    let missing = &result.methods[1].missing;
    assert_eq!((result.methods[1].n, missing.len()), (28, 2));
    assert_eq!((&missing[0].hash, &*missing[0].reason), (&hashes[3], "training diverged"));
    assert_eq!((&missing[1].hash, &*missing[1].reason), (&hashes[7], "its score is NaN"));
    // The difference is of both methods on what both have scored, though one has scored more.
    let keep: Vec<usize> = (0..30).filter(|at| ![3, 7].contains(at)).collect();
    let on = |method: &MethodScores| {
        let scores: Vec<f64> =
            keep.iter().map(|&at| *method.scores[at].as_ref().unwrap()).collect();
        let accuracy: Vec<f64> = keep.iter().map(|&at| truth.accuracy[at]).collect();
        correlations(&scores, &accuracy).unwrap().pearson
    };
    let first = &result.differences[0];
    assert_eq!((&*first.a, &*first.b, first.n), ("m0", "m1", 28));
    same(first.difference.unwrap(), on(&methods[0]) - on(&methods[1]));
    let last = &result.differences[12];
    assert_eq!((&*last.a, &*last.b, last.n), ("m1", "m2", 27));
    let notes = result.notes().join("\n");
    assert!(notes.contains("m1 by score has no score for 2 architecture(s)"), "{notes}");
    assert!(notes.contains("training diverged"), "{notes}");
}

#[test]
fn one_bad_method_does_not_spoil_the_others() {
    let hashes = hashes(12);
    let (truth, mut methods) = drawn(&hashes, &[0.5], 5);
    methods.push(method("constant", vec![3.0; 12]));
    let mut lost = method("lost", vec![1.0; 12]);
    lost.scores.fill(Err("out of memory".into()));
    methods.push(lost);
    let mut nearly = method("nearly constant", vec![3.0; 12]);
    nearly.scores[4] = Ok(4.0);
    methods.push(nearly);
    let result = compare(&truth, &methods, options(300)).unwrap();
    assert!(result.methods[0].random.ci95.is_some());
    let constant = &result.methods[1].random;
    assert_eq!((constant.pearson, constant.ci95, constant.degenerate_resamples), (None, None, 300));
    assert!(constant.error.as_ref().unwrap().contains("all scores are equal"));
    let lost = &result.methods[2];
    assert_eq!((lost.n, lost.missing.len(), lost.regret.len()), (0, 12, 0));
    assert!(lost.random.error.as_ref().unwrap().contains("0 points are too few"));
    // A resample misses the one different score in about a third of cases: (11 / 12)^12.
    let nearly = &result.methods[3].random;
    assert!((70..140).contains(&nearly.degenerate_resamples), "{nearly:?}");
    assert!(nearly.ci95.is_some());
    assert!(result.notes().join("\n").contains("resamples have no correlation"));
    let difference = &result.differences[0];
    assert_eq!((difference.difference, difference.p), (None, None));
}

#[test]
fn bad_truth_is_refused() {
    let hashes = hashes(6);
    let (truth, methods) = drawn(&hashes, &[0.5], 6);
    let error =
        |truth: &TruthColumn<'_>| compare(truth, &methods, options(200)).unwrap_err().to_string();
    let with = |accuracy: Vec<f64>| TruthColumn { accuracy, ..truth.clone() };
    assert!(error(&with(vec![0.5; 6])).contains("all accuracies are equal"));
    assert!(error(&with(vec![0.5; 5])).contains("the truth: 5 values where there are 6"));
    let mut accuracy = truth.accuracy.clone();
    accuracy[2] = f64::NAN;
    assert!(error(&with(accuracy.clone())).contains("the truth: value 2 is NaN"));
    accuracy[2] = 94.3;
    let message = error(&with(accuracy));
    assert!(message.contains(&hashes[2]) && message.contains("divide percentages"), "{message}");
    let mut twice = hashes.clone();
    twice[5] = twice[1].clone();
    let message = error(&TruthColumn { hashes: &twice, ..truth.clone() });
    assert!(message.contains("occurs twice, at positions 1 and 5"), "{message}");
    let short = TruthColumn { by_seed: vec![vec![0.1; 6], vec![0.2; 4]], ..truth.clone() };
    assert!(error(&short).contains("seed 1 of the truth: 4 values"));
    let few = TruthColumn { hashes: &hashes[..2], accuracy: vec![0.1, 0.2], by_seed: vec![] };
    let none: [MethodScores; 0] = [];
    let message = compare(&few, &none, options(200)).unwrap_err().to_string();
    assert!(message.contains("2 points are too few"), "{message}");
}

#[test]
fn bad_methods_and_options_are_refused() {
    let hashes = hashes(6);
    let (truth, methods) = drawn(&hashes, &[0.5], 6);
    let error = |methods: &[MethodScores], resamples| {
        compare(&truth, methods, options(resamples)).unwrap_err().to_string()
    };
    let twice = [methods[0].clone(), methods[0].clone()];
    assert_eq!(error(&twice, 200), "method 'm0' by score occurs twice; remove one");
    assert!(error(&[method("m", vec![1.0; 4])], 200).contains("'m' by score: 4 values"));
    assert!(error(&methods, 40).contains("at least 100"));
}

#[test]
fn one_seed_has_no_noise_ceiling() {
    let hashes = hashes(20);
    let (truth, methods) = drawn(&hashes, &[0.5], 7);
    let truth = TruthColumn { by_seed: vec![truth.accuracy.clone()], ..truth };
    let result = compare(&truth, &methods, options(200)).unwrap();
    assert_eq!((result.truth_seeds, result.noise_ceiling), (1, None));
    assert!(result.to_markdown().contains("No noise ceiling: the truth has a single seed"));
}

#[test]
fn renderings_hold_every_method() {
    let hashes = hashes(25);
    let (truth, mut methods) = drawn(&hashes, &[0.5, 1.0, 3.0], 8);
    methods[0].name = "a|b, \"c\"".into();
    let result = compare(&truth, &methods, options(200)).unwrap();
    let csv = result.to_csv();
    let mut lines = csv.lines();
    let columns = lines.next().unwrap().split(',').count();
    assert!(lines.next().unwrap().starts_with("\"a|b, \"\"c\"\"\",score,12,0.25,,25,0,25,"));
    assert!(lines.all(|line| line.split(',').count() == columns), "{csv}");
    assert_eq!(result.differences_csv().lines().count(), 1 + 3 * 2 * 3);
    for table in result.tables() {
        assert!(table.rows.iter().all(|row| row.len() == table.header.len()), "{}", table.title);
    }
    let markdown = result.to_markdown();
    assert!(markdown.contains("a\\|b") && markdown.contains("noise ceiling"), "{markdown}");
    let svg = scatter_svg(&result, &truth, &methods);
    assert_eq!(svg.matches("<g class=\"panel\">").count(), 3);
    // A dot an architecture and panel, and two in the legend.
    assert_eq!(svg.matches("<circle").count(), 3 * 25 + 2);
}
