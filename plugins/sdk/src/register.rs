//! The short form of a registration, for entries without settings.

use ghnas_core::{Preset, Settings};

/// Registers an entry without settings.
///
/// `register!(KIND, ID, SUMMARY, MAKE)`: KIND is a variant of [`Factory`](crate::core::Factory)
/// (`SearchSpace`, `Operation`, `Propagator`, `WeightGenerator` or `Searcher`); MAKE takes the
/// [`BuildContext`](crate::core::BuildContext) and gives a value of a type that implements the
/// trait, or an error in words. Entries with settings submit a
/// [`Registration`](crate::core::Registration) of their own.
#[macro_export]
macro_rules! register {
    (Searcher, $($rest:tt)*) => { $crate::register!(@ Searcher, Box, $($rest)*); };
    (WeightGenerator, $($rest:tt)*) => { $crate::register!(@ WeightGenerator, Box, $($rest)*); };
    (@ $kind:ident, $pointer:ident, $id:expr, $summary:expr, $make:expr $(,)?) => {
        $crate::core::inventory::submit! {
            $crate::core::Registration {
                id: $id,
                summary: $summary,
                source: env!("CARGO_PKG_NAME"),
                presets: $crate::default_preset,
                factory: $crate::core::Factory::$kind(|settings, context| {
                    $crate::no_settings(settings)?;
                    fn made<T>(
                        make: impl Fn(&$crate::core::BuildContext<'_>) -> Result<T, String>,
                        context: &$crate::core::BuildContext<'_>,
                    ) -> Result<T, String> {
                        make(context)
                    }
                    Ok($crate::register!(@ new $pointer)(made($make, context)?))
                }),
            }
        }
    };
    (@ new Box) => { ::std::boxed::Box::new };
    (@ new Arc) => { ::std::sync::Arc::new };
    ($kind:ident, $($rest:tt)*) => { $crate::register!(@ $kind, Arc, $($rest)*); };
}

/// Refuses settings where there are none to make.
#[doc(hidden)]
pub fn no_settings(settings: &Settings) -> Result<(), String> {
    match settings.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("unknown key '{key}'; there are no settings")),
    }
}

/// The one preset of an entry without settings.
#[doc(hidden)]
pub fn default_preset() -> Vec<Preset> {
    vec![Preset { name: "default".into(), settings: Settings::new() }]
}
