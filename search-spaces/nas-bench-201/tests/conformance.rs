//! What ghnas expects of every plugin of this kind.

use ghnas_space_nas_bench_201::NasBench201;

ghnas_plugin_testkit::conformance!(NasBench201);
