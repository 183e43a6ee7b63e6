"""All layers, under Keras's names."""

from minicnn.layers.activation import ELU, GELU, Activation, LeakyReLU, ReLU, Softmax
from minicnn.layers.adaptive_pooling import AdaptiveAveragePooling2D, AdaptiveMaxPooling2D
from minicnn.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
)
from minicnn.layers.base import LAYERS, Layer
from minicnn.layers.category_encoding import CategoryEncoding
from minicnn.layers.compositions import AugMix, RandAugment, RandomColorJitter
from minicnn.layers.configurations import deserialize, serialize
from minicnn.layers.conv import Conv2D
from minicnn.layers.conv_transpose import Conv2DTranspose
from minicnn.layers.dense import Dense
from minicnn.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from minicnn.layers.dropout import Dropout
from minicnn.layers.feature_normalization import Normalization
from minicnn.layers.group_normalization import GroupNormalization
from minicnn.layers.histograms import AutoContrast, Equalization
from minicnn.layers.input import Input, InputLayer
from minicnn.layers.input_spec import InputSpec
from minicnn.layers.merge import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from minicnn.layers.mixing import CutMix, MixUp, RandomErasing
from minicnn.layers.moving import (
    ActivityRegularization,
    Cropping2D,
    Identity,
    Permute,
    RepeatVector,
)
from minicnn.layers.noise import AlphaDropout, GaussianDropout, GaussianNoise, SpatialDropout2D
from minicnn.layers.normalization import BatchNormalization, LayerNormalization
from minicnn.layers.pipeline import Pipeline
from minicnn.layers.pooling import (
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from minicnn.layers.prelu import PReLU
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
from minicnn.layers.resizing import CenterCrop, Resizing, UpSampling2D
from minicnn.layers.unit_normalization import UnitNormalization
from minicnn.layers.weight import Weight

AvgPool2D = AveragePooling2D
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
DepthwiseConvolution2D = DepthwiseConv2D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
MaxPool2D = MaxPooling2D
SeparableConvolution2D = SeparableConv2D

__all__ = [
    "Activation", "ActivityRegularization", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D",
    "Add", "AlphaDropout", "AugMix", "AutoContrast", "Average", "AveragePooling2D", "AvgPool2D",
    "BatchNormalization", "CategoryEncoding", "CenterCrop", "Concatenate", "Conv2D",
    "Conv2DTranspose", "Convolution2D", "Convolution2DTranspose", "Cropping2D", "CutMix", "Dense",
    "DepthwiseConv2D", "DepthwiseConvolution2D", "Dropout", "ELU", "Equalization", "Flatten",
    "GELU", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling2D", "GlobalAvgPool2D",
    "GlobalMaxPool2D", "GlobalMaxPooling2D", "GroupNormalization", "Identity", "Input",
    "InputLayer", "InputSpec", "LAYERS", "Layer", "LayerNormalization", "LeakyReLU", "MaxPool2D",
    "MaxPooling2D", "Maximum", "Minimum", "MixUp", "Multiply", "Normalization", "PReLU",
    "Permute", "Pipeline", "RandAugment", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomCrop", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomZoom", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing",
    "SeparableConv2D", "SeparableConvolution2D", "Softmax", "Solarization", "SpatialDropout2D",
    "Subtract", "UnitNormalization", "UpSampling2D", "Weight", "ZeroPadding2D", "add", "average",
    "concatenate", "deserialize", "maximum", "minimum", "multiply", "serialize", "subtract",
]  # fmt: skip
