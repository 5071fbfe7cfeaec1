//! What ghnas expects of every plugin of this kind.

use ghnas_example_space::MySpace;

ghnas_plugin_testkit::conformance!(MySpace);
