"""`SlidingFilters`: what Conv2D and the depthwise convolutions share, a window slid over images."""

from typing import Any

from minicnn.kernels.windows import Window
from minicnn.layers import arguments
from minicnn.layers.activated import ActivatedLayer
from minicnn.layers.base import require_rank
from minicnn.typing import Shape


class SlidingFilters(ActivatedLayer):
    """Filters slid over images, a bias and an activation function.

    Args:
        kernel_size, strides, padding, data_format, dilation_rate: see `Conv2D`.
        kwargs: see `ActivatedLayer`.

    Attributes:
        window: kernel_size, strides, padding and dilation_rate in one object.
    """

    def __init__(
        self,
        *,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.kernel_size = arguments.pair(self, "kernel_size", kernel_size)
        self.strides = arguments.pair(self, "strides", strides)
        self.padding = arguments.padding_name(self, padding)
        self.data_format = arguments.channels_last(self, data_format)
        self.dilation_rate = arguments.pair(self, "dilation_rate", dilation_rate)
        self.window = Window(self.kernel_size, self.strides, self.padding, self.dilation_rate)

    def _channels_of(self, input_shape: Shape) -> int:
        """Channels of the images of a batch of `input_shape`; rows and columns may be open.

        Raises:
            ValueError: the input is no batch of images.
        """
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        (channels,) = arguments.fixed_sizes(self, input_shape[-1:])
        return channels

    def _image_shape(self, input_shape: Shape) -> tuple[int, int, int]:
        """(height, width, channels) of an image, from the `input_shape` of a batch.

        Raises:
            ValueError: the input is no batch of images of a fixed size.
        """
        require_rank(self, input_shape, 4, "(batch, height, width, channels)")
        height, width, channels = arguments.fixed_sizes(self, input_shape[1:])
        return height, width, channels

    def require_channels(self, input_shape: Shape, channels: int) -> None:
        """Raise a ValueError unless `input_shape` is that of a batch of images of the `channels`
        that the layer was built for."""
        given = self._channels_of(input_shape)
        if given != channels:
            raise ValueError(
                f"{self.described} was built for {channels} channels; got images of {given}, "
                f"shape {tuple(input_shape)}"
            )

    def _output_shape(self, input_shape: Shape, channels: int, filters: int) -> Shape:
        """Shape of the output, (batch, OH, OW, filters).

        Args:
            input_shape: of a batch of images.
            channels: those that the layer was built for.
            filters: channels of the output.

        Raises:
            ValueError: the input is no batch of images, has other channels, or is smaller than
                the window.
        """
        self.require_channels(input_shape, channels)
        size = arguments.window_output_size(self, self.window, *input_shape[1:3])
        return (input_shape[0], *size, filters)
