// Each element of (rows, channels) by itself: y[at] = f(x[at], own), or f(a[at], b[at], own) of two
// arrays, with what belongs to its channel in own[0], own[1] ... y may be one of the arrays.
//
// A thread has the same channels in all its rows, and reads what belongs to them once.

#include "run.cuh"

// Arrays (channels,), each null if all its elements are 0.
template <int COUNT> struct OfChannels { const real* arrays[COUNT]; };

const int EACH_AHEAD = 2;  // rows that are read before any is written

template <int N, int COUNT, class Function>
__device__ void each_run(
    stored* y, const stored* a, const stored* b, int rows, int channels,
    OfChannels<COUNT> of_channels, Function f)
{
    const int threads = gridDim.x * blockDim.x, thread = blockIdx.x * blockDim.x + threadIdx.x;
    const int lanes = channels / N, layers = threads < lanes ? 1 : threads / lanes;
    const long long numbers = (long long)rows * channels, step = (long long)layers * channels;
    for (unsigned lane = thread; lane < unsigned(lanes * layers); lane += threads) {
        const int c = lane % lanes * N;
        real own[N][COUNT];
#pragma unroll
        for (int i = 0; i < N; ++i) {
#pragma unroll
            for (int k = 0; k < COUNT; ++k) {
                own[i][k] = of_channels.arrays[k] ? of_channels.arrays[k][c + i] : real(0);
            }
        }
        long long at = (long long)(lane / lanes) * channels + c;
        for (; at < numbers; at += EACH_AHEAD * step) {
            Run<N> p[EACH_AHEAD], q[EACH_AHEAD];
#pragma unroll
            for (int r = 0; r < EACH_AHEAD; ++r) {
                if (at + r * step >= numbers) continue;
                p[r] = *(const Run<N>*)(a + at + r * step);
                q[r] = *(const Run<N>*)(b + at + r * step);
            }
#pragma unroll
            for (int r = 0; r < EACH_AHEAD; ++r) {
                if (at + r * step >= numbers) continue;
                Run<N> result;
#pragma unroll
                for (int i = 0; i < N; ++i) {
                    result.numbers[i] = f(real(p[r].numbers[i]), real(q[r].numbers[i]), own[i]);
                }
                *(Run<N>*)(y + at + r * step) = result;
            }
        }
    }
}

template <int COUNT, class Function>
__device__ void each(
    stored* y, const stored* a, const stored* b, int rows, int channels,
    OfChannels<COUNT> of_channels, Function f)
{
    if (in_runs<MOST_OF_A_RUN>(channels, y, a, b)) {
        each_run<MOST_OF_A_RUN>(y, a, b, rows, channels, of_channels, f);
    } else {
        each_run<1>(y, a, b, rows, channels, of_channels, f);
    }
}

template <int COUNT, class Function>
__device__ void each(
    stored* y, const stored* x, int rows, int channels, OfChannels<COUNT> of_channels, Function f)
{
    each(y, x, x, rows, channels, of_channels,
         [=](real value, real, const real* own) { return f(value, own); });
}
