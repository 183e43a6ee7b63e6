"""Steps of PyTorch, on the processor or on a GPU."""

from contextlib import nullcontext

import torch
from torch.nn.functional import cross_entropy
from torch_networks import NETWORKS

VERSIONS = {"torch": torch.__version__}


def synchronize():
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def make_step(
    task, network, x, y, threads, channels_last=False, compiled=False, device="cpu", half=False
):
    """The step to time.

    Args:
        channels_last: NHWC in memory, else NCHW.
        compiled: torch.compile of forward, loss and backward in one graph, and of the optimizer;
            or its mode, such as "reduce-overhead", which records CUDA graphs.
        device: "cpu" or "cuda", where products of float32 are those of TF32.
        half: float16 where autocast has it, with loss scaling.
    """
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = NETWORKS[network]().to(memory_format=memory_format)
    mode = compiled if isinstance(compiled, str) else None

    def compile_(function):
        return torch.compile(function, mode=mode) if compiled else function

    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        model = model.to(device)
    precision = torch.autocast(device, torch.float16) if half else nullcontext()
    scaler = torch.amp.GradScaler(device, enabled=half)
    x, y = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)

    def prepared(x):
        """Bytes (N, H, W, C) to floats (N, C, H, W) in the memory format."""
        x = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format)
        return x.mul_(1 / 255)

    if task == "predict":
        model.eval()
        predict = compile_(lambda x: model(prepared(x)).softmax(1))

        def step():
            with torch.inference_mode(), precision:
                return predict(x).cpu().numpy()

        return step

    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3, alpha=0.9, eps=1e-7, foreach=True)
    loss = compile_(lambda x, y: cross_entropy(model(prepared(x)), y))
    update = compile_(optimizer.step)

    def step():
        with precision:
            value = loss(x, y)
        if half:
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            value.backward()
            update()
        optimizer.zero_grad()
        return value.item() if device == "cpu" else value

    return step
