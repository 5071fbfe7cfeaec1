//! The conformance suite of plugins, over this crate.

ghnas_plugin_testkit::conformance!(ghnas_one_shot);
