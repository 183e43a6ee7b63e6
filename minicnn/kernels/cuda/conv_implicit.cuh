// Convolution, and both its gradients, as products of matrices that are never made: elements are
// read from the images as they are needed. With groups, each has its own product.
//
//     y   rows (n, p, q)   sum over (i, j, c)    columns f    x[n, row, column, c] w[i, j, c, f]
//     dx  rows (n, r, s)   sum over (i, j, f)    columns c    dy[n, row, column, f] w[i, j, c, f]
//     dw  rows (i, j, c)   sum over (n, p, q)    columns f    x[n, row, column, c] dy[n, p, q, f]
//
// For dx the windows are those of the pixels of x in dy. With strides above 1 only some of the taps
// see a pixel; pixels that the same taps see, one in each stride, are one launch.

// One of the two directions of images: down the rows, or along them. Result u sees with tap t the
// place u stride + start + t step of the source, if that lies inside.
struct Axis {
    int source;                        // size of the image whose windows are read
    int results, stride, start, step;  // results of this launch; see above
    int taps, first_tap, taps_apart;   // tap t is tap first_tap + t taps_apart of the kernel,
    int kernel;                        // which has this many
    int size, first, apart;            // result u is at first + u apart of an image of this size
};

// Division of integers from 0 to 2^31 - 1 by one that is known before the launch. A GPU has no
// instruction for division; it takes some twenty others. Granlund and Montgomery, "Division by
// invariant integers using multiplication" (1994).
struct Divisor {
    unsigned multiplier;
    int shift;

    __device__ int into(int number) const
    {
        return (unsigned long long)(unsigned)number * multiplier >> shift;
    }
};

struct Geometry {
    Axis down, along;
    int images;
    int source_channels, channels;  // of the images that windows are read from; those of a group
    int result_channels, columns;   // of the results; those of a group
    int splits;                     // parts of the sum over K, each made by its own blocks
    Divisor down_results, along_results, along_taps, of_channels;  // those of the same names above

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

// An element of a window: tap (i, j) of the launch, and channel of the group.
struct Place {
    int i, j, channel;

