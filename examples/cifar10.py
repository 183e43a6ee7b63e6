"""Train and judge an image classifier on CIFAR-10.

    python examples/cifar10.py                          the tutorial network, 10 epochs, RMSprop
    python examples/cifar10.py --model vgg --augment --optimizer adam --epochs 30
    python examples/cifar10.py --resume                 go on with a run that was interrupted
    python examples/cifar10.py --predict cat.jpg ship.png

Results go to the folder --output: metrics.json, history.csv, samples.png, curves.png,
confusion_matrix.png, mistakes.png and model.safetensors. Where CIFAR-10 is neither on disk nor to
be downloaded, the library's own `shapes` images take its place, and everything written says so.
Every SAVE_EVERY steps the run is backed up to the folder "backup" there, until it is over.
"""

import argparse
import csv
import json
import platform
import sys
import time
from pathlib import Path

import numpy as np
from networks import NETWORKS

import minicnn
from minicnn import callbacks, optimizers, plots, report
from minicnn.datasets import DatasetUnavailable, cifar10, shapes
from minicnn.files import atomic_write, make_folder
from minicnn.optimizers.schedules import CosineDecay
from minicnn.preprocessing.image import img_to_array, load_img
from minicnn.utils import set_random_seed

DATASETS = {"cifar10": cifar10, "shapes": shapes}
SAVE_EVERY = 200  # training steps, a few seconds


