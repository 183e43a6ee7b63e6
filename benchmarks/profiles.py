"""Where a training step spends its time: `model.profile` of each network.

    python benchmarks/profiles.py
    python benchmarks/profiles.py --network vgg --plot vgg.png
    python benchmarks/profiles.py --backend cupy --precision mixed        on a GPU

On a CPU it runs on one thread, so that the figures compare with one core's matrix product.
"""

import sys
from pathlib import Path

import measure
import numpy as np
import results

sys.path.append(str(Path(__file__).parent / "contenders"))

from minicnn_steps import NETWORKS, use_precision  # noqa: E402 - found through the path above

from minicnn import backend  # noqa: E402 - found through the import above
from minicnn.parallel.memory import keep_freed_memory  # noqa: E402

# What `use_precision` takes for each of `measure.PRECISIONS`.
MODES = {"float32": ["float32"], "tf32": ["tf32"], "mixed": ["float16", "bfloat16"]}


def main():
    """Profile the networks that the command line asks for."""
    parser = measure.parser(__doc__, timed=False)
    measure.add_networks(parser)
    measure.add_backend(parser)
    measure.add_precisions(parser, ["tf32", "mixed"])
    parser.add_argument("--batch-size", type=measure.positive, help="default: 64; on a GPU 1024")
    parser.add_argument("--repeats", type=measure.positive, default=7, help="passes; medians count")
    args = parser.parse_args()
    on_gpu = args.backend != "numpy"
    if on_gpu and "float32" in args.precision and len(args.precision) > 1:
        parser.error("float32 needs its own call: CuPy decides once about TF32")
    backend.set_backend(args.backend)
    keep_freed_memory()
    batch_size = args.batch_size or (1024 if on_gpu else 64)
    x = np.random.default_rng(0).integers(0, 256, (batch_size, 32, 32, 3), dtype=np.uint8)
    measured = {}
    for name in measure.chosen_networks(args):
        for mode in [m for p in args.precision for m in MODES[p]] if on_gpu else ["float32"]:
            use_precision(mode)
            backend.clear_session()  # layers are numbered from 1 again
            model = NETWORKS[name](name, x.shape[1:], 10)
            label = f"{name}_{mode}" if on_gpu else name
            profile = model.profile(x, batch_size, args.repeats, print_fn=print_block)
            measured[label] = device_figures(profile) if on_gpu else figures(profile)
            if args.plot:
                profile.plot(args.plot.with_stem(f"{args.plot.stem}_{label}"), label)
            results.write(args, measured)  # after each, so that an interruption loses only one


def figures(profile):
    """Of a profile on a CPU, layer by layer."""
    return [
        {"layer": row.name, "forward_ms": 1e3 * row.forward_seconds,
         "backward_ms": 1e3 * row.backward_seconds, "gflops": row.gflops,
         "algorithm": row.algorithm}
        for row in profile.rows
    ]  # fmt: skip


def device_figures(profile):
    """Of a profile on a GPU: its limits, and each layer forward and backward."""
    limits = profile.limits
    return {
        "device": limits.device,
        "copy_gb_per_second": limits.bandwidth,
        "product_gflops": {limits.precision(dtype): peak for dtype, peak in limits.peaks.items()},
        "ms": 1e3 * profile.seconds,
        "launch_ms": 1e3 * profile.launch_seconds,
        "ms_at_nearer_limits": 1e3 * profile.least_seconds,
        "passes": [
            {"layer": row.name, "pass": phase.name, "algorithm": row.algorithm,
             "dtype": phase.dtype, "ms": 1e3 * phase.seconds,
             "launch_ms": 1e3 * phase.launch_seconds, "least_bytes": phase.least_bytes,
             "gb_per_second": phase.bandwidth, "gflops": phase.gflops,
             "nearer_limit": phase.nearer_limit}
            for row in profile.rows
            for phase in profile.phases(row)
        ],
    }  # fmt: skip


def print_block(table):
    """A table as a block of Markdown."""
    print(f"```\n{table}\n```\n")


if __name__ == "__main__":
    main()
