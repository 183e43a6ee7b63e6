// The same kernels, but floats are rounded to TF32 and multiplied on tensor cores.

#define WITH_TENSOR_FLOATS
#include "mma.cuh"
#include "product.cuh"
#include "conv_implicit.cuh"
