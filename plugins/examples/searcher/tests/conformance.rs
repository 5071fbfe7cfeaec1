//! What ghnas expects of every plugin of this kind.

use ghnas_example_searcher::HillClimb;

ghnas_plugin_testkit::conformance!(HillClimb);
