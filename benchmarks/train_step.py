"""Training speed: minicnn against PyTorch and Keras/TensorFlow on the same cores.

    python benchmarks/train_step.py                                  all networks, all contenders
    python benchmarks/train_step.py --network vgg --only NHWC --json vgg.json --plot vgg.png
    python benchmarks/train_step.py --tensorflow-python ~/tf/bin/python
    python benchmarks/train_step.py --backend cupy --batch-size 1024         on a GPU
    python benchmarks/train_step.py --backend cupy --precision mixed --without max-autotune

A step is bytes to floats, forward, cross-entropy, backward and RMSprop, on one batch in memory.
"""

import measure
import results

# Ratios to the best mode of PyTorch.
AIMS = {"tutorial": 2.0, "vgg": 2.0, "resnet20": 1.5, "a94": 2.0}
AIMS_ON_GPU = {  # at batch 1,024 on an H200, by precision
    "tf32": {"tutorial": 1.0, "vgg": 1.0, "resnet20": 0.8, "a94": 0.7},
    "mixed": {"tutorial": 1.0, "vgg": 0.8, "resnet20": 0.7, "a94": 0.6},
}


def main():
    parser = measure.parser(__doc__)
    measure.add_networks(parser)
    measure.add_rivals(parser)
    measure.add_backend(parser)
    measure.add_precisions(parser, ["tf32", "mixed", "float32"])
    parser.add_argument("--batch-size", type=measure.positive, default=128)
    args = parser.parse_args()

    on_gpu = args.backend == "cupy"
    where = "one GPU" if on_gpu else f"{args.threads} cores"
    contenders = measure.chosen_contenders(measure.ALL, args)
    if on_gpu:
        chosen = [c for c in measure.ON_GPU if c.precision in args.precision]
        contenders = measure.chosen_contenders(chosen, args)
    compared = []
    for network in measure.chosen_networks(args):
        for figures in measure.compare(contenders, "train", network, args.batch_size, args):
            title = f"{network}: training, batch {args.batch_size}, {where}"
            if on_gpu:
                title += f", {measure.PRECISIONS[figures['precision']]}"
            aims = AIMS_ON_GPU.get(figures["precision"]) if on_gpu else AIMS
            print(measure.comparison(title, figures, aims), flush=True)
            compared.append(figures)
        results.write(args, compared)  # after each network: an interruption loses one
    measure.plot_ratios(args, "Training", compared, where)


if __name__ == "__main__":
    main()
