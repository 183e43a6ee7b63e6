// The sum over each channel of (rows, channels).

#include "sums.cuh"

__global__ void partial_sums(
    const stored* __restrict__ x, double* __restrict__ partial, int rows, int channels, int groups)
{
    const Share s = share_of(channels, groups);
    double sum = 0;
    if (s.busy) {
#pragma unroll 4
        for (unsigned row = s.row; row < rows; row += s.rows_apart) {
            sum += x[(long long)row * channels + s.channel];
        }
    }
    add_up(s, sum, 0, partial, channels, groups);
}

// One block a channel.
__global__ void totals(
    const double* __restrict__ partial, real* __restrict__ sums, int channels, int groups)
{
    for (int c = blockIdx.x; c < channels; c += gridDim.x) {
        double sum, unused;
        total(partial, c, channels, groups, sum, unused);
        if (threadIdx.x == 0) sums[c] = sum;
    }
}
