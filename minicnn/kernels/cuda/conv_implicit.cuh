// Convolution, and both its gradients, as products of matrices that are never made: the numbers are
// taken from the images as they are needed. With groups, each is a product of its own.
//
//     y   rows (n, p, q)   sum over (i, j, c)    columns f    x[n, row, column, c] w[i, j, c, f]
//     dx  rows (n, r, s)   sum over (i, j, f)    columns c    dy[n, row, column, f] w[i, j, c, f]
//     dw  rows (i, j, c)   sum over (n, p, q)    columns f    x[n, row, column, c] dy[n, p, q, f]
//
// For dx the windows are those of the pixels of x in dy. With strides above 1 a pixel is seen by some
// of the taps only, which ones repeats with the stride: such pixels are one launch.

// One of the two directions of images: down the rows, or along them. Result u sees with tap t the
// place u stride + start + t step of the source, where that lies inside.
struct Axis {
    int source;                        // size of the image whose windows are read
    int results, stride, start, step;  // results of this launch; see above
    int taps, first_tap, taps_apart;   // tap t is tap first_tap + t taps_apart of the kernel,
    int kernel;                        // which has so many
    int size, first, apart;            // result u is at first + u apart of an image of this size
};

struct Convolution {
    Axis down, along;
    int images;
    int source_channels, channels;  // of the images that windows are read from; those of a group
    int result_channels, columns;   // of the results; those of a group
    int splits;                     // parts of the sum over K, each made by blocks of its own

    __device__ int positions() const { return images * down.results * along.results; }
    __device__ int in_a_window() const { return down.taps * along.taps * channels; }
};

#ifdef WITH_TENSOR_FLOATS
template <class Stored> struct FactorOf { typedef Stored Type; };
template <> struct FactorOf<float> { typedef tensor_float Type; };
typedef FactorOf<stored>::Type factor;
#else
typedef stored factor;
#endif

// A number of a window: tap (i, j) of the launch, and channel of the group.
struct Place {
    int i, j, channel;

    __device__ void find(const Convolution& c, int at)
    {
        const int tap = at / c.channels;
        channel = at - tap * c.channels;
        i = tap / c.along.taps;
        j = tap - i * c.along.taps;
    }
    __device__ void advance(const Convolution& c)
    {
        if (++channel < c.channels) return;
        channel = 0;
        if (++j < c.along.taps) return;
        j = 0;
        ++i;
    }
};

// Windows of images: (positions, in a window), or the same transposed, as the left factor.
template <int THREADS, bool K_FAST> struct Windows {
    typedef ::Slice<factor, HEIGHT, K_FAST, THREADS> Slice;
    typedef Run<stored, Slice::V * sizeof(stored) / 16> Fetched;

    const Convolution& c;
    const stored* images;
    bool in_runs;
    Place place;
    int image[Slice::EACH], row[Slice::EACH], column[Slice::EACH];

    __device__ Windows(const Convolution& c, const stored* x, int group, int tile)
        : c(c), images(x + group * c.channels)
    {
        in_runs = c.channels % Slice::V == 0 && begins_a_run(x);
        if (K_FAST)
            look_from(tile * HEIGHT);
        else
            place.find(c, tile * HEIGHT + Slice::place());
    }

    // The lines are the windows of the positions from `first` on.
    __device__ void look_from(int first)
    {
        #pragma unroll
        for (int s = 0; s < Slice::EACH; ++s) {
            const int position = first + Slice::line(s);
            const int above = position / c.along.results, n = above / c.down.results;
            image[s] = n;
            row[s] = (above - n * c.down.results) * c.down.stride + c.down.start;
            column[s] = (position - above * c.along.results) * c.along.stride + c.along.start;
            if (n >= c.images) row[s] = -(1 << 30);  // above all images
        }
    }

    // Where the number of a window is, or null if that is outside the image.
    __device__ const stored* number(int s, const Place& at) const
    {
        const int r = row[s] + at.i * c.down.step, q = column[s] + at.j * c.along.step;
        const bool inside = at.i < c.down.taps && r >= 0 && r < c.down.source && q >= 0
            && q < c.along.source;
        const long long pixel = ((long long)image[s] * c.down.source + r) * c.along.source + q;
        return inside ? images + pixel * c.source_channels + at.channel : 0;
    }

    __device__ void fetch(int k, Fetched (&to)[Slice::EACH])
    {
        if (K_FAST)
            place.find(c, k + Slice::place());
        else
            look_from(k);
        if (in_runs) {
            #pragma unroll
            for (int s = 0; s < Slice::EACH; ++s) {
                const stored* from = number(s, place);
                to[s].clear();
                if (from) to[s].read(from);
            }
            return;
        }
        Place at = place;
        #pragma unroll
        for (int v = 0; v < Slice::V; ++v) {
            #pragma unroll
            for (int s = 0; s < Slice::EACH; ++s) {
                const stored* from = number(s, at);
                to[s].numbers[v] = from ? *from : stored(0);
            }
            at.advance(c);
        }
    }
};

