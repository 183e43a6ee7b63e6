"""The networks of `examples/networks.py` in Keras: 32x32x3 bytes to 10 logits."""

from keras import Input, Model, Sequential, ops
from keras.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
    Rescaling,
)

SHAPE = (32, 32, 3)


def tutorial():
    return Sequential(
        [
            Input(SHAPE, dtype="uint8"),
            Rescaling(1 / 255),
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            Flatten(),
            Dense(64, activation="relu"),
            Dense(10),
        ]
    )


def vgg():
    return Sequential(
        [
            Input(SHAPE, dtype="uint8"),
            Rescaling(1 / 255),
            Conv2D(32, 3, padding="same", activation="relu"),
            Conv2D(32, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Dropout(0.25),
            Conv2D(64, 3, padding="same", activation="relu"),
            Conv2D(64, 3, padding="same", activation="relu"),
            MaxPooling2D(),
            Dropout(0.25),
            Flatten(),
            Dense(512, activation="relu"),
            Dropout(0.5),
            Dense(10),
        ]
    )


def resnet20():
    def conv_bn(x, filters, strides=1):
        x = Conv2D(filters, 3, strides, "same", use_bias=False)(x)
        return BatchNormalization(momentum=0.9, epsilon=1e-5)(x)

    inputs = Input(SHAPE, dtype="uint8")
    x = Activation("relu")(conv_bn(Rescaling(1 / 255)(inputs), 16))
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if block == 0 and filters > 16 else 1
            y = Activation("relu")(conv_bn(x, filters, strides))
            y = conv_bn(y, filters)
            if strides == 2:  # every second pixel, zeros for the new channels
                x = ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, filters // 2)))
            x = Activation("relu")(x + y)
    return Model(inputs, Dense(10)(GlobalAveragePooling2D()(x)))


def a94():
    layers = [Input(SHAPE, dtype="uint8"), Rescaling(1 / 255), Conv2D(24, 2, activation="gelu")]
    for filters in (64, 256, 256):
        layers += [
            Conv2D(filters, 3, padding="same", use_bias=False),
            MaxPooling2D(),
            BatchNormalization(momentum=0.6, epsilon=1e-5),
            Activation("gelu"),
            Conv2D(filters, 3, padding="same", use_bias=False),
            BatchNormalization(momentum=0.6, epsilon=1e-5),
            Activation("gelu"),
        ]
    return Sequential([*layers, MaxPooling2D(3), Flatten(), Dense(10)])


NETWORKS = {"tutorial": tutorial, "vgg": vgg, "resnet20": resnet20, "a94": a94}
