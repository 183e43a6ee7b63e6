"""Does another version of the library train to the same weights, bit for bit?

    git worktree add ../before HEAD~1
    python benchmarks/same_bits.py --before ../before
    python benchmarks/same_bits.py --before ../before --network vgg --threads 2 --optimizer adam

Both versions train the same networks on the same random images, with the same seed; what is
compared is a hash of all weights, the optimizer's state, the history and predictions. The last
batch is smaller than the others, so that its shards are uneven. Exit status 1 where they differ.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ("tutorial", "vgg", "resnet20", "a94")
OPTIMIZERS = {
    "sgd": ("SGD", {"learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "clipnorm": 1.0}),
    "rmsprop": ("RMSprop", {"momentum": 0.5, "centered": True, "clipvalue": 0.1}),
    "adam": ("Adam", {"amsgrad": True}),
    "adamw": ("AdamW", {"weight_decay": 0.1, "global_clipnorm": 1.0}),
}
IMAGES, BATCH_SIZE, EPOCHS = 150, 64, 2


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of that version")
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--optimizer", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--digests", type=Path, help=argparse.SUPPRESS)  # of this one checkout
    args = parser.parse_args()
    if args.digests:
        import minicnn

        if not Path(minicnn.__file__).is_relative_to(args.digests.resolve()):
            sys.exit(f"{minicnn.__file__} was imported in place of the version in {args.digests}")
        for network in args.network:
            for optimizer in args.optimizer:
                print(json.dumps([network, optimizer, digest(network, optimizer)]), flush=True)
        return
    differ = 0
    for threads in args.threads:
        for rows in zip(
            *(started(path, args, threads) for path in (args.before, ROOT)), strict=True
        ):
            (network, optimizer, before), (_, _, after) = rows
            same = before == after
            differ += not same
            print(
                f"{network:9} {optimizer:8} {threads} threads  {before}  "
                f"{'the same' if same else f'NOT the same: {after}'}",
                flush=True,
            )
    print(f"{differ} differ" if differ else "all the same")
    sys.exit(bool(differ))


def started(checkout, args, threads):
    """What a process of its own finds with the library of `checkout`: rows as they come."""
    environment = {"MINICNN_NUM_THREADS": str(threads), "MINICNN_BACKEND": "numpy"}
    path = os.pathsep.join([str(checkout.resolve()), str(checkout.resolve() / "examples")])
    process = subprocess.Popen(
        [sys.executable, __file__, "--before", ".", "--digests", checkout,
         "--network", *args.network, "--optimizer", *args.optimizer],
        stdout=subprocess.PIPE, text=True, env={**os.environ, **environment, "PYTHONPATH": path},
    )  # fmt: skip
    lines = [json.loads(line) for line in process.stdout]
    if process.wait():
        sys.exit(f"the version in {checkout} failed")
    return lines


def digest(network, optimizer):
    """The hash of what a network has become after some epochs."""
    import numpy as np
    from networks import NETWORKS as MAKERS

    import minicnn

    minicnn.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    y = rng.integers(0, 10, IMAGES)
    model = MAKERS[network](network, x.shape[1:], 10)
    name, arguments = OPTIMIZERS[optimizer]
    model.compile(
        getattr(minicnn.optimizers, name)(**arguments), "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )  # fmt: skip
    history = model.fit(
        x, y, BATCH_SIZE, EPOCHS, verbose=0, class_weight={3: 2.0}, validation_split=0.2
    )
    state = model.optimizer.state_arrays({w: str(i) for i, w in enumerate(model.weights)})
    found = hashlib.sha256(json.dumps(history.history, sort_keys=True).encode())
    arrays = [*model.get_weights(), *(state[key] for key in sorted(state))]
    for array in [*arrays, model.predict(x, BATCH_SIZE, verbose=0)]:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


if __name__ == "__main__":
    main()
