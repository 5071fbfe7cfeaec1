//! The searchers on the paper's cell space, which cannot list an architecture's neighbours and whose
//! graphs differ.

use ghnas_core::{
    Architecture, BuildContext, CandidateId, Catalogue, Command, Outcome, Phase, Settings, rng,
};
use rand::RngExt;
use {ghnas_operations as _, ghnas_searchers as _, ghnas_space_cell as _};

#[test]
fn every_searcher_searches_the_cell_space() {
    let catalogue = Catalogue::built_in().unwrap();
    let context = BuildContext { seed: 1, ..BuildContext::new(&catalogue) };
    let settings = &catalogue.spaces.get("cell").unwrap().presets[0].settings;
    let space = catalogue.spaces.build("cell", settings, &context).unwrap();
    let evolve = space.evolve().unwrap();
    let searchers: Vec<_> = catalogue.searchers.entries().collect();
    assert_eq!(searchers.len(), 6);
    for searcher in searchers {
        let mut settings: Settings = searcher.presets[0].settings.clone();
        if searcher.id == "bananas" {
            settings.insert("epochs".into(), 10.into());
        }
        let context = BuildContext { space: Some(&space), ..context };
        let mut search = catalogue.searchers.build(&searcher.id, &settings, &context).unwrap();
        let mut archs: Vec<Architecture> = Vec::new();
        let mut random = rng::stream(1, "outcomes", 0);
        for candidate in 0..120 {
            let Some(command) = search.suggest(1).unwrap().pop() else { break };
            let of = |id: &CandidateId| archs[id.0 as usize].clone();
            let arch = match &command {
                Command::Sample { seed } => space.sample(Phase::Score, *seed).unwrap(),
                Command::Mutate { parent, seed } => evolve.mutate(&of(parent), *seed).unwrap(),
                Command::Cross { first, second, seed } => {
                    evolve.cross(&of(first), &of(second), *seed).unwrap()
                }
                Command::Evaluate { arch } => arch.clone(),
                Command::Promote { candidate, .. } => of(candidate),
            };
            space.validate(&arch).unwrap();
            archs.push(arch);
            let rung = if let Command::Promote { rung, .. } = command { rung } else { 0 };
            let (candidate, objective) = (CandidateId(candidate), random.random_range(0.0..1.0));
            search.report(&[Outcome { candidate, objective, multiply_adds: 1, rung }]).unwrap();
        }
        assert_eq!(archs.len(), 120, "{}", searcher.id);
        let state = search.save().unwrap();
        search.load(&state).unwrap();
        assert_eq!(search.save().unwrap(), state, "{}", searcher.id);
    }
}
