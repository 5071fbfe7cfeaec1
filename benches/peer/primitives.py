"""Times every primitive of `ghnas bench ops` against PyTorch, alternately, and prints the ratios.

    .venv/bin/python benches/peer/primitives.py

Without --sampled: the primitives of the cell space and of NAS-Bench-201 at batch 64, 32 channels,
32 x 32 pixels. With it: all shapes of a few networks of the space and preset that --set chooses.
PyTorch runs eagerly, in both memory formats; the better one counts. Both sides compute the result
and the gradients of the inputs and parameters, given the gradient of the result.
"""

import argparse
import json
import statistics

from ghnas import Ghnas, add_arguments, better, in_layout, load_torch, median_ms, ratio

# Rows that a target asks to be three times as fast as PyTorch; others must not be slower.
THREE_TIMES = ("max pool", "average pool", "batch norm + relu")

OPERATIONS = [
    "conv_1x1",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_1x7_7x1",
    "max_pool_3x3",
    "avg_pool_3x3",
]

# A cell in which every operation reads the first input.
CELL = {
    "schema": 1,
    "space": "cell",
    "motifs": [
        {
            "name": "cell",
            "nodes": [{"op": "input", "attributes": {"index": index}} for index in (0, 1)]
            + [{"op": op, "inputs": [0]} for op in OPERATIONS],
        }
    ],
}
CELL_SETTINGS = ["space.settings.channels=32", "space.settings.blocks=1"]
CELL_SETTINGS += ["space.settings.reduce_after=[]"]

BENCHMARK_CELL = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
BENCHMARK_SETTINGS = ["space.settings.channels=32", "space.settings.cells=1"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--sampled", action="store_true", help="all shapes of sampled networks")
    parser.add_argument("--forward", action="store_true", help="the forward pass alone")
    args = parser.parse_args()
    torch = load_torch(args.threads)
    from network import run

    def side(space, settings, arch):
        return Ghnas(args.ghnas, space, None, settings + args.set, args.threads), arch

    sides = [side("cell", CELL_SETTINGS, json.dumps(CELL))]
    sides.append(side("nas-bench-201", BENCHMARK_SETTINGS, BENCHMARK_CELL))
    if args.sampled:
        sides = [side(None, [], None)]
    wanted = "forward" if args.forward else "forward_backward"

    def wants(row):
        shape = [32, 32, 32]
        table = row["output"] == shape and all(shape == x for x in row["inputs"])
        linear = row["name"].startswith(("add", "concat"))
        return row["pass"] == wanted and (args.sampled or table and not linear)

    rows = {}
    for round in range(args.rounds):
        for binary, arch in sides:
            report = binary.bench("ops", args.batch, args.runs, arch)
            for row in filter(wants, report["ops"]):
                key = (row["name"], json.dumps(row["inputs"]), json.dumps(row["output"]))
                entry = rows.setdefault(key, {"row": row, "ours": [], "first": [], "last": []})
                if len(entry["ours"]) == round:
                    entry["ours"].append(row["median_ms"])
        for entry in rows.values():
            for layout in ("first", "last"):
                work = peer(torch, run, entry["row"], args, layout)
                entry[layout].append(median_ms(work, args.runs))

    head = ["primitive", "from", "ghnas", "channels first", "channels last", "times", "target"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for (name, inputs, _), entry in rows.items():
        theirs = {layout: entry[layout] for layout in ("first", "last")}
        layout = better(theirs)
        ours = statistics.median(entry["ours"])
        columns = [ours] + [statistics.median(theirs[name]) for name in ("first", "last")]
        # Ours is a difference of two networks' times, which a disturbed round can make negative.
        steady = min(entry["ours"]) > 0
        fast = ratio(entry["ours"], theirs[layout]) if steady else min(columns[1:]) / ours
        dilated = "groups" in name and "dilation" in name
        target = 3 if name.startswith(THREE_TIMES) or dilated else 1
        shapes = json.loads(inputs)
        several = f"{len(shapes)} of " if len(shapes) > 1 else ""
        shape = several + "x".join(map(str, shapes[0]))
        cells = [f"{value:.2f}" for value in columns]
        note = "" if fast >= target else ", missed"
        print("| " + " | ".join([name, shape, *cells, f"{fast:.2f}", f"{target}{note}"]) + " |")


def peer(torch, run, row, args, layout):
    """The same primitive in PyTorch, as something to call."""
    generator = torch.Generator().manual_seed(0)

    def random(shape):
        values = torch.randn(shape, generator=generator)
        return in_layout(torch, values, layout).requires_grad_(not args.forward)

    inputs = [random([args.batch, *shape]) for shape in row["inputs"]]
    weights = []
    steps = []
    channels = row["inputs"][0][0]
    for primitive in row["primitives"]:
        step = dict(primitive)
        match step["primitive"]:
            case "conv2d":
                shape = [step["out_channels"], channels // step["groups"], *step["kernel"]]
                step["weight"] = len(weights)
                weights.append(random(shape))
                channels = step["out_channels"]
            case "linear":
                features = inputs[0][0].numel()
                step["weight"], step["bias"] = len(weights), len(weights) + 1
                weights += [random([step["out_features"], features]), random([step["out_features"]])]
            case "batch_norm":
                for name in ("scale", "shift"):
                    if step[name] is not None:
                        step[name] = len(weights)
                        weights.append(random([channels]))
        steps.append(step)

    def forward():
        values = inputs
        for step in steps:
            values = [run(step, values, weights)]
        return values[0]

    if args.forward:
        def no_gradient():
            with torch.no_grad():
                forward()

        return no_gradient
    with torch.no_grad():
        upper = in_layout(torch, torch.randn(forward().shape, generator=generator), layout)

    def both():
        for tensor in inputs + weights:
            tensor.grad = None
        forward().backward(upper)

    return both


if __name__ == "__main__":
    main()
