//! What ghnas expects of every plugin of this kind.

use ghnas_example_generator::Bank;

ghnas_plugin_testkit::conformance!(Bank);
