// Maximum over windows, and its gradient. A thread has a run of neighbouring channels, or one
// channel, and its neighbour the next.
//
// Images are (N, H, W, C), outputs (N, OH, OW, C). Window (p, q) reads the rows p sh - top + i,
// i = 0 .. kh - 1, and the columns q sw - left + j. Tap (i, j) has the number i kw + j.

#include "run.cuh"

struct Pool {
    int height, width, channels, out_height, out_width, kh, kw, sh, sw, top, left;
};

template <int N>
__device__ void make_y(
    const stored* __restrict__ x, stored* __restrict__ y, short* __restrict__ tap, unsigned outputs,
    const Pool& s, int columns_first)
{
    const int slow = columns_first ? s.kw : s.kh, fast = columns_first ? s.kh : s.kw;
    const unsigned threads = gridDim.x * blockDim.x, lanes = s.channels / N;
    for (unsigned run = blockIdx.x * blockDim.x + threadIdx.x; run < outputs / N; run += threads) {
        unsigned rest = run / lanes;
        const int c = (run - rest * lanes) * N;
        const int q = rest % s.out_width; rest /= s.out_width;
        const int p = rest % s.out_height; rest /= s.out_height;
        const stored* image = x + (long long)rest * s.height * s.width * s.channels + c;
        Run<N> best = {};
        Run<N, short> best_tap;
#pragma unroll
        for (int k = 0; k < N; ++k) best_tap.numbers[k] = -1;
        bool first = true;
        for (int a = 0; a < slow; ++a) {
            for (int b = 0; b < fast; ++b) {
                const int i = columns_first ? b : a, j = columns_first ? a : b;
                const int row = p * s.sh - s.top + i, column = q * s.sw - s.left + j;
                if (row < 0 || row >= s.height || column < 0 || column >= s.width) continue;
                const stored* from = image + (row * s.width + column) * s.channels;
                const Run<N> values = *(const Run<N>*)from;
#pragma unroll
                for (int k = 0; k < N; ++k) {
                    const real value = values.numbers[k], most = best.numbers[k];
                    if (first || value > most || (value != value && most == most)) {
                        best.numbers[k] = values.numbers[k];
                        best_tap.numbers[k] = i * s.kw + j;
                    }
                }
                first = false;
            }
        }
        *(Run<N>*)(y + run * N) = best;
        if (tap) *(Run<N, short>*)(tap + run * N) = best_tap;
    }
}

// y: the largest element of each window; NaN if there is one. tap: which element that is, of equal
// ones the first, down the columns with `columns_first`, else along the rows; tap may be null.
__global__ void max_pool(
    const stored* __restrict__ x, stored* __restrict__ y, short* __restrict__ tap, unsigned outputs,
    Pool s, int columns_first)
{
    if (in_runs<MOST_OF_A_RUN>(s.channels, x, y, tap))
        make_y<MOST_OF_A_RUN>(x, y, tap, outputs, s, columns_first);
    else
        make_y<1>(x, y, tap, outputs, s, columns_first);
}

template <int N>
__device__ void make_dx(
    const stored* __restrict__ dy, const short* __restrict__ tap, stored* __restrict__ dx,
    unsigned inputs, const Pool& s)
{
    const unsigned threads = gridDim.x * blockDim.x, lanes = s.channels / N;
    for (unsigned run = blockIdx.x * blockDim.x + threadIdx.x; run < inputs / N; run += threads) {
        unsigned rest = run / lanes;
        const int c = (run - rest * lanes) * N;
        const int column = rest % s.width + s.left; rest /= s.width;
        const int row = rest % s.height + s.top; rest /= s.height;
        // windows p with 0 <= row - p sh < kh
        const int first_p = row < s.kh ? 0 : (row - s.kh) / s.sh + 1;
        const int first_q = column < s.kw ? 0 : (column - s.kw) / s.sw + 1;
        real sums[N] = {};
        for (int p = first_p; p * s.sh <= row && p < s.out_height; ++p) {
            for (int q = first_q; q * s.sw <= column && q < s.out_width; ++q) {
                const unsigned out = ((rest * s.out_height + p) * s.out_width + q) * s.channels + c;
                const Run<N> d = *(const Run<N>*)(dy + out);
                const Run<N, short> taps = *(const Run<N, short>*)(tap + out);
                const int own = (row - p * s.sh) * s.kw + column - q * s.sw;
#pragma unroll
                for (int k = 0; k < N; ++k)
                    if (taps.numbers[k] == own) sums[k] += real(d.numbers[k]);
            }
        }
        Run<N> result;
#pragma unroll
        for (int k = 0; k < N; ++k) result.numbers[k] = sums[k];
        *(Run<N>*)(dx + run * N) = result;
    }
}

// dx: for each pixel the sum of dy over the windows whose maximum it was. Each thread gathers for
// its own pixel, in a fixed order: no atomic additions, the same bits every time.
__global__ void max_pool_gradient(
    const stored* __restrict__ dy, const short* __restrict__ tap, stored* __restrict__ dx,
    unsigned inputs, Pool s)
{
    if (in_runs<MOST_OF_A_RUN>(s.channels, dy, dx, tap))
        make_dx<MOST_OF_A_RUN>(dy, tap, dx, inputs, s);
    else
        make_dx<1>(dy, tap, dx, inputs, s);
}
