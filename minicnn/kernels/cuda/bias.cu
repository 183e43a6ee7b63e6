// A bias, one number for each channel of (rows, channels), with ReLU in the same pass.

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

// dz, and its sums over shares of the rows.
__global__ void relu_gradient_sums(
    const stored* __restrict__ dy, const stored* __restrict__ y, stored* __restrict__ dz,
    double* __restrict__ partial, int rows, int channels, int groups,
    real negative_slope, real max_value)
{
    const Share s = share_of(channels, groups);
    double sum = 0;
    if (s.busy) {
#pragma unroll 4
        for (unsigned row = s.row; row < rows; row += s.rows_apart) {
            const long long at = (long long)row * channels + s.channel;
            const real d = real(dy[at]) * relu_slope(y[at], negative_slope, max_value);
            dz[at] = d;
            sum += d;
        }
    }
    add_up(s, sum, 0, partial, channels, groups);
}
