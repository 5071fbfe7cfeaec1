//! Ranges of settings, and the errors where one is left.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Checks that the setting `key` is in `range`.
///
/// # Errors
/// In words, with the key, its value and the range. Not a number is in no range.
pub(crate) fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), String> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(format!("{key} = {value}, expected {} to {}", range.start(), range.end())),
    }
}
