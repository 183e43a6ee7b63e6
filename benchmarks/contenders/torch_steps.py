"""Steps of PyTorch."""

import torch
from torch.nn.functional import cross_entropy
from torch_networks import NETWORKS

VERSIONS = {"torch": torch.__version__}


def make_step(task, network, x, y, threads, channels_last=False, compiled=False):
    """The step to time.

    Args:
        channels_last: NHWC in memory, else NCHW.
        compiled: torch.compile of forward, loss and backward in one graph, and of the optimizer.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = NETWORKS[network]().to(memory_format=memory_format)
    compile_ = torch.compile if compiled else lambda function: function
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def prepared(x):
        """Bytes (N, H, W, C) to floats (N, C, H, W) in the memory format."""
        x = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format)
        return x.mul_(1 / 255)

    if task == "predict":
        model.eval()
        predict = compile_(lambda x: model(prepared(x)).softmax(1))

        def step():
            with torch.inference_mode():
                return predict(x).numpy()

        return step

    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3, alpha=0.9, eps=1e-7, foreach=True)
    loss = compile_(lambda x, y: cross_entropy(model(prepared(x)), y))
    update = compile_(optimizer.step)

    def step():
        value = loss(x, y)
        value.backward()
        update()
        optimizer.zero_grad()
        return value.item()

    return step
