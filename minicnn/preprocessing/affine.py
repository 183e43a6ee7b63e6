"""The affine maps of `ImageDataGenerator`, one per image of a batch.

An output pixel looks up where it comes from: p_in = M p_out, with points (x, y) measured from the
centre of the image, x to the right and y downward. So a matrix that enlarges the coordinates
shrinks the picture, and a positive shift moves the picture to the left or up. The angles, the order
of the product and these signs are those of Keras's `ImageDataGenerator`.
"""

import numpy as np

from minicnn.kernels.affine import affine


def affine_matrices(
    theta: np.ndarray,
    tx: np.ndarray,
    ty: np.ndarray,
    shear: np.ndarray,
    zx: np.ndarray,
    zy: np.ndarray,
) -> np.ndarray:
    """The products rotation @ shift @ shear @ zoom, (n, 2, 3), for n images.

    Args:
        theta: rotation in degrees, (n,) like the others.
        tx, ty: shift along x (columns) and y (rows) in pixels.
        shear: shear angle in degrees.
        zx, zy: zoom along x and y; below 1 magnifies.
    """
    n = len(theta)

    def matrix(entries: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
        result = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
        for (i, j), value in entries.items():
            result[:, i, j] = value
        return result

    t, s = np.deg2rad(theta), np.deg2rad(shear)
    rotation = {(0, 0): np.cos(t), (0, 1): -np.sin(t), (1, 0): np.sin(t), (1, 1): np.cos(t)}
    product = (
        matrix(rotation)
        @ matrix({(0, 2): tx, (1, 2): ty})
        @ matrix({(0, 1): -np.sin(s), (1, 1): np.cos(s)})
        @ matrix({(0, 0): zx, (1, 1): zy})
    )
    return product[:, :2]


def warp(
    images: np.ndarray, matrices: np.ndarray, fill_mode: str = "nearest", cval: float = 0.0
) -> np.ndarray:
    """Images warped with bilinear interpolation; shape and dtype (floating) are kept.

    Args:
        images: (n, height, width, channels).
        matrices: (n, 2, 3), from `affine_matrices`.
        fill_mode: what lies beyond the edge; see `minicnn.kernels.borders`.
        cval: the value for "constant".
    """
    _, height, width, _ = images.shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    # (x, y) from the centre -> (row, column) from the corner: p - c = A (q - c) + s
    a = matrices[:, ::-1, 1::-1]
    b = matrices[:, ::-1, 2] + centre - a @ centre  # (n, 2, 2) @ (2,)
    dtype = np.result_type(images.dtype, np.float32)
    result: np.ndarray = affine(
        images, a.astype(dtype), b.astype(dtype), fill_mode, cval, sharp_border=True
    )
    return result
