//! `ghnas inspect`: what an architecture's network consists of.

use anyhow::Result;
use ghnas_core::counts::step_multiply_adds;
use ghnas_core::{Counting, MultiplyAdds, Network, Task, ValueId, multiply_adds};
use ghnas_engine::draw;
use serde_json::json;

use crate::args::{ConfigArgs, Global};
use crate::session::{Session, print, print_json};
use crate::table::{self, Align};

/// One module's row.
struct ModuleSummary {
    name: String,
    nodes: usize,
    output: String,
    params: usize,
    multiply_adds: MultiplyAdds,
}

pub(crate) fn run(global: Global, config: &ConfigArgs, arch: &str) -> Result<()> {
    let session = Session::new(global, config, None)?;
    let space = session.space()?;
    let arch = session.architecture(&*space, arch)?;
    let network = space.lower(&arch, Task::CIFAR10)?;
    let total = multiply_adds(&network, Counting::default());
    let modules = modules(&network);
    let nodes: usize = modules.iter().map(|module| module.nodes).sum();
    let output = network.shape(network.outputs()[network.outputs().len() - 1].value);
    // What training keeps for the backward pass if every value of every step is stored.
    let activations: usize =
        (0..network.values()).map(|value| network.shape(ValueId(value as u32)).elements()).sum();
    if session.global.json {
        let rows = modules.iter().map(|module| {
            json!({"name": module.name, "nodes": module.nodes, "output_shape": module.output,
                "params": module.params, "multiply_adds": module.multiply_adds})
        });
        return print_json(&json!({
            "hash": arch.hash().to_string(),
            "params": network.param_count(),
            "multiply_adds": total,
            "nodes": nodes,
            "output_shape": output,
            "weight_bytes": network.param_count() * size_of::<f32>(),
            "activation_bytes_per_image": activations * size_of::<f32>(),
            "modules": rows.collect::<Vec<_>>(),
        }));
    }
    let rows: Vec<Vec<String>> = modules
        .into_iter()
        .map(|module| {
            let ModuleSummary { name, nodes, output, params, multiply_adds } = module;
            vec![name, nodes.to_string(), output, params.to_string(), multiply_adds.to_string()]
        })
        .collect();
    let header = [
        ("module", Align::Left),
        ("nodes", Align::Right),
        ("output", Align::Right),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
    ];
    print(&format!(
        "{}\n{}\nhash           {}\nparameters     {} ({:.2} MB)\nmultiply-adds  {total}\n\
         activations    {:.2} MB an image, all values together\n",
        draw::to_text(&arch),
        table::format(&header, &rows),
        arch.hash(),
        network.param_count(),
        (network.param_count() * size_of::<f32>()) as f64 / 1e6,
        (activations * size_of::<f32>()) as f64 / 1e6,
    ))
}

fn modules(network: &Network) -> Vec<ModuleSummary> {
    let summary = |(index, module): (usize, &ghnas_core::Module)| {
        let own = network.params().iter().filter(|param| param.node.module == index);
        let steps =
            (0..network.steps().len()).filter(|&step| network.steps()[step].node.module == index);
        let counted = |step| step_multiply_adds(network, step, Counting::default());
        let last = steps.clone().next_back().map(|step| network.shape(ValueId(step as u32 + 1)));
        ModuleSummary {
            name: module.name.clone(),
            nodes: module.nodes.len(),
            output: last.map_or("-".into(), |shape| shape.to_string()),
            params: own.map(ghnas_core::ParamSpec::len).sum(),
            multiply_adds: MultiplyAdds(steps.map(counted).sum()),
        }
    };
    network.modules().iter().enumerate().map(summary).collect()
}
