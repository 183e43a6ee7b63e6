"""Convolutions one by one: each shape and algorithm against this machine's matrix product.

    python benchmarks/conv.py
    python benchmarks/conv.py --shapes "64->64" --json conv.json --plot conv.png

One thread. GFLOP/s are useful ones: the operations of direct convolution, 2 N OH OW kh kw C F,
whatever the algorithm really does. The peak is the speed of a large float32 product, measured in
turn with the convolutions.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import measure
import numpy as np
import results

sys.path.insert(0, str(Path(__file__).parents[1]))

import minicnn  # noqa: E402 - found through the path above
from minicnn.kernels import conv  # noqa: E402
from minicnn.kernels.windows import Convolution  # noqa: E402
from minicnn.parallel import one_blas_thread  # noqa: E402
from minicnn.parallel.memory import keep_freed_memory  # noqa: E402
from minicnn.profiler import product_peak  # noqa: E402

WHATS = ("forward", "dw", "dx", "step")


@dataclass(frozen=True)
class Shape:
    """A layer on images of `size` x `size` pixels."""

    networks: str
    size: int
    channels: int
    filters: int
    kernel: int = 3
    stride: int = 1
    padding: str = "same"

    def __str__(self):
        details = [f"{self.channels}->{self.filters} at {self.size}"]
        details += [f"{self.kernel}x{self.kernel}"] * (self.kernel != 3)
        details += [f"stride {self.stride}"] * (self.stride > 1)
        details += [self.padding] * (self.padding != "same")
        return ", ".join(details)

    @property
    def convolution(self):
        return Convolution((self.kernel,) * 2, (self.stride,) * 2, self.padding)

    @property
    def algorithms(self):
        return ("im2col", "winograd") if self.kernel == 3 and self.stride == 1 else ("im2col",)


SHAPES = [
    Shape("tutorial", 32, 3, 32, padding="valid"),
    Shape("tutorial", 15, 32, 64, padding="valid"),
    Shape("tutorial", 6, 64, 64, padding="valid"),
    Shape("vgg", 32, 3, 32),
    Shape("vgg", 32, 32, 32),
    Shape("vgg", 16, 32, 64),
    Shape("vgg", 16, 64, 64),
    Shape("resnet20", 32, 3, 16),
    Shape("resnet20", 32, 16, 16),
    Shape("resnet20", 32, 16, 32, stride=2),
    Shape("resnet20", 16, 32, 32),
    Shape("resnet20", 16, 32, 64, stride=2),
    Shape("resnet20", 8, 64, 64),
    Shape("a94", 32, 3, 24, kernel=2, padding="valid"),
    Shape("a94", 31, 24, 64),
    Shape("a94", 15, 64, 64),
    Shape("a94", 15, 64, 256),
    Shape("a94", 7, 256, 256),
    Shape("a94", 3, 256, 256),
]


def calls(shape, batch_size, algorithm):
    """{what: (its multiply-adds in those of a forward pass, function without arguments)}."""
    rng = np.random.default_rng(0)
    run, convolution = conv.ALGORITHMS[algorithm], shape.convolution
    output = (batch_size, *convolution.output_size(shape.size, shape.size), shape.filters)
    x = rng.standard_normal((batch_size, shape.size, shape.size, shape.channels), np.float32)
    dy = rng.standard_normal(output, np.float32)
    kernel = rng.standard_normal(
        (shape.kernel, shape.kernel, shape.channels, shape.filters), np.float32
    )
    prepared = run.prepare(kernel)
    _, kept = run.forward(x, prepared, convolution, keep=True)
    needs_dx = shape.channels > 3  # nobody asks a first layer for the gradient of the images

    def forward():
        return run.forward(x, run.prepare(kernel), convolution, keep=True)

    def gradients(kept, needs_dw, needs_dx):
        return run.gradients(dy, kept, prepared, x.shape, convolution, needs_dw, needs_dx)

    made = {
        "forward": (1, forward),
        "dw": (1, lambda: gradients(kept, True, False)),
        "dx": (1, lambda: gradients(None, False, True)),
        "step": (2 + needs_dx, lambda: gradients(forward()[1], True, needs_dx)),
    }
    if not needs_dx:
        del made["dx"]
    return made


def main():
    parser = measure.parser(__doc__, rounds=5, seconds=0.2)
    parser.add_argument(
        "--batch-size", type=measure.positive, default=64, help="half a batch of 128"
    )
    parser.add_argument("--shapes", nargs="+", metavar="TEXT", help="those with this in their name")
    args = parser.parse_args()
    shapes = [s for s in SHAPES if not args.shapes or any(text in str(s) for text in args.shapes)]
    if not shapes:
        parser.error(f"--shapes {args.shapes} is in none of: {'; '.join(map(str, SHAPES))}")
    keep_freed_memory()

    measured = []
    with one_blas_thread():
        for shape in shapes:
            measured += measure_shape(shape, args)
            results.write(args, measured)
    columns = ["shape", "networks", "algorithm (* chosen)", *WHATS, "step / peak", "peak"]
    title = f"Convolutions of {args.batch_size} images on 1 thread, useful GFLOP/s"
    print(results.table(title, columns, [row(figures) for figures in measured]))
    plot(args, measured)


def measure_shape(shape, args):
    """One dictionary per algorithm."""
    oh, ow = shape.convolution.output_size(shape.size, shape.size)
    flops = 2 * args.batch_size * oh * ow * shape.kernel**2 * shape.channels * shape.filters
    turns = {"peak": lambda: product_peak(threads=1, seconds=args.seconds)}
    for algorithm in shape.algorithms:
        for what, (passes, call) in calls(shape, args.batch_size, algorithm).items():
            call()  # memory and caches settle
            turns[algorithm, what] = partial(gflops, call, passes * flops, args.seconds)
    taken = measure.interleave(turns, args.rounds)
    images = (args.batch_size, shape.size, shape.size, shape.channels)
    chosen = conv.choose_algorithm(shape.convolution, images, shape.filters)
    return [
        {
            "shape": str(shape),
            "networks": shape.networks,
            "algorithm": algorithm,
            "chosen": algorithm == chosen,
            "gflops": {
                what: measure.spread(taken[algorithm, what])
                for what in WHATS
                if (algorithm, what) in taken
            },
            "peak_gflops": measure.spread(taken["peak"]),
            "step_share_of_peak": measure.pairwise_ratios(taken[algorithm, "step"], taken["peak"]),
            "versions": {"minicnn": minicnn.__version__, "numpy": np.__version__},
        }
        for algorithm in shape.algorithms
    ]


def gflops(call, flops, seconds):
    """Useful GFLOP/s of calls for so long."""
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        call()
        count += 1
    return flops * count / elapsed / 1e9


def row(figures):
    speeds = [figures["gflops"].get(what) for what in WHATS]
    return [
        figures["shape"], figures["networks"], figures["algorithm"] + " *" * figures["chosen"],
        *(f"{speed['median']:.0f}" if speed else "" for speed in speeds),
        results.spread_text(figures["step_share_of_peak"]),
        f"{figures['peak_gflops']['median']:.0f}",
    ]  # fmt: skip


def plot(args, measured):
    groups = {}
    for figures in measured:
        group = groups.setdefault(figures["shape"], {})
        group[figures["algorithm"]] = figures["step_share_of_peak"]
    title = "Convolutions on one core: forward and gradients"
    line = (1, "large matrix product")
    results.bars(args.plot, title, groups, "share of the sgemm peak", line)


if __name__ == "__main__":
    main()
