"""Layers that PyTorch has no name for, from what it has; images (N, H, W, C).

PyTorch is imported when a function is called, so that this file can be imported without it.
"""


def channels_first(x):
    return x.permute(0, 3, 1, 2)


def channels_last(x):
    return x.permute(0, 2, 3, 1)


def pad_same(x, size, strides, dilation=(1, 1), value=0.0):
    """TensorFlow's "same", which PyTorch has no name for: x (N, C, H, W), the odd row last."""
    from torch.nn import functional as F

    pads = []
    for length, k, s, d in reversed(list(zip(x.shape[2:], size, strides, dilation, strict=True))):
        total = max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def torch_conv(x, kernel, bias, window, groups=1):
    from torch.nn import functional as F

    x = channels_first(x)
    if window.padding == "same":
        x = pad_same(x, window.size, window.strides, window.dilation)
    kernel = kernel.permute(3, 2, 0, 1).contiguous()  # (kh, kw, C/g, F) -> (F, C/g, kh, kw)
    y = F.conv2d(x, kernel, bias, window.strides, 0, window.dilation, groups)
    return channels_last(y)


def torch_depthwise(x, kernel, bias, window):
    kh, kw, c, m = kernel.shape
    return torch_conv(x, kernel.reshape(kh, kw, 1, c * m), bias, window, groups=c)


def torch_max_pool(x, window):
    from torch.nn import functional as F

    x = channels_first(x)
    if window.padding == "same":
        x = pad_same(x, window.size, window.strides, value=-float("inf"))
    return channels_last(F.max_pool2d(x, window.size, window.strides))


def torch_average_pool(x, window):
    """The mean of the pixels that are there: padding does not count."""
    import torch
    from torch.nn import functional as F

    sums = []
    for images in (channels_first(x), channels_first(torch.ones_like(x))):
        if window.padding == "same":
            images = pad_same(images, window.size, window.strides)
        sums.append(F.avg_pool2d(images, window.size, window.strides))
    return channels_last(sums[0] / sums[1])


def torch_activations():
    """{name in minicnn: function of PyTorch}, with the same slopes and constants."""
    import torch
    from torch.nn import functional as F

    return {
        "relu": torch.relu,
        "relu6": F.relu6,
        "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
        "elu": F.elu,
        "selu": F.selu,
        "gelu": F.gelu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softmax": lambda x: torch.softmax(x, -1),
        "silu": F.silu,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "linear": lambda x: x * 1,
    }
