//! What ghnas expects of every plugin of this kind.

use ghnas_example_propagator::Forward;

ghnas_plugin_testkit::conformance!(Forward);
