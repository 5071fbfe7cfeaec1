//! The GHN's saved state: parameters, averages and moments, exact to the bit, and what they belong
//! to.
//!
//! A gradient that no step has used yet is no part of it: save after a step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ghnas_core::{GeneratorError, GeneratorState, StateTensor};
use serde::de::DeserializeOwned;

use crate::adam::Moments;
use crate::parameters::{BRANCH, EMBEDDING, Parameter, Parameters};
use crate::settings::GhnSettings;

/// The entry with the settings, as JSON.
const SETTINGS: &str = "settings";

/// The entry with the seed of initial values.
const SEED: &str = "seed";

/// Prefix of the tensors of parameters.
const VALUES: &str = "parameter/";

/// Prefix of the tensors of moving averages, of parameters that have made a step.
const AVERAGE: &str = "average/";

/// Prefix of the tensors of first moments.
const FIRST: &str = "first_moment/";

/// Prefix of the tensors of second moments.
const SECOND: &str = "second_moment/";

/// Prefix of the entries that count a parameter's steps.
const STEPS: &str = "steps/";

/// Prefix of the entries with the largest shape of a kind, as JSON.
const LARGEST: &str = "largest/";

/// All that is needed to go on.
pub(crate) fn save(settings: &GhnSettings, parameters: &Parameters) -> GeneratorState {
    let mut state = GeneratorState::default();
    let json = serde_json::to_string(settings).expect("settings are plain data");
    state.entries.insert(SETTINGS.into(), json);
    state.entries.insert(SEED.into(), parameters.seed.to_string());
    for (kind, largest) in &parameters.largest {
        let json = serde_json::to_string(largest).expect("a list of numbers");
        state.entries.insert(format!("{LARGEST}{kind}"), json);
    }
    for parameter in parameters.by_name() {
        let Parameter { name, shape, values, average, moments, .. } = parameter;
        let mut tensor = |prefix: &str, data: &[f32]| {
            let tensor = StateTensor { shape: shape.to_vec(), data: data.to_vec() };
            state.tensors.insert(format!("{prefix}{name}"), tensor);
        };
        tensor(VALUES, values);
        if let Some(average) = average {
            tensor(AVERAGE, average);
        }
        tensor(FIRST, &moments.first);
        tensor(SECOND, &moments.second);
        state.entries.insert(format!("{STEPS}{name}"), moments.steps.to_string());
    }
    state
}

/// The parameters that were saved.
///
/// # Errors
/// [`GeneratorError::State`] names the first entry that does not fit.
pub(crate) fn load(
    state: &GeneratorState,
    settings: &GhnSettings,
) -> Result<Parameters, GeneratorError> {
    let saved: GhnSettings = json(state, SETTINGS)?;
    if saved != *settings {
        let differs = format!("saved with {saved:?}, but this GHN has {settings:?}");
        return refuse(SETTINGS, differs);
    }
    let mut parameters = Parameters::new(number(state, SEED)?);
    let expected = expected_shapes(state, settings, &mut parameters)?;
    let mut averaged = BTreeSet::new();
    for (name, &shape) in &expected {
        let mut parameter =
            Parameter::new(name.clone(), shape, values(state, &format!("{VALUES}{name}"), shape)?);
        parameter.moments = Moments {
            first: values(state, &format!("{FIRST}{name}"), shape)?,
            second: values(state, &format!("{SECOND}{name}"), shape)?,
            steps: number(state, &format!("{STEPS}{name}"))?,
        };
        if settings.average.is_on() && parameter.moments.steps > 0 {
            let average = values(state, &format!("{AVERAGE}{name}"), shape)?;
            parameter.average = Some(Arc::new(average));
            averaged.insert(name.as_str());
        }
        parameters.insert(parameter);
    }
    for name in state.tensors.keys() {
        let own = [VALUES, FIRST, SECOND].iter().find_map(|prefix| name.strip_prefix(prefix));
        let average = name.strip_prefix(AVERAGE).is_some_and(|own| averaged.contains(own));
        if !average && !own.is_some_and(|own| expected.contains_key(own)) {
            return refuse(name, "a GHN with these settings has no such tensor");
        }
    }
    Ok(parameters)
}

/// The shapes of all parameters: those that every GHN has, and those that the state names.
fn expected_shapes(
    state: &GeneratorState,
    settings: &GhnSettings,
    parameters: &mut Parameters,
) -> Result<BTreeMap<String, [usize; 2]>, GeneratorError> {
    let mut scratch = Parameters::new(0);
    scratch.shared(settings);
    let mut expected: BTreeMap<_, _> =
        scratch.by_name().map(|parameter| (parameter.name.clone(), parameter.shape)).collect();
    for name in state.tensors.keys() {
        let embedding = name.strip_prefix(VALUES).filter(|own| own.starts_with(EMBEDDING));
        expected.extend(embedding.map(|own| (own.into(), [1, settings.hidden])));
    }
    for name in state.entries.keys() {
        let Some(kind) = name.strip_prefix(LARGEST) else { continue };
        let largest: Vec<usize> = json(state, name)?;
        let Some(rows) = largest.iter().try_fold(1usize, |rows, &n| rows.checked_mul(n)) else {
            return refuse(name, "the shape is too large");
        };
        expected.insert(format!("{BRANCH}{kind}.weight"), [rows, settings.hypernetwork_hidden]);
        expected.insert(format!("{BRANCH}{kind}.bias"), [1, rows]);
        parameters.largest.insert(kind.into(), largest);
    }
    Ok(expected)
}

/// The values of a tensor of `shape`, all finite.
fn values(
    state: &GeneratorState,
    name: &str,
    shape: [usize; 2],
) -> Result<Vec<f32>, GeneratorError> {
    let Some(tensor) = state.tensors.get(name) else {
        return refuse(name, "it is missing");
    };
    if tensor.shape != shape || Some(tensor.data.len()) != shape[0].checked_mul(shape[1]) {
        let (got, len) = (&tensor.shape, tensor.data.len());
        return refuse(name, format!("{len} values of shape {got:?}, expected {shape:?}"));
    }
    if !tensor.data.iter().all(|value| value.is_finite()) {
        return refuse(name, "a value is not finite");
    }
    Ok(tensor.data.clone())
}

fn entry<'a>(state: &'a GeneratorState, name: &str) -> Result<&'a str, GeneratorError> {
    match state.entries.get(name) {
        Some(text) => Ok(text),
        None => refuse(name, "it is missing"),
    }
}

fn number(state: &GeneratorState, name: &str) -> Result<u64, GeneratorError> {
    let text = entry(state, name)?;
    text.parse().or_else(|_| refuse(name, format!("'{text}' is not a count")))
}

fn json<T: DeserializeOwned>(state: &GeneratorState, name: &str) -> Result<T, GeneratorError> {
    let text = entry(state, name)?;
    serde_json::from_str(text).or_else(|error| refuse(name, error.to_string()))
}

fn refuse<T>(name: &str, reason: impl Into<String>) -> Result<T, GeneratorError> {
    Err(GeneratorError::State { name: name.into(), reason: reason.into() })
}
