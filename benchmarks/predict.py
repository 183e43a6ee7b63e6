"""Prediction: throughput on large batches, and latency of a single image.

    python benchmarks/predict.py                               all networks, batch 256 and batch 1
    python benchmarks/predict.py --network resnet20 --batch-sizes 1 --json latency.json

A step is bytes to floats, forward and softmax, from one array in memory to another. At batch 1
the ratios are those of the latency, "ms a step".
"""

import measure
import results


def main():
    parser = measure.parser(__doc__)
    measure.add_networks(parser)
    measure.add_rivals(parser)
    parser.add_argument("--batch-sizes", type=measure.positive, nargs="+", default=[256, 1])
    args = parser.parse_args()

    contenders = measure.chosen_contenders(measure.ALL, args)
    compared = []
    for network in measure.chosen_networks(args):
        for batch_size in args.batch_sizes:
            (figures,) = measure.compare(contenders, "predict", network, batch_size, args)
            title = f"{network}: prediction, batch {batch_size}, {args.threads} cores"
            print(measure.comparison(title, figures), flush=True)
            compared.append(figures)
            results.write(args, compared)
    measure.plot_ratios(args, "Prediction", compared)


if __name__ == "__main__":
    main()
