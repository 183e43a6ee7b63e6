// The sum per channel of (rows, channels).

#include "sums.cuh"

__global__ __launch_bounds__(MOST_THREADS, 4) void partial_sums(
    const stored* __restrict__ x, double* __restrict__ partial, int rows, int channels, int groups)
{
    sum_over_rows(
        x, x, nullptr, partial, rows, channels, groups, [](int) { return real(0); },
        [](real value, real, real) { return Summands{value, 0}; });
}

// One block per channel.
__global__ void totals(
    const double* __restrict__ partial, real* __restrict__ sums, int channels, int groups)
{
    for (int c = blockIdx.x; c < channels; c += gridDim.x) {
        double sum, unused;
        total(partial, c, channels, groups, sum, unused);
        if (threadIdx.x == 0) sums[c] = sum;
    }
}
