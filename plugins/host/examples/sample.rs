//! Loads a library, samples an architecture of one of its spaces and lowers it:
//! `cargo run -p ghnas-plugin-host --example sample -- LIBRARY SPACE SEED`.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;

use ghnas_core::{BuildContext, Catalogue, Phase, Settings, Task};
use ghnas_operations as _;
use ghnas_plugin_host::Plugin;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, space, seed] = &arguments[..] else {
        return Err("expected LIBRARY SPACE SEED".into());
    };
    let mut catalogue = Catalogue::built_in()?;
    Plugin::open(Path::new(library))?.add_to(&mut catalogue)?;
    let context = BuildContext::new(&catalogue);
    let space = catalogue.spaces.build(space, &Settings::new(), &context)?;
    let arch = space.sample(Phase::Score, seed.parse()?)?;
    let network = space.lower(&arch, Task::CIFAR10)?;
    println!("{arch}\n{} parameters", network.param_count());
    Ok(())
}
