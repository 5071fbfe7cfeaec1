"""Compares the peak memory of a GHN training step with that of straightforward PyTorch.

    .venv/bin/python benches/peer/memory.py

Each side is a process of its own; its peak is the largest resident set that the system saw. The
network is one of 17 nodes a block, 18 blocks, 32 initial channels, batch 64 (the paper's size).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ghnas import Ghnas, add_arguments, load_torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer", nargs=2, metavar=("FILE", "LAYOUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return run_peer(args)
    ghnas = Ghnas(args.ghnas, "cell", args.preset, args.set, args.threads)
    arch = ghnas.sample(1, "score", args.seed)[0]
    words = ["bench", "step", "--arch", arch, "--batch", str(args.batch), "--runs", "1"]
    own = peak([ghnas.binary, *words, *ghnas.config, *ghnas.flags])
    print(f"ghnas: {own / 2**20:.2f} GiB", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.json"
        file.write_text(json.dumps(ghnas.lowered(arch)))
        peers = []
        for layout in ("first", "last", "none"):
            command = [sys.executable, __file__, "--peer", str(file), layout]
            flags = ["--batch", str(args.batch), "--threads", str(args.threads)]
            peers.append(peak(command + flags))
            what = "without a step" if layout == "none" else f"channels {layout}"
            print(f"torch, {what}: {peers[-1] / 2**20:.2f} GiB", flush=True)
    least = min(peers[:2])
    print(f"{own / least:.2f} of PyTorch's; {own / (least - peers[2]):.2f} of what it takes for")
    print("the step alone")


def peak(command):
    """KiB of the largest resident set of a process."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} failed")
    return usage.ru_maxrss


def run_peer(args):
    """Two training steps, so that Adam's moments are there in the second."""
    load_torch(args.threads)
    from hypernetwork import TrainingStep
    from network import Network

    file, layout = args.peer
    document = json.loads(Path(file).read_text())
    if layout != "none":
        step = TrainingStep(document, Network(document), args.batch, layout)
        for _ in range(2):
            step.run()


if __name__ == "__main__":
    main()
