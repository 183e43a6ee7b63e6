"""Networks for 32x32 colour images, as Keras users write them.

Each function takes a name, the shape of an image, the number of classes, and whether to augment;
it returns a model from bytes to probabilities.
"""

from minicnn import Input, Model, Sequential
from minicnn.layers import (
    GELU,
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
    RandomFlip,
    RandomTranslation,
    Rescaling,
)


def tutorial(name, shape, classes, augment=False):
    """The network of TensorFlow's CNN tutorial: 122,570 parameters, 4.5 million multiply-adds."""
    return Sequential(
        [
            Input(shape),
            *preparation(augment),
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(2),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2),
            Conv2D(64, 3, activation="relu"),
            Flatten(),
            Dense(64, activation="relu"),
            Dense(classes, activation="softmax"),
        ],
        name=name,
    )


def vgg(name, shape, classes, augment=False):
    """Two blocks of two convolutions, dropout and a wide dense layer: Keras's CIFAR-10 example."""
    return Sequential(
        [
            Input(shape),
            *preparation(augment),
            Conv2D(32, 3, padding="same", activation="relu"),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(2),
            Dropout(0.25),
            Conv2D(64, 3, padding="same", activation="relu"),
            Conv2D(64, 3, padding="same", activation="relu"),
            MaxPooling2D(2),
            Dropout(0.25),
            Flatten(),
            Dense(512, activation="relu"),
            Dropout(0.5),
            Dense(classes, activation="softmax"),
        ],
        name=name,
    )


def resnet20(name, shape, classes, augment=False):
    """ResNet-20 for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2), shortcuts of type A:
    where the channels double, every second pixel with zeros for the new channels."""

    def conv_bn(x, filters, strides=1):
        x = Conv2D(filters, 3, strides, "same", use_bias=False, kernel_initializer="he_normal")(x)
        return BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    x = inputs = Input(shape)
    for layer in preparation(augment):
        x = layer(x)
    x = Activation("relu")(conv_bn(x, 16))
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if block == 0 and filters > 16 else 1
            shortcut = x
            x = Activation("relu")(conv_bn(x, filters, strides))
            x = conv_bn(x, filters)
            if strides == 2:
                shortcut = AveragePooling2D(1, strides)(shortcut)
                zeros = Rescaling(0.0)(shortcut)
                shortcut = Concatenate()([shortcut, zeros])
            x = Activation("relu")(Add()([x, shortcut]))
    x = GlobalAveragePooling2D()(x)
    return Model(inputs, Dense(classes, activation="softmax")(x), name=name)


def a94(name, shape, classes, augment=False):
    """The network of Keller Jordan's "94% on CIFAR-10 in 3.29 seconds on a single GPU" (2024,
    arXiv:2404.00498): wide 3x3 convolutions, 118 million multiply-adds. All of it learns here:
    there the first layer is fixed by the data, and so are the scales of the normalizations."""
    layers = [Input(shape), *preparation(augment), Conv2D(24, 2), GELU()]
    for filters in (64, 256, 256):
        layers += [
            Conv2D(filters, 3, padding="same", use_bias=False),
            MaxPooling2D(2),
            BatchNormalization(momentum=0.6, epsilon=1e-5),
            GELU(),
            Conv2D(filters, 3, padding="same", use_bias=False),
            BatchNormalization(momentum=0.6, epsilon=1e-5),
            GELU(),
        ]
    layers += [MaxPooling2D(3), Flatten(), Dense(classes, activation="softmax")]
    return Sequential(layers, name=name)


def preparation(augment):
    """Bytes to [0, 1]; with `augment`, mirrored and shifted by up to a tenth while training."""
    if not augment:
        return [Rescaling(1 / 255)]
    return [
        Rescaling(1 / 255),
        RandomFlip("horizontal"),
        RandomTranslation(0.1, 0.1, fill_mode="reflect"),
    ]


NETWORKS = {"tutorial": tutorial, "vgg": vgg, "resnet20": resnet20, "a94": a94}
