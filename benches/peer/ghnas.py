"""Runs the ghnas binary, and what all comparisons share: flags, memory formats, clean timings."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

WARM_UP_RUNS = 2


def add_arguments(parser, threads=2):
    """The flags of every comparison."""
    parser.add_argument("--ghnas", default=ROOT / "target" / "release" / "ghnas")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--rounds", type=int, default=5, help="alternations of the two sides")
    parser.add_argument("--runs", type=int, default=5, help="timed runs a round and side")


def load_torch(threads):
    """PyTorch with a fixed number of threads."""
    # Before torch is loaded: its thread pools read this once.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)
    return torch


class Ghnas:
    """The binary with a fixed configuration."""

    def __init__(self, binary, space=None, preset=None, settings=(), threads=2):
        self.binary = str(binary)
        self.flags = ["--quiet", "--threads", str(threads)]
        self.config = [f"--set={entry}" for entry in settings]
        self.config += [f"--space={space}"] if space else []
        self.config += [f"--preset={preset}"] if preset else []

    def run(self, *words, extra=()):
        command = [self.binary, *words, *self.config, *self.flags, *extra]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def bench(self, what, batch, runs, arch=None, extra=()):
        """The report of `ghnas bench`."""
        words = ["bench", what, "--batch", str(batch), "--runs", str(runs), "--json"]
        words += ["--arch", arch] if arch else []
        return json.loads(self.run(*words, extra=extra))

    def sample(self, count, phase, seed):
        """Architectures, one a line."""
        words = ["sample", "-n", str(count), "--phase", phase, "--seed", str(seed)]
        return self.run(*words).splitlines()

    def lowered(self, arch):
        """The network of an architecture, as `network.Network` reads it."""
        return json.loads(self.run("export", "--arch", arch, "--format", "json", "--lowered"))


def memory_format(torch, layout):
    return torch.channels_last if layout == "last" else torch.contiguous_format


def in_layout(torch, tensor, layout):
    """A copy in channels "first" or "last"; matrices and vectors have no such choice."""
    if tensor.dim() != 4:
        return tensor.clone()
    return tensor.clone(memory_format=memory_format(torch, layout))


def median_ms(work, runs):
    """Median milliseconds of `work`, warm."""
    times = []
    for run in range(WARM_UP_RUNS + runs):
        begin = time.perf_counter()
        work()
        if run >= WARM_UP_RUNS:
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def candidates(works):
    """Of things to call by memory format, those that can be the better one: a single run must not
    take more than half as long again as the other's."""
    once = {}
    for layout, work in works.items():
        work()
        begin = time.perf_counter()
        work()
        once[layout] = time.perf_counter() - begin
    least = min(once.values())
    return {layout: works[layout] for layout in works if once[layout] <= 1.5 * least}


def better(times):
    """Of lists of times by memory format, the name of that with the lower median."""
    return min(times, key=lambda layout: statistics.median(times[layout]))


def ratio(ours, theirs):
    """How many times as fast we are: the median over rounds."""
    return statistics.median(their / our for our, their in zip(ours, theirs))
