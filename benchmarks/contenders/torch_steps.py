"""Steps of PyTorch, on the processor or on a GPU."""

from contextlib import nullcontext

import torch
from torch.nn.functional import cross_entropy
from torch_networks import NETWORKS

VERSIONS = {"torch": torch.__version__}
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def synchronize():
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def make_step(
    task, network, x, y, threads, channels_last=False, compiled=False, device="cpu",
    precision="float32", graph=False,
):  # fmt: skip
    """The step to time.

    Args:
        channels_last: NHWC in memory, else NCHW.
        compiled: torch.compile of forward, loss and backward in one graph, and of the optimizer;
            or its mode, such as "reduce-overhead", which records CUDA graphs.
        device: "cpu" or "cuda".
        precision: "float32"; on a GPU also "tf32", which makes the products of float32 those of
            TF32, and "float16" (with loss scaling) and "bfloat16", where autocast has them.
        graph: record a CUDA graph of the training step by hand, as PyTorch's notes on CUDA show.
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
        exact = precision == "float32"
        torch.set_float32_matmul_precision("highest" if exact else "high")
        torch.backends.cudnn.allow_tf32 = not exact
        model = model.to(device)
    half = HALVES.get(precision)
    x, y = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)

    def autocast():
        return torch.autocast(device, half) if half else nullcontext()

    def prepared(x):
        """Bytes (N, H, W, C) to floats (N, C, H, W) in the memory format."""
        x = x.permute(0, 3, 1, 2).to(torch.float32, memory_format=memory_format)
        return x.mul_(1 / 255)

    if task == "predict":
        model.eval()
        predict = compile_(lambda x: model(prepared(x)).softmax(1))

        def step():
            with torch.inference_mode(), autocast():
                return predict(x).float().cpu().numpy()  # NumPy has no bfloat16

        return step

    optimizer = torch.optim.RMSprop(
        model.parameters(), 1e-3, alpha=0.9, eps=1e-7, foreach=True, capturable=graph
    )
    loss = compile_(lambda x, y: cross_entropy(model(prepared(x)), y))
    update = compile_(optimizer.step)
    # A number in float32 has the same exponents as one in bfloat16: only float16 needs scaling.
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")

    def gradients():
        with autocast():
            value = loss(x, y)
        scaler.scale(value).backward()
        return value

    def apply():
        if scaler.is_enabled():
            scaler.step(optimizer)  # looks at the gradients on the host: not to be recorded
            scaler.update()
        else:
            update()

    if graph:
        return recorded(gradients, apply, optimizer, whole=not scaler.is_enabled())

    def step():
        value = gradients()
        apply()
        optimizer.zero_grad()
        return value.item() if device == "cpu" else value

    return step


def recorded(gradients, apply, optimizer, whole):
    """A step that replays a CUDA graph: of all of it, or without `apply`.

    The gradients are made anew in each replay, in the memory that they had when it was recorded.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # algorithms are chosen, the optimizer's state is made
        for _ in range(3):
            optimizer.zero_grad()
            gradients()
            apply()
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = gradients()
        if whole:
            apply()

    def step():
        graph.replay()
        if not whole:
            apply()
        return value

    return step
