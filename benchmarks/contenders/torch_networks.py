"""The networks of `examples/networks.py` in PyTorch: 3x32x32 images from 0 to 1 to 10 logits."""

import torch
from torch import nn
from torch.nn import functional as F


def tutorial():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def vgg():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(4096, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
    )  # fmt: skip


class Block(nn.Module):
    """Two convolutions beside a shortcut of type A."""

    def __init__(self, channels, filters):
        super().__init__()
        self.grows = filters > channels
        self.conv1 = nn.Conv2d(channels, filters, 3, 1 + self.grows, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.grows:  # every second pixel, zeros for the new channels
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1]))
        return torch.relu(x + y)


def resnet20():
    blocks, channels = [], 16
    for filters in (16, 32, 64):
        for _ in range(3):
            blocks.append(Block(channels, filters))
            channels = filters
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def a94():
    layers, channels = [nn.Conv2d(3, 24, 2), nn.GELU()], 24
    for filters in (64, 256, 256):
        layers += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False), nn.MaxPool2d(2),
            nn.BatchNorm2d(filters, momentum=0.4), nn.GELU(),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, momentum=0.4), nn.GELU(),
        ]  # fmt: skip
        channels = filters
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, 10))


NETWORKS = {"tutorial": tutorial, "vgg": vgg, "resnet20": resnet20, "a94": a94}
