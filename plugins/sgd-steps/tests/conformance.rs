//! What ghnas expects of every plugin of this kind.

use ghnas_sgd_steps::SgdSteps;

ghnas_plugin_testkit::conformance!(SgdSteps);
