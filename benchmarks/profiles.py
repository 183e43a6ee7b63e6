"""Where a training step spends its time: `model.profile` of each network.

    python benchmarks/profiles.py
    python benchmarks/profiles.py --network vgg --plot vgg.png

One thread, so that the figures can be read against one core's matrix product.
"""

import sys
from pathlib import Path

import measure
import numpy as np
import results

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "examples")]

from networks import NETWORKS  # noqa: E402 - found through the path above

from minicnn.backend import clear_session  # noqa: E402
from minicnn.parallel.memory import keep_freed_memory  # noqa: E402


def main():
    parser = measure.parser(__doc__, timed=False)
    measure.add_networks(parser)
    parser.add_argument("--batch-size", type=measure.positive, default=64, help="images a step")
    parser.add_argument("--repeats", type=measure.positive, default=7, help="steps; medians count")
    args = parser.parse_args()
    keep_freed_memory()
    x = np.random.default_rng(0).integers(0, 256, (args.batch_size, 32, 32, 3), dtype=np.uint8)
    figures = {}
    for name in measure.chosen_networks(args):
        clear_session()  # layers are numbered from 1 again
        model = NETWORKS[name](name, x.shape[1:], 10)
        profile = model.profile(x, args.batch_size, args.repeats, print_fn=print_block)
        figures[name] = [
            {"layer": row.name, "forward_ms": 1e3 * row.forward_seconds,
             "backward_ms": 1e3 * row.backward_seconds, "gflops": row.gflops,
             "algorithm": row.algorithm}
            for row in profile.rows
        ]  # fmt: skip
        if args.plot:
            profile.plot(args.plot.with_stem(f"{args.plot.stem}_{name}"), name)
    results.write(args, figures)


def print_block(table):
    print(f"```\n{table}\n```\n")


if __name__ == "__main__":
    main()
