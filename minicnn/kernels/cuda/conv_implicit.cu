// Convolution without a matrix of windows in memory: float and double as they are, 16 bits on
// tensor cores.

#include "mma.cuh"
#include "product.cuh"
#include "conv_implicit.cuh"
