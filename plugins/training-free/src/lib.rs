//! Zero-cost proxies: scores of networks that were never trained. Registers `params`,
//! `multiply-adds`, `naswot` and `synflow`.
//!
//! The first two are what any method must beat. The other two look inside a network with freshly
//! drawn weights, which executors do not allow; `forward` runs it for them.

mod counts;
mod forward;
mod initial;
mod naswot;
mod number;
mod synflow;
#[cfg(test)]
mod tests;

use ghnas_core::registry::{default_preset, from_settings};
use ghnas_core::{BuildContext, Factory, Proxy, Registration, Settings, inventory};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;

pub use naswot::NaswotSettings;

use counts::Count;
use naswot::Naswot;
use synflow::Synflow;

/// Settings of a proxy that has none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

const SOURCE: &str = "ghnas-training-free";

fn pool(context: &BuildContext<'_>) -> Result<ThreadPool, String> {
    ThreadPoolBuilder::new()
        .num_threads(context.threads.max(1))
        .thread_name(|index| format!("training-free-{index}"))
        .build()
        .map_err(|error| error.to_string())
}

inventory::submit! {
    Registration {
        id: "params",
        summary: "the number of parameters",
        source: SOURCE,
        presets: || default_preset(&Settings::new()),
        factory: Factory::Proxy(|settings, _| count(Count::Params, settings)),
    }
}

inventory::submit! {
    Registration {
        id: "multiply-adds",
        summary: "the number of multiply-adds for one image",
        source: SOURCE,
        presets: || default_preset(&Settings::new()),
        factory: Factory::Proxy(|settings, _| count(Count::MultiplyAdds, settings)),
    }
}

inventory::submit! {
    Registration {
        id: "naswot",
        summary: "how differently rectifiers respond to different images, at initialisation",
        source: SOURCE,
        presets: || default_preset(&NaswotSettings::default()),
        factory: Factory::Proxy(naswot),
    }
}

inventory::submit! {
    Registration {
        id: "synflow",
        summary: "the logarithm of the synaptic flow, at initialisation",
        source: SOURCE,
        presets: || default_preset(&Settings::new()),
        factory: Factory::Proxy(synflow),
    }
}

fn count(count: Count, settings: &Settings) -> Result<Box<dyn Proxy>, String> {
    let NoSettings {} = from_settings(settings)?;
    Ok(Box::new(count))
}

fn naswot(settings: &Settings, context: &BuildContext<'_>) -> Result<Box<dyn Proxy>, String> {
    let settings = from_settings(settings)?;
    Ok(Box::new(Naswot::new(settings, context.seed, pool(context)?)?))
}

fn synflow(settings: &Settings, context: &BuildContext<'_>) -> Result<Box<dyn Proxy>, String> {
    let NoSettings {} = from_settings(settings)?;
    Ok(Box::new(Synflow { seed: context.seed, pool: pool(context)? }))
}
