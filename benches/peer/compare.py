"""Times ghnas against PyTorch on the same networks, alternately, and prints the ratios.

    python3 -m venv .venv && .venv/bin/pip install -r benches/peer/requirements.txt
    cargo xtask plugins --profile release
    .venv/bin/python benches/peer/compare.py step --channels 8 16 32
    .venv/bin/python benches/peer/compare.py step --space nas-bench-201
    .venv/bin/python benches/peer/compare.py score
    .venv/bin/python benches/peer/compare.py scaling

step: each network is first checked, logits and every gradient of both sides against PyTorch in
double precision; then forward and backward are timed. score: the forward pass over 1,000 images.
scaling: our step with one thread against two. PyTorch runs eagerly, in both memory formats; the
better one counts. What is printed are the rows of the tables in docs/performance.md; the rest goes
to standard error.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from ghnas import (
    Ghnas,
    add_arguments,
    better,
    candidates,
    in_layout,
    load_torch,
    median_ms,
    ratio,
)

# Images that a candidate is scored on, and how many at a time.
SCORED_IMAGES = 1000
SCORE_BATCH = 100


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", default="step", choices=["step", "score", "scaling"])
    add_arguments(parser)
    parser.add_argument("--space", default="cell")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--channels", type=int, nargs="+", help="initial channels (F)")
    parser.add_argument("--archs", type=int, default=3, help="how many random networks")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def note(*words):
    print(*words, file=sys.stderr, flush=True)


def main():
    args = arguments()
    torch = load_torch(args.threads)
    heads = {
        "step": ["F", "network", "ghnas", "of the roofline", "PyTorch", "better layout", "times"],
        "score": ["F", "network", f"ghnas, {SCORED_IMAGES} images", "PyTorch", "better layout", "times"],
        "scaling": ["F", "network", "one thread", f"{args.threads} threads", "times"],
    }
    row(*heads[args.what])
    row(*["---"] * len(heads[args.what]))
    for channels in args.channels or [None]:
        settings = list(args.set)
        label = args.space if channels is None else channels
        if channels is not None:
            settings.append(f"space.settings.channels={channels}")
        ghnas = Ghnas(args.ghnas, args.space, args.preset, settings, args.threads)
        phase = "score" if args.what == "score" else "train"
        archs = ghnas.sample(args.archs, phase, args.seed)
        {"step": step, "score": score, "scaling": scaling}[args.what](torch, ghnas, archs, args, label)


def step(torch, ghnas, archs, args, label):
    """Forward and backward, and our whole training step."""
    from network import Network
    from safetensors.torch import load_file

    ratios, step_ratios = [], []
    for arch in archs:
        network = Network(ghnas.lowered(arch))
        with tempfile.TemporaryDirectory() as folder:
            tensors = Path(folder) / "step.safetensors"
            ghnas.bench("step", args.batch, 1, arch, ["--tensors", str(tensors)])
            data = load_file(tensors)
        labels = data["labels"].long()
        weights = [data[f"weight.{i}"] for i in range(len(network.params))]
        own, peer = check(torch, network, weights, data, labels)

        def peer_step(layout):
            copies = [in_layout(torch, w, layout).requires_grad_() for w in weights]
            images = in_layout(torch, data["images"], layout)
            return lambda: step_of(network, copies, images, labels)

        works = candidates({layout: peer_step(layout) for layout in ("first", "last")})
        ours, whole, roofline, theirs = [], [], [], {layout: [] for layout in works}
        for _ in range(args.rounds):
            bench = ghnas.bench("step", args.batch, args.runs, arch)
            ours.append(bench["network"]["median_ms"])
            roofline.append(bench["network"]["peak_fraction"])
            whole.append(bench["total"]["median_ms"])
            for layout, work in works.items():
                theirs[layout].append(median_ms(work, args.runs))
        layout = better(theirs)
        ratios.append(ratio(ours, theirs[layout]))
        step_ratios.append(ratio(whole, theirs[layout]))
        row(
            label,
            bench["hash"][:10],
            f"{statistics.median(ours):.1f} ms",
            f"{statistics.median(roofline):.0%}",
            f"{statistics.median(theirs[layout]):.1f} ms",
            layout,
            f"{ratios[-1]:.2f}",
        )
        note(
            f"{bench['hash'][:10]}  our whole training step {statistics.median(whole):.1f} ms, "
            f"{step_ratios[-1]:.2f} times; error median {own[0]:.0e} worst {own[1]:.0e}, "
            f"torch {peer[0]:.0e} {peer[1]:.0e}"
        )
    note(f"{label}, median: network {statistics.median(ratios):.2f} times as fast as PyTorch")
    note(f"{torch.__version__}'s forward and backward; our whole training step, generator and")
    note(f"update included, {statistics.median(step_ratios):.2f} times as fast as that.")


def score(torch, ghnas, archs, args, label):
    """The forward pass over the images of one score; weights are given."""
    from network import Network

    ratios = []
    for arch in archs:
        network = Network(ghnas.lowered(arch))
        weights = network.random_weights()
        shape = network.input
        images = torch.randn([SCORED_IMAGES, *shape], generator=torch.Generator().manual_seed(0))

        def peer_score(layout):
            copies = [in_layout(torch, w, layout) for w in weights]
            batches = in_layout(torch, images, layout).split(SCORE_BATCH)
            return lambda: forward_of(torch, network, copies, batches)

        works = candidates({layout: peer_score(layout) for layout in ("first", "last")})
        ours, theirs = [], {layout: [] for layout in works}
        extra = [f"--set=search.images={SCORED_IMAGES}"]
        for _ in range(args.rounds):
            bench = ghnas.bench("score", SCORE_BATCH, args.runs, arch, extra)
            # The data may hold fewer validation images than asked for.
            ours.append(bench["evaluate"]["median_ms"] * SCORED_IMAGES / bench["images"])
            for layout, work in works.items():
                theirs[layout].append(median_ms(work, args.runs))
        layout = better(theirs)
        ratios.append(ratio(ours, theirs[layout]))
        row(
            label,
            bench["hash"][:10],
            f"{statistics.median(ours):.0f} ms",
            f"{statistics.median(theirs[layout]):.0f} ms",
            layout,
            f"{ratios[-1]:.2f}",
        )
    note(f"{label}, median: scoring {statistics.median(ratios):.2f} times as fast")


def scaling(torch, ghnas, archs, args, label):
    """One thread against several, our network step."""
    ratios = []
    for arch in archs:
        times = {1: [], args.threads: []}
        for _ in range(args.rounds):
            for threads, list_ in times.items():
                ghnas.flags = ["--quiet", "--threads", str(threads)]
                report = ghnas.bench("step", args.batch, args.runs, arch)
                list_.append(report["network"]["median_ms"])
        ratios.append(ratio(times[args.threads], times[1]))
        one, many = (f"{statistics.median(list_):.1f} ms" for list_ in times.values())
        row(label, report["hash"][:10], one, many, f"{ratios[-1]:.2f}")
    note(f"{label}, median: {statistics.median(ratios):.2f} times")


def step_of(network, weights, images, labels):
    """Loss and gradients, as a training loop would take them."""
    for weight in weights:
        weight.grad = None
    loss, logits = network.loss(weights, images, labels)
    loss.backward()
    return logits


def gradients(torch, weights):
    """Zeros for weights that no output depends on."""
    return [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]


def forward_of(torch, network, weights, batches):
    with torch.no_grad():
        for batch in batches:
            network.forward(weights, batch)


def check(torch, network, weights, data, labels):
    """How far each side is from PyTorch in double precision, over logits and gradients: the largest
    difference of a tensor relative to its largest value; the median and the worst over tensors.

    Single precision moves some values near zero across a rectifier, or another pixel ahead in a
    maximum, and then whole contributions of a gradient come or go, on either side by chance. Near the
    outputs that touches all gradients, each but little: PyTorch's median is off by up to 6e-4, ours
    by 3e-4 where another instruction set's is by 5e-7. So the median must keep to 1e-3 (or to what
    PyTorch's own single precision is off by, where that is more), the worst to 1e-2.
    """
    inputs = [weight.clone().requires_grad_() for weight in weights]
    logits = step_of(network, inputs, data["images"], labels)
    theirs = [torch.stack(logits).detach()] + gradients(torch, inputs)
    ours = [data["logits"]] + [data[f"gradient.{i}"] for i in range(len(weights))]
    inputs = [weight.double().requires_grad_() for weight in weights]
    logits = step_of(network, inputs, data["images"].double(), labels)
    truth = [torch.stack(logits).detach()] + gradients(torch, inputs)
    # Gradients before a batch norm can cancel to rounding noise: those are compared with a share
    # of the largest gradient of the network instead of their own.
    largest = max(float(tensor.abs().max()) for tensor in truth[1:])

    def distance(tensors):
        errors = []
        for tensor, exact in zip(tensors, truth):
            scale = max(float(exact.abs().max()), 1e-2 * largest)
            errors.append(float((tensor.double() - exact).abs().max()) / scale)
        return statistics.median(errors), max(errors)

    own, peer = distance(ours), distance(theirs)
    if own[0] > max(1e-3, 4 * peer[0]) or own[1] > max(1e-2, 4 * peer[1]):
        raise SystemExit(f"ghnas is {own} from double precision, PyTorch {peer}")
    return own, peer


if __name__ == "__main__":
    main()
