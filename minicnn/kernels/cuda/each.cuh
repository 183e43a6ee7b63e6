// Each number of (rows, channels) by itself: y[at] = f(x[at], own), or f(a[at], b[at], own) of two
// arrays, with what belongs to its channel in own[0], own[1] ... y may be one of the arrays.
//
// A thread has the same channels in all its rows, and reads what belongs to them once. Where the
// channels are a multiple of it, it moves as many neighbours as make 16 bytes at a time, the most
// that one instruction moves: with 2 bytes a thread too little would be under way at a time.

// Arrays (channels,), each null where all its numbers are 0.
template <int COUNT> struct OfChannels { const real* arrays[COUNT]; };

template <int N> struct alignas(N * sizeof(stored)) Run { stored numbers[N]; };

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
        for (long long at = (long long)(lane / lanes) * channels + c; at < numbers; at += step) {
            const Run<N> p = *(const Run<N>*)(a + at), q = *(const Run<N>*)(b + at);
            Run<N> result;
#pragma unroll
            for (int i = 0; i < N; ++i) {
                result.numbers[i] = f(real(p.numbers[i]), real(q.numbers[i]), own[i]);
            }
            *(Run<N>*)(y + at) = result;
        }
    }
}

template <int COUNT, class Function>
__device__ void each(
    stored* y, const stored* a, const stored* b, int rows, int channels,
    OfChannels<COUNT> of_channels, Function f)
{
    const int most = 16 / sizeof(stored);
    const bool aligned = ((size_t)y | (size_t)a | (size_t)b) % 16 == 0;
    if (aligned && channels % most == 0) {
        each_run<most>(y, a, b, rows, channels, of_channels, f);
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
