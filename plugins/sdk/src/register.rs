//! One line registers a type as an entry of the plugin, and makes the type lead back to it.

use ghnas_core::Settings;
use ghnas_core::registry::{BuildContext, from_settings, no_settings};
use ghnas_plugin_abi::{EntryFunction, Header};
use serde::de::DeserializeOwned;

/// A type that [`register!`](crate::register) made an entry of its plugin.
pub trait Registered {
    /// The entry's id.
    const ID: &'static str;

    /// The id of the interface that offers it.
    const INTERFACE: &'static str;

    /// What its plugin exports: for the conformance suite, which enters it in the test's process.
    #[doc(hidden)]
    fn exports() -> (&'static Header, EntryFunction);
}

/// Registers a type as an entry of the plugin.
///
/// `register!(KIND for TYPE, ID, SUMMARY, MAKE)`: KIND is a variant of
/// [`Factory`](crate::core::Factory) (`SearchSpace`, `Operation`, `Propagator`, `WeightGenerator` or
/// `Searcher`); TYPE is of this crate, public where it is to be tested, and of one entry; MAKE takes
/// the [`BuildContext`](crate::core::BuildContext) and gives a value that implements the kind's
/// trait, or an error in words.
///
/// `register!(KIND for TYPE, ID, SUMMARY, PRESETS, MAKE)` is for an entry with settings: PRESETS
/// gives a vector of [`Preset`](crate::core::Preset), the first of which is the default; MAKE takes
/// the settings, as any type that can be deserialised, and the context.
#[macro_export]
macro_rules! register {
    ($kind:ident for $type:ty, $id:expr, $summary:expr, $make:expr $(,)?) => {
        $crate::register!(
            @ $kind, $type, $id, $summary,
            || $crate::core::registry::default_preset(&$crate::core::Settings::new()), made, $make
        );
    };
    ($kind:ident for $type:ty, $id:expr, $summary:expr, $presets:expr, $make:expr $(,)?) => {
        $crate::register!(@ $kind, $type, $id, $summary, $presets, made_with, $make);
    };
    (@ $kind:ident, $type:ty, $id:expr, $summary:expr, $presets:expr, $how:ident, $make:expr) => {
        impl $crate::Registered for $type {
            const ID: &'static str = $id;
            const INTERFACE: &'static str = $crate::register!(@ interface $kind);

            fn exports() -> (&'static $crate::abi::Header, $crate::abi::EntryFunction) {
                static HEADER: $crate::abi::Header =
                    $crate::header(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
                unsafe extern "C" fn entry(
                    host: *const $crate::abi::Host,
                    plugin: *mut *const $crate::abi::Plugin,
                    error: *mut $crate::abi::OwnedBytes,
                ) -> $crate::abi::Status {
                    // SAFETY: the host keeps the promises of the ABI.
                    unsafe { $crate::entry(env!("CARGO_PKG_NAME"), host, plugin, error) }
                }
                (&HEADER, entry)
            }
        }

        $crate::core::inventory::submit! {
            $crate::core::Registration {
                id: <$type as $crate::Registered>::ID,
                summary: $summary,
                source: env!("CARGO_PKG_NAME"),
                presets: $presets,
                factory: $crate::core::Factory::$kind(|settings, context| {
                    let made = $crate::$how($make, settings, context)?;
                    Ok($crate::register!(@ new $kind)(made))
                }),
            }
        }
    };
    (@ interface SearchSpace) => { $crate::abi::interface::SEARCH_SPACE };
    (@ interface Operation) => { $crate::abi::interface::OPERATION };
    (@ interface Propagator) => { $crate::abi::interface::PROPAGATOR };
    (@ interface WeightGenerator) => { $crate::abi::interface::WEIGHT_GENERATOR };
    (@ interface Searcher) => { $crate::abi::interface::SEARCHER };
    (@ new WeightGenerator) => { ::std::boxed::Box::new };
    (@ new Searcher) => { ::std::boxed::Box::new };
    (@ new $kind:ident) => { ::std::sync::Arc::new };
}

/// Makes an entry that has no settings, and refuses any.
#[doc(hidden)]
pub fn made<T>(
    make: impl FnOnce(&BuildContext<'_>) -> Result<T, String>,
    settings: &Settings,
    context: &BuildContext<'_>,
) -> Result<T, String> {
    no_settings(settings)?;
    make(context)
}

/// Makes an entry from its settings.
#[doc(hidden)]
pub fn made_with<S: DeserializeOwned, T>(
    make: impl FnOnce(S, &BuildContext<'_>) -> Result<T, String>,
    settings: &Settings,
    context: &BuildContext<'_>,
) -> Result<T, String> {
    make(from_settings(settings)?, context)
}
