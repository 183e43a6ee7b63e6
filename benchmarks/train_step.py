"""Training speed: minicnn against PyTorch and Keras/TensorFlow on the same cores.

    python benchmarks/train_step.py                                  all networks, all contenders
    python benchmarks/train_step.py --network vgg --only NHWC --json vgg.json --plot vgg.png
    python benchmarks/train_step.py --tensorflow-python ~/tf/bin/python
    python benchmarks/train_step.py --backend cupy --batch-size 1024         on a GPU

A step is bytes to floats, forward, cross-entropy, backward and RMSprop, on one batch in memory.
"""

import measure
import results


def main():
    parser = measure.parser(__doc__)
    measure.add_networks(parser)
    measure.add_rivals(parser)
    measure.add_backend(parser)
    parser.add_argument("--batch-size", type=measure.positive, default=128)
    args = parser.parse_args()

    on_gpu = args.backend == "cupy"
    where = "one GPU" if on_gpu else f"{args.threads} cores"
    contenders = measure.chosen_contenders(measure.ON_GPU if on_gpu else measure.ALL, args)
    compared = []
    for network in measure.chosen_networks(args):
        figures = measure.compare(contenders, "train", network, args.batch_size, args)
        title = f"{network}: training, batch {args.batch_size}, {where}"
        print(measure.comparison(title, figures), flush=True)
        compared.append(figures)
        results.write(args, compared)  # after each network: an interruption loses one
    measure.plot_ratios(args, "Training", compared, where)


if __name__ == "__main__":
    main()
