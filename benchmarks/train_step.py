"""Training throughput of one network: minicnn against PyTorch on the same CPU.

    python benchmarks/train_step.py --batch-size 128 --rounds 7

One round times every contender once, in turn, so that a machine whose speed drifts drifts for all;
ratios are taken within a round. A timing is a run of whole training steps (forward, backward,
RMSprop) on one batch already in memory; both sides use all cores. They share a process, so the
setting of malloc that minicnn makes (`minicnn/parallel/memory.py`) speeds PyTorch too; with
MINICNN_KEEP_MEMORY=0 both run on malloc as it is.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from networks import tutorial, vgg  # noqa: E402 - found through the path above

import minicnn
from minicnn import parallel
from minicnn.utils import set_random_seed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", choices=["tutorial", "vgg"], default="tutorial")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one timing")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (args.batch_size, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 10, args.batch_size)
    contenders = {"minicnn": minicnn_step(args.network, x, y), **torch_steps(args.network, x, y)}
    for step in contenders.values():
        for _ in range(5):
            step()  # threads, buffers and caches settle
    speeds = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, step in contenders.items():
            speeds[name].append(images_per_second(step, args.batch_size, args.seconds))

    result = {
        "network": args.network,
        "batch_size": args.batch_size,
        "threads": parallel.num_threads(),
        "images_per_second": speeds,
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "minicnn": minicnn.__version__,
    }
    print(f"{args.network}, batch {args.batch_size}, {parallel.num_threads()} threads, images/s")
    print(f"{'':24}{'median':>8}{'min':>8}{'max':>8}   minicnn / it, median of pairs (min, max)")
    for name, values in speeds.items():
        line = f"{name:24}{statistics.median(values):8,.0f}{min(values):8,.0f}{max(values):8,.0f}"
        if name != "minicnn":
            ratios = [a / b for a, b in zip(speeds["minicnn"], values, strict=True)]
            result[f"ratio to {name}"] = ratios
            line += f"   {statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        print(line)
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def images_per_second(step, batch_size, seconds):
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        step()
        count += 1
    return count * batch_size / elapsed


def minicnn_step(network, x, y):
    set_random_seed(0)
    model = {"tutorial": tutorial, "vgg": vgg}[network](network, x.shape[1:], 10)
    model.compile("rmsprop", "sparse_categorical_crossentropy")
    return lambda: model.train_on_batch(x, y)


def torch_steps(network, x, y):
    """The same step in PyTorch, for each memory format; none where PyTorch is not installed."""
    try:
        import torch
        from torch import nn
    except ImportError:
        print("PyTorch is not installed: minicnn alone is measured", file=sys.stderr)
        return {}
    torch.set_num_threads(parallel.num_threads())
    targets = torch.from_numpy(y)
    images = torch.from_numpy(x).permute(0, 3, 1, 2)

    def layers():
        if network == "tutorial":
            return nn.Sequential(
                nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
                nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10),
            )  # fmt: skip
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
        )  # fmt: skip

    def step_in(memory_format):
        model = layers().to(memory_format=memory_format)
        optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, alpha=0.9, eps=1e-7)
        loss = nn.CrossEntropyLoss()

        def step():
            # contiguous(...), not to(...): the input arrives as bytes in NHWC
            batch = images.float().mul_(1 / 255).contiguous(memory_format=memory_format)
            optimizer.zero_grad()
            loss(model(batch), targets).backward()
            optimizer.step()

        return step

    version = torch.__version__
    return {
        f"torch {version} NCHW": step_in(torch.contiguous_format),
        f"torch {version} NHWC": step_in(torch.channels_last),
    }


if __name__ == "__main__":
    main()
