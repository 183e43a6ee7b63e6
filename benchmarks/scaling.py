"""What a second core brings to training: minicnn on 1 thread against several, by batch size.

python benchmarks/scaling.py
python benchmarks/scaling.py --threads 4 --network vgg --batch-sizes 64 128 --plot vgg.png
"""

import measure
import results


def main():
    parser = measure.parser(__doc__, rounds=5, seconds=1.0)
    measure.add_networks(parser)
    add, positive = parser.add_argument, measure.positive
    add("--threads", type=positive, default=measure.cores(), help="against 1")
    add("--batch-sizes", type=positive, nargs="+", default=[16, 32, 64, 128, 256, 512, 1024])
    args = parser.parse_args()
    if args.threads < 2:
        parser.error(f"--threads must be 2 or more to compare with 1, not {args.threads}")

    measured = []
    for network in measure.chosen_networks(args):
        rows = []
        for batch_size in args.batch_sizes:
            figures = against_one_thread(network, batch_size, args)
            measured.append(figures)
            results.write(args, measured)
            medians = [measure.spread(v)["median"] for v in figures["images_per_second"].values()]
            rows.append([
                str(batch_size), *(f"{v:,.0f}" for v in medians),
                results.spread_text(figures["speedup"]),
            ])  # fmt: skip
        columns = ["batch", "1 thread", f"{args.threads} threads", "speedup"]
        print(results.table(f"{network}: training, images/s", columns, rows), flush=True)
    groups = {str(batch_size): {} for batch_size in args.batch_sizes}
    for figures in measured:
        groups[str(figures["batch_size"])][figures["network"]] = figures["speedup"]
    title = f"Training on {args.threads} threads against 1, by batch size"
    results.bars(args.plot, title, groups, "speedup", (1, "one thread"))


def against_one_thread(network, batch_size, args):
    workers = {}
    try:
        for threads in (1, args.threads):
            (worker,) = measure.start([measure.MINICNN], "train", network, batch_size, threads)
            workers[f"{threads} threads"] = worker
        taken = measure.take_turns(workers, args)
    finally:
        for worker in workers.values():
            worker.close()
    speeds = {label: [t["images_per_second"] for t in turns] for label, turns in taken.items()}
    one, several = speeds.values()
    return {
        "network": network,
        "batch_size": batch_size,
        "images_per_second": speeds,
        "speedup": measure.pairwise_ratios(several, one),
        "versions": worker.started["versions"],
    }


if __name__ == "__main__":
    main()
