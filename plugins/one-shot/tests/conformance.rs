//! What ghnas expects of every plugin of this kind.

use ghnas_one_shot::OneShot;

ghnas_plugin_testkit::conformance!(OneShot);
