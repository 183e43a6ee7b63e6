// Sums per channel of (rows, channels), in two stages: blocks sum groups of rows, then one block
// per channel sums their results; both in a fixed order, so that the bits are the same each time.
// Two sums are made at once, in double precision: memory is what takes the time. To keep it busy, a
// thread reads runs of neighbours, of several rows before it sums any.

#include "run.cuh"

#define MOST_THREADS 256

const int SUMMED_RUN = MOST_OF_A_RUN < 4 ? MOST_OF_A_RUN : 4, ROWS_AHEAD = 4;

struct Summands {
    double first, second;
};

// partial[group][which][channel]: over each group of rows the two sums of f(a[at], b[at],
// own(channel)), whose first summand is also written to out[at], unless out is null. A block takes
// as many runs of neighbouring channels as it has threads, or all, and as many rows at a time as
// fit beside each other.
template <int N, class Own, class Function>
__device__ void sum_runs(
    const stored* a, const stored* b, stored* out, double* partial, int rows, int channels,
    int groups, Own own, Function f)
{
    __shared__ double sums[2 * N][MOST_THREADS];
    const int threads = blockDim.x, runs = channels / N;
    const int lanes = runs < threads ? runs : threads, layers = threads / lanes;
    const int lane = threadIdx.x % lanes, layer = threadIdx.x / lanes, group = blockIdx.x % groups;
    const unsigned apart = groups * layers;
    for (int chunk = blockIdx.x / groups; chunk * lanes < runs; chunk += gridDim.x / groups) {
        const int c = (chunk * lanes + lane) * N;
        double first[N] = {}, second[N] = {};
        if (layer < layers && c < channels) {
            real of_channel[N];
#pragma unroll
            for (int i = 0; i < N; ++i) of_channel[i] = own(c + i);
            for (unsigned row = group * layers + layer; row < rows; row += ROWS_AHEAD * apart) {
                Run<N> p[ROWS_AHEAD], q[ROWS_AHEAD];
#pragma unroll
                for (int r = 0; r < ROWS_AHEAD; ++r) {
                    if (row + r * apart >= rows) continue;
                    const long long at = (long long)(row + r * apart) * channels + c;
                    p[r] = *(const Run<N>*)(a + at);
                    q[r] = *(const Run<N>*)(b + at);
                }
#pragma unroll
                for (int r = 0; r < ROWS_AHEAD; ++r) {
                    if (row + r * apart >= rows) continue;
                    Run<N> result;
#pragma unroll
                    for (int i = 0; i < N; ++i) {
                        const Summands s =
                            f(real(p[r].numbers[i]), real(q[r].numbers[i]), of_channel[i]);
                        first[i] += s.first;
                        second[i] += s.second;
                        result.numbers[i] = real(s.first);
                    }
                    const long long at = (long long)(row + r * apart) * channels + c;
                    if (out) *(Run<N>*)(out + at) = result;
                }
            }
        }
#pragma unroll
        for (int i = 0; i < N; ++i) {
            sums[i][threadIdx.x] = first[i];
            sums[N + i][threadIdx.x] = second[i];
        }
        __syncthreads();
        for (int at = threadIdx.x; at < 2 * N * lanes; at += threads) {
            const int line = at / lanes, of_lane = at % lanes;
            const int channel = (chunk * lanes + of_lane) * N + line % N;
            double sum = 0;
            for (int l = 0; l < layers; ++l) sum += sums[line][l * lanes + of_lane];
            if (channel < channels)
                partial[(long long)(2 * group + line / N) * channels + channel] = sum;
        }
        __syncthreads();  // before anyone writes into the sums again
    }
}

template <class Own, class Function>
__device__ void sum_over_rows(
    const stored* a, const stored* b, stored* out, double* partial, int rows, int channels,
    int groups, Own own, Function f)
{
    if (in_runs<SUMMED_RUN>(channels, a, b, out))
        sum_runs<SUMMED_RUN>(a, b, out, partial, rows, channels, groups, own, f);
    else
        sum_runs<1>(a, b, out, partial, rows, channels, groups, own, f);
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
