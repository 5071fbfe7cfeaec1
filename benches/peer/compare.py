"""Times ghnas against PyTorch on the same networks, alternately, and prints the ratios.

    python3 -m venv .venv && .venv/bin/pip install -r benches/peer/requirements.txt
    cargo build --release
    .venv/bin/python benches/peer/compare.py --archs 3 --threads 2

Each network is first checked: logits and every gradient of both sides against PyTorch in double
precision. Then PyTorch runs eagerly, in both memory formats; the better one counts.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ghnas", default=ROOT / "target" / "release" / "ghnas")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--archs", type=int, default=3, help="how many random networks")
    parser.add_argument("--phase", default="train", choices=["train", "score"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="alternations of the two sides")
    parser.add_argument("--runs", type=int, default=5, help="timed runs a round and side")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = arguments()
    # Before torch is loaded: its thread pools read this once.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import torch
    from safetensors.torch import load_file

    from network import Network

    torch.set_num_threads(args.threads)
    settings = ["--preset", args.preset] + [f"--set={entry}" for entry in args.set]

    def ghnas(*words):
        command = [str(args.ghnas), *words, *settings, "--threads", str(args.threads), "--quiet"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    archs = ghnas(
        "sample", "-n", str(args.archs), "--seed", str(args.seed), "--phase", args.phase
    ).splitlines()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for arch in archs:
            lowered = ghnas("export", "--arch", arch, "--format", "json", "--lowered")
            network = Network(json.loads(lowered))
            tensors = Path(folder) / "step.safetensors"
            step = ["bench", "step", "--arch", arch, "--batch", str(args.batch), "--json"]
            ghnas(*step, "--runs", "1", "--tensors", str(tensors))
            data = load_file(tensors)
            labels = data["labels"].long()
            weights = [data[f"weight.{i}"] for i in range(len(network.params))]
            own, peer = check(torch, network, weights, data, labels)

            ours, theirs, whole = [], {"first": [], "last": []}, []
            for _ in range(args.rounds):
                bench = json.loads(ghnas(*step, "--runs", str(args.runs)))
                ours.append(bench["network"]["median_ms"])
                whole.append(bench["total"]["median_ms"])
                for layout in theirs:
                    theirs[layout].append(
                        time_step(torch, network, weights, data["images"], labels, layout, args.runs)
                    )
            layout = min(theirs, key=lambda name: statistics.median(theirs[name]))
            row = {
                "hash": bench["hash"][:10],
                "own": own,
                "peer": peer,
                "ghnas_ms": statistics.median(ours),
                "torch_ms": statistics.median(theirs[layout]),
                "layout": f"channels {layout}",
                "ratio": statistics.median(b / a for a, b in zip(ours, theirs[layout])),
                "step_ms": statistics.median(whole),
                "step_ratio": statistics.median(b / a for a, b in zip(whole, theirs[layout])),
            }
            rows.append(row)
            print(
                f"{row['hash']}  network: ghnas {row['ghnas_ms']:7.1f} ms, torch "
                f"{row['torch_ms']:7.1f} ms ({row['layout']}), {row['ratio']:.2f} times; "
                f"whole training step {row['step_ms']:7.1f} ms, {row['step_ratio']:.2f} times; "
                f"error median {row['own'][0]:.0e} worst {row['own'][1]:.0e}, "
                f"torch {row['peer'][0]:.0e} {row['peer'][1]:.0e}",
                flush=True,
            )
    print(f"median: network {statistics.median(row['ratio'] for row in rows):.2f} times as fast as")
    print(f"PyTorch {torch.__version__}'s forward and backward; whole training step, generator and")
    print(f"update included, {statistics.median(row['step_ratio'] for row in rows):.2f} times.")


def step_of(torch, network, weights, images, labels):
    """Loss and gradients, as a training loop would take them."""
    for weight in weights:
        weight.grad = None
    loss, logits = network.loss(weights, images, labels)
    loss.backward()
    return loss, logits


def check(torch, network, weights, data, labels):
    """How far each side is from PyTorch in double precision, over logits and gradients: the largest
    difference of a tensor relative to its largest value; the median and the worst over tensors.

    Single precision moves some values near zero across a rectifier, or another pixel ahead in a
    maximum, and then whole contributions of a gradient come or go, on either side by chance. That
    touches few tensors and each but little, so the median must keep to 1e-4, the worst to 1e-2.
    """
    inputs = [weight.clone().requires_grad_() for weight in weights]
    _, logits = step_of(torch, network, inputs, data["images"], labels)
    theirs = [torch.stack(logits).detach()] + [weight.grad for weight in inputs]
    ours = [data["logits"]] + [data[f"gradient.{i}"] for i in range(len(weights))]
    inputs = [weight.double().requires_grad_() for weight in weights]
    _, logits = step_of(torch, network, inputs, data["images"].double(), labels)
    truth = [torch.stack(logits).detach()] + [weight.grad for weight in inputs]
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
    if own[0] > 1e-4 or own[1] > 1e-2:
        raise SystemExit(f"ghnas is {own} from double precision, PyTorch {peer}")
    return own, peer


def time_step(torch, network, weights, images, labels, layout, runs):
    """Median milliseconds of forward and backward."""
    memory = torch.channels_last if layout == "last" else torch.contiguous_format
    images = images.contiguous(memory_format=memory)
    weights = [
        (w.clone().contiguous(memory_format=memory) if w.dim() == 4 else w.clone()).requires_grad_()
        for w in weights
    ]
    times = []
    for run in range(2 + runs):
        begin = time.perf_counter()
        step_of(torch, network, weights, images, labels)
        if run >= 2:
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


if __name__ == "__main__":
    main()
