// Windows of images as the rows of a matrix, and the adjoint. One thread per element; neighbouring
// threads have neighbouring channels of one tap, so that reads and writes are runs of memory.
//
// Images are (N, H, W, all_channels), of which the channels from `first` on are read. Window (p, q)
// has the taps (i, j) at row p sh - top + i dh and column q sw - left + j dw; outside the image lie
// zeros. The matrix is (N OH OW, kh kw C).

__global__ void im2col(
    const stored* __restrict__ x, stored* __restrict__ columns, unsigned numbers,
    int height, int width, int all_channels, int first, int channels,
    int out_height, int out_width, int kh, int kw, int sh, int sw, int dh, int dw,
    int top, int left)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        int rest = at;
        const int c = rest % channels; rest /= channels;
        const int j = rest % kw; rest /= kw;
        const int i = rest % kh; rest /= kh;
        const int q = rest % out_width; rest /= out_width;
        const int p = rest % out_height; rest /= out_height;
        const int row = p * sh - top + i * dh, column = q * sw - left + j * dw;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        columns[at] = inside
            ? x[((rest * height + row) * width + column) * all_channels + first + c] : stored(0);
    }
}

// dx: for each pixel the sum of what the windows read of it, gathered in a fixed order.
__global__ void col2im(
    const stored* __restrict__ columns, stored* __restrict__ dx, unsigned numbers,
    int height, int width, int all_channels, int first, int channels,
    int out_height, int out_width, int kh, int kw, int sh, int sw, int dh, int dw,
    int top, int left)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        int rest = at;
        const int c = rest % channels; rest /= channels;
        const int column = rest % width + left; rest /= width;
        const int row = rest % height + top; rest /= height;
        real sum = 0;
        for (int i = 0; i < kh; ++i) {
            const int down = row - i * dh;  // p sh, if that is a window
            if (down < 0 || down % sh || down / sh >= out_height) continue;
            for (int j = 0; j < kw; ++j) {
                const int along = column - j * dw;
                if (along < 0 || along % sw || along / sw >= out_width) continue;
                const int window = (rest * out_height + down / sh) * out_width + along / sw;
                sum += columns[((window * kh + i) * kw + j) * channels + c];
            }
        }
        dx[at / channels * all_channels + first + c] = sum;
    }
}
