// Sums over each channel of (rows, channels), in two stages: blocks sum shares of the rows, then one
// block a channel sums their results; both in a fixed order, so that the bits are the same each time.
// Two sums are made at once, in double precision: memory is what takes the time. Rows are read four
// ahead (`#pragma unroll 4`), so that enough of them is under way.

#define MOST_THREADS 256

// Each block takes as many neighbouring channels as it has threads, or all, and as many rows at a
// time as fit beside each other.
struct Share {
    int channel, row, rows_apart, lanes, layers;
    bool busy;
};

__device__ Share share_of(int channels, int groups)
{
    Share s;
    s.lanes = channels < (int)blockDim.x ? channels : blockDim.x;
    s.layers = blockDim.x / s.lanes;
    const int layer = threadIdx.x / s.lanes, group = blockIdx.x % groups;
    s.channel = blockIdx.x / groups * s.lanes + threadIdx.x % s.lanes;
    s.row = group * s.layers + layer;
    s.rows_apart = groups * s.layers;
    s.busy = layer < s.layers && s.channel < channels;
    return s;
}

// partial[group][which][channel] from each thread's two sums.
__device__ void add_up(Share s, double a, double b, double* partial, int channels, int groups)
{
    __shared__ double sums[2][MOST_THREADS];
    sums[0][threadIdx.x] = a;
    sums[1][threadIdx.x] = b;
    __syncthreads();
    if (s.busy && threadIdx.x < s.lanes) {
        for (int layer = 1; layer < s.layers; ++layer) {
            a += sums[0][layer * s.lanes + threadIdx.x];
            b += sums[1][layer * s.lanes + threadIdx.x];
        }
        double* to = partial + (long long)(blockIdx.x % groups) * 2 * channels + s.channel;
        to[0] = a;
        to[channels] = b;
    }
}

// Both sums of one channel over all groups; on every thread of the block.
__device__ void total(const double* partial, int channel, int channels, int groups,
                      double& first, double& second)
{
    __shared__ double sums[2][MOST_THREADS];
    double a = 0, b = 0;
    for (int group = threadIdx.x; group < groups; group += blockDim.x) {
        a += partial[(long long)group * 2 * channels + channel];
        b += partial[(long long)group * 2 * channels + channels + channel];
    }
    sums[0][threadIdx.x] = a;
    sums[1][threadIdx.x] = b;
    __syncthreads();
    for (int left = blockDim.x; left > 1; left = (left + 1) / 2) {
        const int other = threadIdx.x + (left + 1) / 2;
        if (other < left) {
            sums[0][threadIdx.x] += sums[0][other];
            sums[1][threadIdx.x] += sums[1][other];
        }
        __syncthreads();
    }
    first = sums[0][0];
    second = sums[1][0];
    __syncthreads();  // before anyone writes into the sums again
}
