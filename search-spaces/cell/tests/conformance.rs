//! What ghnas expects of every plugin of this kind.

use ghnas_space_cell::CellSpace;

ghnas_plugin_testkit::conformance!(CellSpace);
