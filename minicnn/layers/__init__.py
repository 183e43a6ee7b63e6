"""All layers, under Keras's names."""

from minicnn.layers.activation import ELU, GELU, Activation, LeakyReLU, ReLU, Softmax
from minicnn.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
)
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.compositions import AugMix, RandAugment, RandomColorJitter
from minicnn.layers.configurations import deserialize, serialize
from minicnn.layers.conv import Conv2D
from minicnn.layers.dense import Dense
from minicnn.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from minicnn.layers.dropout import Dropout
from minicnn.layers.group_normalization import GroupNormalization
from minicnn.layers.histograms import AutoContrast, Equalization
from minicnn.layers.input import Input, InputLayer
from minicnn.layers.merge import Add, Concatenate, Multiply, add, concatenate, multiply
from minicnn.layers.mixing import CutMix, MixUp, RandomErasing
from minicnn.layers.normalization import BatchNormalization, LayerNormalization
from minicnn.layers.pipeline import Pipeline
from minicnn.layers.pooling import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from minicnn.layers.random_affine import (
    RandomPerspective,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from minicnn.layers.random_blur import RandomGaussianBlur, RandomSharpness
from minicnn.layers.random_color import (
    RandomColorDegeneration,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomPosterization,
    RandomSaturation,
    Solarization,
)
from minicnn.layers.rescaling import Rescaling
from minicnn.layers.reshaping import Flatten, Reshape, ZeroPadding2D
from minicnn.layers.weight import Weight

AvgPool2D = AveragePooling2D
Convolution2D = Conv2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
MaxPool2D = MaxPooling2D

__all__ = [
    "Activation", "Add", "AugMix", "AutoContrast", "AveragePooling2D", "AvgPool2D",
    "BatchNormalization", "Concatenate", "Conv2D", "Convolution2D", "CutMix", "Dense",
    "DepthwiseConv2D", "Dropout", "ELU", "Equalization", "Flatten", "GELU",
    "GlobalAveragePooling2D", "GlobalAvgPool2D", "GlobalMaxPool2D", "GlobalMaxPooling2D",
    "GroupNormalization", "Input", "InputLayer", "LAYERS", "Layer", "LayerNormalization",
    "LeakyReLU", "MaxPool2D", "MaxPooling2D", "MixUp", "Multiply", "Pipeline", "RandAugment",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
    "RandomCrop", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation",
    "RandomZoom", "ReLU", "Rescaling", "Reshape", "SeparableConv2D", "Softmax", "Solarization",
    "Weight", "ZeroPadding2D", "add", "concatenate", "deserialize", "multiply", "serialize",
]  # fmt: skip