// A matrix as it lies in memory, (K, result_channels), of which a group has some columns.
template <class Number, int WIDTH, int THREADS> struct Rows {
    typedef ::Slice<factor, WIDTH, false, THREADS> Slice;
    typedef Run<Number, Slice::V * sizeof(Number) / 16> Fetched;

    const Number* matrix;
    int width, left, depth;  // columns in memory, and from here to the end of the group; K
    bool in_runs;

    __device__ Rows(const Convolution& c, const Number* all, int group, int tile, int depth)
        : width(c.result_channels), depth(depth)
    {
        const int column = tile * WIDTH + Slice::place();
        matrix = all + group * c.columns + column;
        left = c.columns - column;
        in_runs = c.columns % Slice::V == 0 && begins_a_run(all);
    }

    __device__ void fetch(int k, Fetched (&to)[Slice::EACH])
    {
        #pragma unroll
        for (int s = 0; s < Slice::EACH; ++s) {
            const int line = k + Slice::line(s);
            const Number* from = matrix + (long long)line * width;
            to[s].clear();
            if (line >= depth || left <= 0) continue;
            if (in_runs) {
                to[s].read(from);
                continue;
            }
            #pragma unroll
            for (int v = 0; v < Slice::V; ++v)
                if (v < left) to[s].numbers[v] = from[v];
        }
    }
};

// The kernel (kh, kw, C / groups, F) as the right factor of dx: the sum goes over taps and filters,
// neighbours in memory are filters.
template <int WIDTH, int THREADS> struct Filters {
    typedef ::Slice<factor, WIDTH, true, THREADS> Slice;
    typedef Run<real, Slice::V * sizeof(real) / 16> Fetched;

    const Convolution& c;
    const real* kernel;
    int first;
    bool in_runs;

    __device__ Filters(const Convolution& c, const real* all, int group, int tile)
        : c(c), kernel(all + group * c.channels), first(tile * WIDTH)
    {
        in_runs = c.channels % Slice::V == 0 && begins_a_run(all);
    }

    __device__ const real* number(int s, const Place& at) const
    {
        const int channel = first + Slice::line(s);
        const int i = c.down.first_tap + at.i * c.down.taps_apart;
        const int j = c.along.first_tap + at.j * c.along.taps_apart;
        const long long line = (i * c.along.kernel + j) * c.columns + channel;
        return at.i < c.down.taps && channel < c.columns
            ? kernel + line * c.source_channels + at.channel : 0;
    }

    __device__ void fetch(int k, Fetched (&to)[Slice::EACH])
    {
        Place at;
        at.find(c, k + Slice::place());
        if (in_runs) {
            #pragma unroll
            for (int s = 0; s < Slice::EACH; ++s) {
                const real* from = number(s, at);
                to[s].clear();
                if (from) to[s].read(from);
            }
            return;
        }
        #pragma unroll
        for (int v = 0; v < Slice::V; ++v) {
            #pragma unroll
            for (int s = 0; s < Slice::EACH; ++s) {
                const real* from = number(s, at);
                to[s].numbers[v] = from ? *from : real(0);
            }
            at.advance(c);
        }
    }
};

