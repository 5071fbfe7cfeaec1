//! What ghnas expects of every plugin of this kind.

use ghnas_smash::Smash;

ghnas_plugin_testkit::conformance!(Smash);
