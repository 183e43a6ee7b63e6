// A bias, one value per channel of (rows, channels), with ReLU in the same pass.

#include "each.cuh"
#include "relu.cuh"
#include "sums.cuh"

// z + b, in place of z.
__global__ void add_bias(stored* z, const real* __restrict__ bias, int rows, int channels)
{
    each(z, z, rows, channels, OfChannels<1>{bias},
         [=](real value, const real* own) { return value + own[0]; });
}

// relu(z + b), in place of z.
__global__ void add_bias_relu(
    stored* z, const real* __restrict__ bias, int rows, int channels,
    real negative_slope, real max_value)
{
    each(z, z, rows, channels, OfChannels<1>{bias}, [=](real value, const real* own) {
        return relu(value + own[0], negative_slope, max_value);
    });
}

// dz, and its sums over groups of rows.
__global__ __launch_bounds__(MOST_THREADS, 4) void relu_gradient_sums(
    const stored* __restrict__ dy, const stored* __restrict__ y, stored* __restrict__ dz,
    double* __restrict__ partial, int rows, int channels, int groups,
    real negative_slope, real max_value)
{
    sum_over_rows(
        dy, y, dz, partial, rows, channels, groups, [](int) { return real(0); },
        [=](real d, real value, real) {
            return Summands{d * relu_slope(value, negative_slope, max_value), 0};
        });
}