// Where the results of a position begin.
template <class Number>
__device__ Number* at_position(Number* images, const Convolution& c, int position)
{
    const int above = position / c.along.results, n = above / c.down.results;
    const int row = c.down.first + (above - n * c.down.results) * c.down.apart;
    const int column = c.along.first + (position - above * c.along.results) * c.along.apart;
    const long long line = (long long)n * c.down.size + row;
    return images + (line * c.along.size + column) * c.result_channels;
}

template <class Number>
__device__ Number* at_row(Number* matrix, const Convolution& c, int row)
{
    return matrix + (long long)row * c.result_channels;
}

// Neighbouring numbers of a tile: 16 bytes at a time where they can be, and none beyond its group.
template <class Number, int COUNT>
__device__ void write(Number* to, const real (&values)[COUNT], int left)
{
    const int words = COUNT * sizeof(Number) / 16;
    if (left >= COUNT && begins_a_run(to)) {
        Run<Number, words> run;
        #pragma unroll
        for (int v = 0; v < COUNT; ++v) run.numbers[v] = Number(values[v]);
        run.write(to);
    } else {
        #pragma unroll
        for (int v = 0; v < COUNT; ++v)
            if (v < left) to[v] = Number(values[v]);
    }
}

// The results of a tile: written where they belong, or, as one of several parts of the sum, into
// partial (splits, rows, result_channels).
template <class Number, bool POSITIONS> struct Results {
    const Convolution& c;
    Number* all;
    real* partial;
    int rows, group, split, first_row, first_column;

    template <int COUNT> __device__ void put(int row, int column, const real (&values)[COUNT]) const
    {
        row += first_row;
        column += first_column;
        const int left = c.columns - column, at = group * c.columns + column;
        if (row >= rows || left <= 0) return;
        if (partial)
            write(at_row(partial, c, split * rows + row) + at, values, left);
        else
            write((POSITIONS ? at_position(all, c, row) : at_row(all, c, row)) + at, values, left);
    }
};

// Which tile of which group, and which part of the sum, a block has. Neighbouring blocks share
// windows.
struct Task {
    int column_tile, row_tile, split, group, begin, end;

    __device__ Task(const Convolution& c, int rows, int depth, int width, int slice)
    {
        const int across = (c.columns + width - 1) / width, down = (rows + HEIGHT - 1) / HEIGHT;
        int rest = blockIdx.x;
        column_tile = rest % across; rest /= across;
        row_tile = rest % down; rest /= down;
        split = rest % c.splits; rest /= c.splits;
        group = rest;
        const int slices = (depth + slice - 1) / slice;
        const int share = (slices + c.splits - 1) / c.splits * slice;
        begin = split * share;
        end = min(depth, begin + share);
    }
};

template <int WIDTH> struct Threads {
    static const int value = SumsOf<factor, WIDTH, on_tensor_cores<factor>::value>::Type::THREADS;
};