def main():
    args = arguments()
    try:
        if args.backend:
            minicnn.set_backend(args.backend)
        minicnn.set_num_threads(args.threads)
        minicnn.mixed_precision.set_global_policy(args.policy)
        predict(args) if args.predict else train(args)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        kept = not args.predict and backup_of(args).exists()
        sys.exit("interrupted" + ("; the same command with --resume goes on" if kept else ""))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--data-dir", type=Path, help="folder with CIFAR-10 in its official layout")
    add("--dataset", choices=DATASETS, default="cifar10", help="images to learn")
    add("--model", choices=NETWORKS, default="tutorial", help="network to train")
    add("--optimizer", default="rmsprop", help="rmsprop, adam, adamw or sgd")
    add("--lr", type=float, help="learning rate; default: the optimizer's own")
    add(
        "--schedule", choices=["cosine", "constant"], default="cosine",
        help="learning rate over the epochs: down to 0 along half a cosine, or as it is",
    )  # fmt: skip
    add("--epochs", type=int, default=10, help="passes over the training images")
    add("--batch-size", type=int, default=64, help="images per training step")
    add("--augment", action="store_true", help="mirror and shift the images while training")
    add("--seed", type=int, default=0, help="seed of weights, order and augmentation")
    add("--backend", choices=["numpy", "cupy"], help="numpy for the processor, cupy for a GPU")
    add(
        "--policy", choices=["float32", "mixed_float16", "mixed_bfloat16"], default="float32",
        help="numbers to compute in; those of 16 bits pay on a GPU, and slow a processor down",
    )  # fmt: skip
    add("--threads", type=int, help="processor threads; default: all cores")
    add("--limit", type=int, help="use only so many training and test images")
    add("--output", type=Path, default=Path("output"), help="folder for the results")
    add(
        "--resume", action="store_true",
        help="go on with the run in --output that was interrupted, to the same result",
    )  # fmt: skip
    add(
        "--predict", nargs="+", type=Path, metavar="IMAGE",
        help="classify image files with the model in the folder --output instead of training",
    )  # fmt: skip
    args = parser.parse_args()
    for name in ("epochs", "batch_size", "limit", "lr", "threads"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0, not {value}")
    return args


def train(args):
    make_folder(args.output)  # an unwritable place is an error now, not after training
    backup = backup_of(args)
    if backup.exists() and not args.resume:
        sys.exit(
            f"error: a run in {args.output} was interrupted; go on with it by --resume, remove "
            f"{backup.backup_dir}, or give another --output"
        )
    if args.resume and not backup.exists():
        print(f"There is no interrupted run in {args.output}: beginning a new one.")
    set_random_seed(args.seed)
    dataset, (x_train, y_train), (x_test, y_test) = load(args)
    class_names = DATASETS[dataset].CLASS_NAMES
    plots.plot_samples(
        x_train, y_train, class_names, args.output / "samples.png", f"{dataset}: training images"
    )

    # The name travels with the saved model and tells --predict which classes it knows.
    name = f"{args.model}_{dataset}"
    model = NETWORKS[args.model](name, x_train.shape[1:], len(class_names), args.augment)
    model.summary()
    optimizer = optimizers.get(args.optimizer)
    if args.lr is not None:
        optimizer.learning_rate = args.lr
    if args.schedule == "cosine":
        steps = args.epochs * -(-len(x_train) // args.batch_size)
        optimizer.learning_rate = CosineDecay(optimizer.learning_rate, steps)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

    # The test images are only watched from epoch to epoch: nothing is chosen by them.
    clock = TrainingClock()
    history = model.fit(
        x_train, y_train, args.batch_size, args.epochs,
        callbacks=[clock, backup], validation_data=(x_test, y_test), validation_batch_size=256,
    )  # fmt: skip

    probabilities = model.predict(x_test, batch_size=256, verbose=0)
    test_loss, test_accuracy = model.evaluate(x_test, y_test, batch_size=256, verbose=0)
    scores = report.classification_scores(y_test, probabilities, class_names)
    matrix = report.confusion_matrix(y_test, probabilities, len(class_names))
    metrics = {
        "dataset": dataset,
        "test_accuracy": test_accuracy,
        "test_loss": test_loss,
        "per_class": {c: scores[c] for c in class_names},
        "confusion_matrix": matrix.tolist(),
        "images_per_second": len(x_train) * args.epochs / clock.seconds,
        "seconds": clock.seconds,
        "peak_memory_mb": peak_memory_mb(),
        "backend": minicnn.get_backend(),
        "device": minicnn.backend.device_info(),
        "versions": {
            "minicnn": minicnn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
    }
    write_results(args.output, dataset, metrics, history)
    title = f"{dataset}, {args.model} network"
    plots.plot_curves(history, args.output / "curves.png", f"{title} (validation: the test images)")
    plots.plot_confusion_matrix(
        matrix, class_names, args.output / "confusion_matrix.png",
        f"{title}: {test_accuracy:.1%} of {len(x_test):,} test images",
    )  # fmt: skip
    plots.plot_mistakes(
        x_test, y_test, probabilities, class_names, args.output / "mistakes.png",
        title,
    )  # fmt: skip
    model.save(args.output / "model.safetensors")

    print(f"\n{dataset}, {len(x_test):,} test images")
    print(report.classification_report(y_test, probabilities, class_names))
    print(
        f"{dataset}: test accuracy {test_accuracy:.4f}, loss {test_loss:.4f}, "
        f"{metrics['images_per_second']:,.0f} images/s in training; results in {args.output}"
    )


def backup_of(args):
    """What keeps where the run stands."""
    return callbacks.BackupAndRestore(args.output / "backup", save_freq=SAVE_EVERY)


def load(args):
    """The data set's name, its training and its test images."""
    name = args.dataset
    if name == "cifar10":
        try:
            train_set, test_set = cifar10.load_data(args.data_dir)
        except DatasetUnavailable as error:
            print(f"{error}. Going on with the data set 'shapes'.")
            name = "shapes"
    if name == "shapes":
        train_set, test_set = shapes.load_data()
    return name, *((x[: args.limit], y[: args.limit]) for x, y in (train_set, test_set))


def write_results(folder, dataset, metrics, history):
    with atomic_write(folder / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    with atomic_write(folder / "history.csv") as path, open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "epoch", *history.history])
        for row in zip(history.epoch, *history.history.values(), strict=True):
            writer.writerow([dataset, row[0] + 1, *row[1:]])


class TrainingClock(callbacks.Callback):
    """Seconds spent in training steps, without validation and without what was interrupted.

    Attributes:
        seconds: their sum so far.
    """

    seconds = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._started, self._before = time.perf_counter(), self.seconds

    def on_test_begin(self, logs=None):
        # the figures of the steps have been read by now, so a GPU is done with them, too
        self.seconds = self._before + time.perf_counter() - self._started

    def on_epoch_end(self, epoch, logs=None):
        self._started, self._before = None, self.seconds

    def state(self):
        since = 0 if self._started is None else time.perf_counter() - self._started
        return {"seconds": self._before + since}

    def restore(self, state):
        self.seconds = self._before = state["seconds"]
        self._started = time.perf_counter()


def peak_memory_mb():
    """The most memory this process has held, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, Linux KB


def predict(args):
    path = args.output / "model.safetensors"
    if not path.exists():
        sys.exit(f"error: there is no {path}; train first, or say --output FOLDER")
    model = minicnn.models.load_model(path)
    dataset = model.name.rpartition("_")[2]
    if dataset not in DATASETS:
        sys.exit(
            f"error: {path} is not of this example: its name {model.name!r} ends in no data set"
        )
    class_names = DATASETS[dataset].CLASS_NAMES
    height, width, _ = model.input_shape[1:]
    for image_path in args.predict:
        image = img_to_array(load_img(image_path, target_size=(height, width)))
        probabilities = model.predict(image[None], verbose=0)[0]
        print(image_path)
        for k in np.argsort(-probabilities):
            print(f"  {class_names[k]:<12}{probabilities[k]:7.2%}")


if __name__ == "__main__":
    main()
