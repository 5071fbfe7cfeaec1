"""Times a whole GHN training step against one in straightforward PyTorch, alternately.

    .venv/bin/python benches/peer/ghn.py
    .venv/bin/python benches/peer/ghn.py --space nas-bench-201

A step generates an architecture's weights, runs the network forward and backward, takes the
gradient through the GHN, clips it and updates with Adam. PyTorch's networks run in both memory
formats; the better one counts.
"""

import argparse
import statistics

from ghnas import Ghnas, add_arguments, better, candidates, load_torch, median_ms, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_arguments(parser)
    parser.add_argument("--space", default="cell")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--archs", type=int, default=3, help="how many random networks")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch = load_torch(args.threads)
    from hypernetwork import TrainingStep
    from network import Network

    ghnas = Ghnas(args.ghnas, args.space, args.preset, args.set, args.threads)
    ratios, shares = [], []
    for arch in ghnas.sample(args.archs, "train", args.seed):
        document = ghnas.lowered(arch)
        network = Network(document)
        steps = {
            layout: TrainingStep(document, network, args.batch, layout)
            for layout in ("first", "last")
        }
        works = candidates({layout: step.run for layout, step in steps.items()})
        ours, generator, theirs = [], [], {layout: [] for layout in works}
        for _ in range(args.rounds):
            bench = ghnas.bench("step", args.batch, args.runs, arch)
            ours.append(bench["total"]["median_ms"])
            generator.append(1 - bench["network"]["median_ms"] / bench["total"]["median_ms"])
            for layout, work in works.items():
                theirs[layout].append(median_ms(work, args.runs))
        layout = better(theirs)
        ratios.append(ratio(ours, theirs[layout]))
        shares.append(statistics.median(generator))
        print(
            f"{bench['hash'][:10]}  training step: ghnas {statistics.median(ours):7.1f} ms "
            f"({shares[-1]:.0%} of it the generator), torch "
            f"{statistics.median(theirs[layout]):7.1f} ms (channels {layout}), "
            f"{ratios[-1]:.2f} times",
            flush=True,
        )
    print(f"median: {statistics.median(ratios):.2f} times as fast as PyTorch {torch.__version__},")
    print(f"the generator's share {statistics.median(shares):.0%}")


if __name__ == "__main__":
    main()
