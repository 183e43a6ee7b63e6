// The same kernels, which multiply floats on tensor cores, rounded to TF32.

#define WITH_TENSOR_FLOATS
#include "mma.cuh"
#include "product.cuh"
#include "conv_implicit.cuh"