template <int WIDTH>
__device__ void make_y(const stored* x, const real* kernel, stored* y, real* partial,
                       const Convolution& c)
{
    typedef Windows<Threads<WIDTH>::value, true> Left;
    typedef Rows<real, WIDTH, Threads<WIDTH>::value> Right;
    const int rows = c.positions(), depth = c.in_a_window();
    const Task task(c, rows, depth, WIDTH, Left::Slice::DEPTH);
    Left left(c, x, task.group, task.row_tile);
    Right right(c, kernel, task.group, task.column_tile, depth);
    const Results<stored, true> results{c, y, partial, rows, task.group, task.split,
                                        task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, WIDTH>(left, right, results, task.begin, task.end);
}

template <int WIDTH>
__device__ void make_dx(const stored* dy, const real* kernel, stored* dx, real* partial,
                        const Convolution& c)
{
    typedef Windows<Threads<WIDTH>::value, true> Left;
    typedef Filters<WIDTH, Threads<WIDTH>::value> Right;
    const int rows = c.positions(), depth = c.in_a_window();
    const Task task(c, rows, depth, WIDTH, Left::Slice::DEPTH);
    Left left(c, dy, task.group, task.row_tile);
    Right right(c, kernel, task.group, task.column_tile);
    const Results<stored, true> results{c, dx, partial, rows, task.group, task.split,
                                        task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, WIDTH>(left, right, results, task.begin, task.end);
}

template <int WIDTH>
__device__ void make_dw(const stored* x, const stored* dy, real* dw, real* partial,
                        const Convolution& c)
{
    typedef Windows<Threads<WIDTH>::value, false> Left;
    typedef Rows<stored, WIDTH, Threads<WIDTH>::value> Right;
    const int rows = c.in_a_window(), depth = c.positions();
    const Task task(c, rows, depth, WIDTH, Left::Slice::DEPTH);
    Left left(c, x, task.group, task.row_tile);
    Right right(c, dy, task.group, task.column_tile, depth);
    const Results<real, false> results{c, dw, partial, rows, task.group, task.split,
                                       task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, WIDTH>(left, right, results, task.begin, task.end);
}

__device__ real sum_of_parts(const real* partial, int numbers, int splits, int at)
{
    real sum = 0;
    for (int split = 0; split < splits; ++split) sum += partial[split * numbers + at];
    return sum;
}

// Tiles of 32, 64 and 128 columns. Of registers there are enough for so many blocks of 256 threads at
// a time on a multiprocessor.
const int BLOCKS = sizeof(factor) == 8 ? 1 : 2;

__global__ __launch_bounds__(128, 2 * BLOCKS) void forward_32(
    const stored* x, const real* kernel, stored* y, real* partial, Convolution c)
{
    make_y<32>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void forward_64(
    const stored* x, const real* kernel, stored* y, real* partial, Convolution c)
{
    make_y<64>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void forward_128(
    const stored* x, const real* kernel, stored* y, real* partial, Convolution c)
{
    make_y<128>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(128, 2 * BLOCKS) void input_gradient_32(
    const stored* dy, const real* kernel, stored* dx, real* partial, Convolution c)
{
    make_dx<32>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void input_gradient_64(
    const stored* dy, const real* kernel, stored* dx, real* partial, Convolution c)
{
    make_dx<64>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void input_gradient_128(
    const stored* dy, const real* kernel, stored* dx, real* partial, Convolution c)
{
    make_dx<128>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(128, 2 * BLOCKS) void kernel_gradient_32(
    const stored* x, const stored* dy, real* dw, real* partial, Convolution c)
{
    make_dw<32>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void kernel_gradient_64(
    const stored* x, const stored* dy, real* dw, real* partial, Convolution c)
{
    make_dw<64>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void kernel_gradient_128(
    const stored* x, const stored* dy, real* dw, real* partial, Convolution c)
{
    make_dw<128>(x, dy, dw, partial, c);
}

// The parts (splits, rows, result_channels) of y or dx, added up in order.
__global__ void add_up_images(const real* partial, stored* images, Convolution c)
{
    const int numbers = c.positions() * c.result_channels, threads = gridDim.x * blockDim.x;
    for (int at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        const int position = at / c.result_channels;
        at_position(images, c, position)[at - position * c.result_channels] =
            stored(sum_of_parts(partial, numbers, c.splits, at));
    }
}

// The parts of dw.
__global__ void add_up_kernel(const real* partial, real* dw, Convolution c)
{
    const int numbers = c.in_a_window() * c.result_channels, threads = gridDim.x * blockDim.x;
    for (int at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads)
        dw[at] = sum_of_parts(partial, numbers, c.splits, at);
}
