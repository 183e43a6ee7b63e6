"""Peak resident memory of training: minicnn against PyTorch and Keras/TensorFlow.

    python benchmarks/memory.py
    python benchmarks/memory.py --network a94 --batch-sizes 128 512 --json memory.json

Each figure is of a fresh process: the most it held once its library was imported, and the most
after 5 training steps. Compilers are left out: their own peak is not that of training.
"""

import measure
import results


def main():
    parser = measure.parser(__doc__, timed=False)
    measure.add_networks(parser)
    measure.add_rivals(parser)
    parser.add_argument("--batch-sizes", type=measure.positive, nargs="+", default=[32, 128, 512])
    args = parser.parse_args()

    contenders = measure.chosen_contenders(measure.EAGER, args)
    measured, groups = [], {}
    for network in measure.chosen_networks(args):
        for batch_size in args.batch_sizes:
            peaks = {c.label: peak(c, network, batch_size, args) for c in contenders}
            contenders = [c for c in contenders if peaks[c.label]]  # the others are named once
            peaks = {c.label: peaks[c.label] for c in contenders}
            measured.append({"network": network, "batch_size": batch_size, "memory": peaks})
            rows = [[label, *(f"{p[k]:,.0f}" for k in COLUMNS)] for label, p in peaks.items()]
            title = f"{network}: memory of training in MB, batch {batch_size}"
            print(results.table(title, ["contender", *COLUMNS.values()], rows), flush=True)
            results.write(args, measured)
            groups[f"{network} {batch_size}"] = {
                label: dict.fromkeys(("median", "min", "max"), p["training_mb"])
                for label, p in peaks.items()
            }
    results.bars(args.plot, "Peak memory of training, imports not counted", groups, "MB")


COLUMNS = {"peak_mb": "peak", "imported_mb": "after imports", "training_mb": "difference"}


def peak(contender, network, batch_size, args):
    """{"peak_mb", "imported_mb", "training_mb", "versions"}; None where it cannot run."""
    workers = measure.start(
        [contender], "train", network, batch_size, args.threads, measure.pythons(args)
    )
    if not workers:
        return None
    workers[0].close()
    figures = workers[0].started
    return figures | {"training_mb": figures["peak_mb"] - figures["imported_mb"]}


if __name__ == "__main__":
    main()
