// Maximum over windows, and its gradient. One thread a number; neighbouring threads have
// neighbouring channels, so that reads and writes are runs of memory.
//
// Images are (N, H, W, C), outputs (N, OH, OW, C). Window (p, q) looks at the rows p sh - top + i,
// i = 0 .. kh - 1, and the columns q sw - left + j. Tap (i, j) has the number i kw + j.

// y: the largest number of each window; NaN where there is one. tap: which of them it is, of
// equals the first, down the columns with `columns_first`, else along the rows. tap may be null.
__global__ void max_pool(
    const stored* __restrict__ x, stored* __restrict__ y, short* __restrict__ tap, unsigned outputs,
    int height, int width, int channels, int out_height, int out_width,
    int kh, int kw, int sh, int sw, int top, int left, int columns_first)
{
    const int slow = columns_first ? kw : kh, fast = columns_first ? kh : kw;
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned out = blockIdx.x * blockDim.x + threadIdx.x; out < outputs; out += threads) {
        const int c = out % channels;
        const int q = out / channels % out_width;
        const int p = out / channels / out_width % out_height;
        const int n = out / channels / out_width / out_height;
        const stored* image = x + (long long)n * height * width * channels + c;
        real best = 0;
        int best_tap = -1;
        for (int a = 0; a < slow; ++a) {
            for (int b = 0; b < fast; ++b) {
                const int i = columns_first ? b : a, j = columns_first ? a : b;
                const int row = p * sh - top + i, column = q * sw - left + j;
                if (row < 0 || row >= height || column < 0 || column >= width) continue;
                const real value = image[(row * width + column) * channels];
                if (best_tap < 0 || value > best || (value != value && best == best)) {
                    best = value;
                    best_tap = i * kw + j;
                }
            }
        }
        y[out] = best;
        if (tap) tap[out] = best_tap;
    }
}

// dx: for each pixel the sum of dy over the windows whose maximum it was. Each thread gathers for
// its own pixel, in a fixed order: no atomic additions, the same bits every time.
__global__ void max_pool_gradient(
    const stored* __restrict__ dy, const short* __restrict__ tap, stored* __restrict__ dx,
    unsigned inputs,
    int height, int width, int channels, int out_height, int out_width,
    int kh, int kw, int sh, int sw, int top, int left)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned in = blockIdx.x * blockDim.x + threadIdx.x; in < inputs; in += threads) {
        const int c = in % channels;
        const int column = in / channels % width + left;
        const int row = in / channels / width % height + top;
        const int n = in / channels / width / height;
        // windows p with 0 <= row - p sh < kh
        const int first_p = row < kh ? 0 : (row - kh) / sh + 1;
        const int first_q = column < kw ? 0 : (column - kw) / sw + 1;
        real sum = 0;
        for (int p = first_p; p * sh <= row && p < out_height; ++p) {
            for (int q = first_q; q * sw <= column && q < out_width; ++q) {
                const int out = ((n * out_height + p) * out_width + q) * channels + c;
                if (tap[out] == (row - p * sh) * kw + column - q * sw) sum += dy[out];
            }
        }
        dx[in] = sum;
    }
}
