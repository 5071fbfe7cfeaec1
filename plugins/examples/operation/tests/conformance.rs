//! What ghnas expects of every plugin of this kind.

use ghnas_example_operation::Squeeze;

ghnas_plugin_testkit::conformance!(Squeeze);