    __device__ void find(const Geometry& c, int at)
    {
        const int tap = c.of_channels.into(at);
        channel = at - tap * c.channels;
        i = c.along_taps.into(tap);
        j = tap - i * c.along.taps;
    }
    __device__ void advance(const Geometry& c)
    {
        if (++channel < c.channels) return;
        channel = 0;
        if (++j < c.along.taps) return;
        j = 0;
        ++i;
    }
};

// Windows of images: (positions, in a window), or the same transposed, as the left factor.
template <int HEIGHT, int THREADS, bool K_FAST> struct Windows {
    typedef ::Slice<factor, HEIGHT, K_FAST, THREADS> Slice;
    typedef Run<stored, Slice::V * sizeof(stored) / 16> Fetched;

    const Geometry& c;
    const stored* images;
    bool in_runs;
    Place place;
    int row[Slice::EACH], column[Slice::EACH];
    unsigned begin[Slice::EACH];  // the same in memory, modulo 2^32: maybe outside the image

    __device__ Windows(const Geometry& c, const stored* x, int group, int tile)
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
            const int above = c.along_results.into(position), n = c.down_results.into(above);
            row[s] = (above - n * c.down.results) * c.down.stride + c.down.start;
            column[s] = (position - above * c.along.results) * c.along.stride + c.along.start;
            const unsigned line = n * c.down.source + row[s];
            begin[s] = (line * c.along.source + column[s]) * c.source_channels;
            if (n >= c.images) row[s] = -(1 << 30);  // above all images
        }
    }

    // Where the element of a window is, or null if that is outside the image.
    __device__ const stored* number(int s, const Place& at) const
    {
        const int down = at.i * c.down.step, along = at.j * c.along.step;
        const bool inside = at.i < c.down.taps && (unsigned)(row[s] + down) < c.down.source
            && (unsigned)(column[s] + along) < c.along.source;
        const int from_begin = (down * c.along.source + along) * c.source_channels + at.channel;
        return inside ? images + (begin[s] + from_begin) : 0;
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

    __device__ Rows(const Geometry& c, const Number* all, int group, int tile, int depth)
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

    const Geometry& c;
    const real* kernel;
    int first;
    bool in_runs;

    __device__ Filters(const Geometry& c, const real* all, int group, int tile)
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
__device__ Number* at_position(Number* images, const Geometry& c, int position)
{
    const int above = c.along_results.into(position), n = c.down_results.into(above);
    const int row = c.down.first + (above - n * c.down.results) * c.down.apart;
    const int column = c.along.first + (position - above * c.along.results) * c.along.apart;
    const long long line = (long long)n * c.down.size + row;
    return images + (line * c.along.size + column) * c.result_channels;
}

template <class Number>
__device__ Number* at_row(Number* matrix, const Geometry& c, int row)
{
    return matrix + (long long)row * c.result_channels;
}

// Neighbouring elements of a tile: 16 bytes at a time if possible, and none beyond its group.
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
    const Geometry& c;
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

// The tile, the group and the part of the sum of a block. Neighbouring blocks share windows.
struct Task {
    int column_tile, row_tile, split, group, begin, end;

    __device__ Task(const Geometry& c, int rows, int depth, int height, int width,
                    int slice)
    {
        const int across = (c.columns + width - 1) / width, down = (rows + height - 1) / height;
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

template <int HEIGHT, int WIDTH> struct Threads {
    static const int value = SumsOf<factor, HEIGHT, WIDTH>::Type::THREADS;
};

template <int HEIGHT, int WIDTH>
__device__ void make_y(const stored* x, const real* kernel, stored* y, real* partial,
                       const Geometry& c)
{
    const int THREADS = Threads<HEIGHT, WIDTH>::value;
    typedef Windows<HEIGHT, THREADS, true> Left;
    typedef Rows<real, WIDTH, THREADS> Right;
    const int rows = c.positions(), depth = c.in_a_window();
    const Task task(c, rows, depth, HEIGHT, WIDTH, Left::Slice::DEPTH);
    Left left(c, x, task.group, task.row_tile);
    Right right(c, kernel, task.group, task.column_tile, depth);
    const Results<stored, true> results{c, y, partial, rows, task.group, task.split,
                                        task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, HEIGHT, WIDTH>(left, right, results, task.begin, task.end);
}

template <int HEIGHT, int WIDTH>
__device__ void make_dx(const stored* dy, const real* kernel, stored* dx, real* partial,
                        const Geometry& c)
{
    const int THREADS = Threads<HEIGHT, WIDTH>::value;
    typedef Windows<HEIGHT, THREADS, true> Left;
    typedef Filters<WIDTH, THREADS> Right;
    const int rows = c.positions(), depth = c.in_a_window();
    const Task task(c, rows, depth, HEIGHT, WIDTH, Left::Slice::DEPTH);
    Left left(c, dy, task.group, task.row_tile);
    Right right(c, kernel, task.group, task.column_tile);
    const Results<stored, true> results{c, dx, partial, rows, task.group, task.split,
                                        task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, HEIGHT, WIDTH>(left, right, results, task.begin, task.end);
}

template <int HEIGHT, int WIDTH>
__device__ void make_dw(const stored* x, const stored* dy, real* dw, real* partial,
                        const Geometry& c)
{
    const int THREADS = Threads<HEIGHT, WIDTH>::value;
    typedef Windows<HEIGHT, THREADS, false> Left;
    typedef Rows<stored, WIDTH, THREADS> Right;
    const int rows = c.in_a_window(), depth = c.positions();
    const Task task(c, rows, depth, HEIGHT, WIDTH, Left::Slice::DEPTH);
    Left left(c, x, task.group, task.row_tile);
    Right right(c, dy, task.group, task.column_tile, depth);
    const Results<real, false> results{c, dw, partial, rows, task.group, task.split,
                                       task.row_tile * HEIGHT, task.column_tile * WIDTH};
    multiply_tile<factor, HEIGHT, WIDTH>(left, right, results, task.begin, task.end);
}

// The parts of one element are shared by 16 threads of a block, 32 apart, as there may be hundreds
// of parts of few elements. All threads of the block must call it; the first 32 get sums.
const int SHARES = 16;

__device__ real sum_of_parts(const real* partial, int numbers, int splits, int at)
{
    __shared__ real sums[SHARES][32];
    const int share = threadIdx.x / 32, lane = threadIdx.x % 32;
    real sum = 0;
    if (at < numbers) {
        #pragma unroll 8
        for (int split = share; split < splits; split += SHARES)
            sum += partial[split * numbers + at];
    }
    sums[share][lane] = sum;
    __syncthreads();
    if (share == 0)
        for (int other = 1; other < SHARES; ++other) sum += sums[other][lane];
    __syncthreads();  // before anyone writes into the sums again
    return sum;
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
static_assert(!on_tensor_cores<factor>::value,
              "float16, bfloat16 and TF32 need a GPU of compute capability 8.0 (Ampere) or later; "
              "on this one train in float32, without TF32");
#endif

// Tiles of 128 rows and 16, 32, 64 or 128 columns. A multiprocessor has registers for so many
// blocks of 256 threads at a time, but threads in blocks of 64 need more of them.
const int BLOCKS = sizeof(factor) == 8 ? 1 : 2;

__global__ __launch_bounds__(64, 3 * BLOCKS) void forward_16(
    const stored* x, const real* kernel, stored* y, real* partial, Geometry c)
{
    make_y<128, 16>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(128, 2 * BLOCKS) void forward_32(
    const stored* x, const real* kernel, stored* y, real* partial, Geometry c)
{
    make_y<128, 32>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void forward_64(
    const stored* x, const real* kernel, stored* y, real* partial, Geometry c)
{
    make_y<128, 64>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void forward_128(
    const stored* x, const real* kernel, stored* y, real* partial, Geometry c)
{
    make_y<128, 128>(x, kernel, y, partial, c);
}

__global__ __launch_bounds__(64, 3 * BLOCKS) void input_gradient_16(
    const stored* dy, const real* kernel, stored* dx, real* partial, Geometry c)
{
    make_dx<128, 16>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(128, 2 * BLOCKS) void input_gradient_32(
    const stored* dy, const real* kernel, stored* dx, real* partial, Geometry c)
{
    make_dx<128, 32>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void input_gradient_64(
    const stored* dy, const real* kernel, stored* dx, real* partial, Geometry c)
{
    make_dx<128, 64>(dy, kernel, dx, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void input_gradient_128(
    const stored* dy, const real* kernel, stored* dx, real* partial, Geometry c)
{
    make_dx<128, 128>(dy, kernel, dx, partial, c);
}

// With few channels the kernel's gradient has few rows, too.
__global__ __launch_bounds__(32, 8 * BLOCKS) void kernel_gradient_low(
    const stored* x, const stored* dy, real* dw, real* partial, Geometry c)
{
    make_dw<32, 32>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(64, 3 * BLOCKS) void kernel_gradient_16(
    const stored* x, const stored* dy, real* dw, real* partial, Geometry c)
{
    make_dw<128, 16>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(128, 2 * BLOCKS) void kernel_gradient_32(
    const stored* x, const stored* dy, real* dw, real* partial, Geometry c)
{
    make_dw<128, 32>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void kernel_gradient_64(
    const stored* x, const stored* dy, real* dw, real* partial, Geometry c)
{
    make_dw<128, 64>(x, dy, dw, partial, c);
}

__global__ __launch_bounds__(256, BLOCKS) void kernel_gradient_128(
    const stored* x, const stored* dy, real* dw, real* partial, Geometry c)
{
    make_dw<128, 128>(x, dy, dw, partial, c);
}

// The parts (splits, rows, result_channels) of y or dx, and below of dw, added up in order.
__global__ __launch_bounds__(32 * SHARES) void add_up_images(
    const real* partial, stored* images, Geometry c)
{
    const int numbers = c.positions() * c.result_channels;
    for (int first = blockIdx.x * 32; first < numbers; first += gridDim.x * 32) {
        const int at = first + threadIdx.x % 32;
        const real sum = sum_of_parts(partial, numbers, c.splits, at);
        if (threadIdx.x >= 32 || at >= numbers) continue;
        const int position = at / c.result_channels;
        at_position(images, c, position)[at - position * c.result_channels] = stored(sum);
    }
}

__global__ __launch_bounds__(32 * SHARES) void add_up_kernel(
    const real* partial, real* dw, Geometry c)
{
    const int numbers = c.in_a_window() * c.result_channels;
    for (int first = blockIdx.x * 32; first < numbers; first += gridDim.x * 32) {
        const int at = first + threadIdx.x % 32;
        const real sum = sum_of_parts(partial, numbers, c.splits, at);
        if (threadIdx.x < 32 && at < numbers) dw[at] = sum;
    }
}
