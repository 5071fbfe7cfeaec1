//! The conformance suite of plugins, over this crate.

ghnas_plugin_testkit::conformance!(ghnas_space_nas_bench_201);
