// A product of matrices, C (rows, columns) = A (rows, K) B (K, columns), whose factors are given by
// objects that fetch pieces of them: no matrix has to lie in memory as such.
//
// A block of threads makes a tile of C, `HEIGHT` rows and `WIDTH` columns. It takes a few terms of
// the sum over K at a time, `DEPTH`, into shared memory, where many threads read each element.
// There is room for two such slices: while one is multiplied, the next is on its way from memory to
// registers, and goes to shared memory after that. All moves in runs of 16 bytes.

// Neighbouring elements, moved 16 bytes at a time.
template <class Number, int WORDS> union Run {
    uint4 words[WORDS];
    Number numbers[WORDS * 16 / sizeof(Number)];

    __device__ void read(const Number* from)
    {
        for (int i = 0; i < WORDS; ++i) words[i] = ((const uint4*)from)[i];
    }
    __device__ void write(Number* to) const
    {
        for (int i = 0; i < WORDS; ++i) ((uint4*)to)[i] = words[i];
    }
    __device__ void clear()
    {
        for (int i = 0; i < WORDS; ++i) words[i] = uint4{0, 0, 0, 0};
    }
};

__device__ inline bool begins_a_run(const void* address) { return (size_t)address % 16 == 0; }

// A run as it is multiplied: as it is, or rounded to fewer bits.
template <class Factor, class Fetched> struct Rounding;

template <class Factor> struct Rounding<Factor, Run<Factor, 1>> {
    __device__ static uint4 of(const Run<Factor, 1>& run) { return run.words[0]; }
};

template <class Factor> struct Rounding<Factor, Run<float, 2>> {
    __device__ static uint4 of(const Run<float, 2>& run)
    {
        typedef Tensor<Factor> Unit;
        const float* x = run.numbers;
        return uint4{Unit::two(x[0], x[1]), Unit::two(x[2], x[3]), Unit::two(x[4], x[5]),
                     Unit::two(x[6], x[7])};
    }
};

template <> struct Rounding<tensor_float, Run<float, 1>> {
    __device__ static uint4 of(const Run<float, 1>& run)
    {
        const float* x = run.numbers;
        return uint4{rounded_to_tf32(x[0]), rounded_to_tf32(x[1]), rounded_to_tf32(x[2]),
                     rounded_to_tf32(x[3])};
    }
};

template <class Factor> struct on_tensor_cores { static const bool value = true; };
template <> struct on_tensor_cores<float> { static const bool value = false; };
template <> struct on_tensor_cores<double> { static const bool value = false; };

// A slice of one factor, (OUTER, DEPTH), as the threads fetch it and as it lies in shared memory.
// OUTER is along the rows of A or the columns of B. In memory neighbours are along the sum
// (`K_FAST`) or along OUTER; a thread fetches `EACH` runs, at one place of as many such lines.
//
// Tensor cores take the lines as they are. For other products all lines lie along OUTER, since a
// thread multiplies 4 neighbours at once. Lines are a little longer than needed, so that what a
// warp reads at once lies in different banks; there are 32 banks of 4 bytes each.
template <class Factor, int OUTER, bool K_FAST, int THREADS> struct Slice {
    static const int V = 16 / sizeof(Factor);
    static const int DEPTH = 4 * V;
    static const int RUNS = K_FAST ? DEPTH / V : OUTER / V;  // of a line
    static const int EACH = OUTER * DEPTH / V / THREADS;
    static const bool TENSOR = on_tensor_cores<Factor>::value;
    static const bool ALONG_K = K_FAST && TENSOR;
    static const int STRIDE = ALONG_K ? DEPTH + V : OUTER + (TENSOR ? 8 : V);
    static const int SIZE = (ALONG_K ? OUTER : DEPTH) * STRIDE;
    static_assert(EACH >= 1 && EACH * THREADS == OUTER * DEPTH / V, "every thread fetches as much");

    __device__ static int line(int i) { return threadIdx.x / RUNS + i * (THREADS / RUNS); }
    __device__ static int place() { return threadIdx.x % RUNS * V; }

    template <class Fetched>
    __device__ static void put(Factor* slice, const Fetched& fetched, int i)
    {
        Run<Factor, 1> run;
        run.words[0] = Rounding<Factor, Fetched>::of(fetched);
        if (K_FAST && !ALONG_K) {
            for (int v = 0; v < V; ++v) slice[(place() + v) * STRIDE + line(i)] = run.numbers[v];
        } else {
            run.write(slice + line(i) * STRIDE + place());
        }
    }
};

// The sums of a tile on tensor cores: warps side by side, each with 32 columns or all.
template <class Factor, int HEIGHT, int WIDTH> struct TensorSums {
    static const int WARP_ROWS = HEIGHT == 128 && (WIDTH == 128 || WIDTH == 16) ? 64 : 32;
    static const int WARP_COLUMNS = WIDTH < 32 ? WIDTH : 32;
    static const int ACROSS = WIDTH / WARP_COLUMNS;
    static const int THREADS = HEIGHT / WARP_ROWS * ACROSS * 32;
    static const int N_RUN = 16 / sizeof(stored);  // results that are written at once

    float sums[WARP_ROWS / 16][WARP_COLUMNS / 8][4];
    int row, column;

    __device__ TensorSums()
    {
        row = threadIdx.x / 32 / ACROSS * WARP_ROWS;
        column = threadIdx.x / 32 % ACROSS * WARP_COLUMNS;
        for (auto& line : sums)
            for (auto& piece : line)
                for (float& sum : piece) sum = 0;
    }

    template <class A, class B> __device__ void multiply(const Factor* a, const Factor* b)
    {
        typedef Tensor<Factor> Unit;
        #pragma unroll
        for (int k = 0; k < A::DEPTH; k += Unit::DEPTH) {
            unsigned left[WARP_ROWS / 16][4], right[WARP_COLUMNS / 16][4];
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; ++i)
                Unit::template load<A::ALONG_K>(left[i], a, A::STRIDE, row + 16 * i, k);
            #pragma unroll
            for (int j = 0; j < WARP_COLUMNS / 16; ++j)
                Unit::template load<B::ALONG_K>(right[j], b, B::STRIDE, column + 16 * j, k);
            #pragma unroll
            for (int i = 0; i < WARP_ROWS / 16; ++i) {
                #pragma unroll
                for (int j = 0; j < WARP_COLUMNS / 8; ++j) {
                    const unsigned (&pair)[4] = right[j / 2];
                    Unit::mma(sums[i][j], left[i], pair[j % 2], pair[j % 2 + 2]);
                }
            }
        }
    }

    // Sums that are spread over the threads of a warp go through shared memory, 16 rows at a time,
    // so that each thread writes neighbours.
    template <class Results> __device__ void hand_over(void* memory, const Results& results)
    {
        const int stride = WARP_COLUMNS + 4, runs = WARP_COLUMNS / N_RUN;
        const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
        float* patch = (float*)memory + threadIdx.x / 32 * 16 * stride;
        #pragma unroll
        for (int i = 0; i < WARP_ROWS / 16; ++i) {
            __syncwarp();
            #pragma unroll
            for (int j = 0; j < WARP_COLUMNS / 8; ++j) {
                #pragma unroll
                for (int s = 0; s < 4; ++s)
                    patch[(g + s / 2 * 8) * stride + 8 * j + 2 * t + s % 2] = sums[i][j][s];
            }
            __syncwarp();
            #pragma unroll
            for (int at = lane; at < 16 * runs; at += 32) {
                Run<float, N_RUN / 4> run;
                run.read(patch + at / runs * stride + at % runs * N_RUN);
                results.template put<N_RUN>(
                    row + 16 * i + at / runs, column + at % runs * N_RUN, run.numbers);
            }
        }
    }
};

// The sums of a tile by plain multiplications and additions: each thread has 8 rows, in two fours
// half a tile apart, and 8 columns likewise, or only one four of them.
template <class Factor, int HEIGHT, int WIDTH> struct ExactSums {
    static const int FOURS = WIDTH == 128 ? 2 : 1, ACROSS = WIDTH / FOURS / 4;
    static const int THREADS = HEIGHT / 8 * ACROSS;
    static const int WORDS = 4 * sizeof(Factor) / 16;

    Factor sums[2][4][FOURS][4];
    int row, column;

    __device__ ExactSums()
    {
        row = threadIdx.x / ACROSS * 4;
        column = threadIdx.x % ACROSS * 4;
        for (auto& half : sums)
            for (auto& line : half)
                for (auto& four : line)
                    for (Factor& sum : four) sum = 0;
    }

    template <class A, class B> __device__ void multiply(const Factor* a, const Factor* b)
    {
        #pragma unroll
        for (int k = 0; k < A::DEPTH; ++k) {
            Run<Factor, WORDS> left[2], right[FOURS];
            #pragma unroll
            for (int i = 0; i < 2; ++i) left[i].read(a + k * A::STRIDE + row + HEIGHT / 2 * i);
            #pragma unroll
            for (int j = 0; j < FOURS; ++j) right[j].read(b + k * B::STRIDE + column + 64 * j);
            #pragma unroll
            for (int at = 0; at < 32 * FOURS; ++at) {
                const int i = at / 16 / FOURS, r = at / 4 / FOURS % 4, j = at / 4 % FOURS, c = at % 4;
                sums[i][r][j][c] += left[i].numbers[r] * right[j].numbers[c];
            }
        }
    }

    template <class Results> __device__ void hand_over(void*, const Results& results)
    {
        #pragma unroll
        for (int at = 0; at < 8 * FOURS; ++at) {
            const int i = at / 4 / FOURS, r = at / FOURS % 4, j = at % FOURS;
            results.template put<4>(row + HEIGHT / 2 * i + r, column + 64 * j, sums[i][r][j]);
        }
    }
};

template <class Factor, int HEIGHT, int WIDTH, bool TENSOR = on_tensor_cores<Factor>::value>
struct SumsOf {
    typedef TensorSums<Factor, HEIGHT, WIDTH> Type;
};
template <class Factor, int HEIGHT, int WIDTH> struct SumsOf<Factor, HEIGHT, WIDTH, false> {
    typedef ExactSums<Factor, HEIGHT, WIDTH> Type;
};

// The tile of C to which `a` and `b` are directed, with the part of the sum from `begin` to `end`.
// A and B have the members
//     Slice           of their factor
//     Fetched         Run of elements as they lie in memory
//     fetch(k, to)    what the calling thread has to fetch of the slice that begins at k
// and give zeros outside the matrices, such as beyond the last row.
template <class Factor, int HEIGHT, int WIDTH, class A, class B, class Results>
__device__ void multiply_tile(A& a, B& b, const Results& results, int begin, int end)
{
    typedef typename SumsOf<Factor, HEIGHT, WIDTH>::Type Sums;
    typedef typename A::Slice Left;
    typedef typename B::Slice Right;
    __shared__ uint4 memory[2 * (Left::SIZE + Right::SIZE) * sizeof(Factor) / 16];
    Factor* const left = (Factor*)memory;
    Factor* const right = left + 2 * Left::SIZE;

    typename A::Fetched next_left[Left::EACH];
    typename B::Fetched next_right[Right::EACH];
    Sums sums;
    int now = 0;
    for (int k = begin - Left::DEPTH; k < end; k += Left::DEPTH) {
        const bool more = k + Left::DEPTH < end;
        if (more) {
            a.fetch(k + Left::DEPTH, next_left);
            b.fetch(k + Left::DEPTH, next_right);
        }
        if (k >= begin)
            sums.template multiply<Left, Right>(left + now * Left::SIZE, right + now * Right::SIZE);
        if (more) {
            now = 1 - now;
            #pragma unroll
            for (int i = 0; i < Left::EACH; ++i)
                Left::put(left + now * Left::SIZE, next_left[i], i);
            #pragma unroll
            for (int i = 0; i < Right::EACH; ++i)
                Right::put(right + now * Right::SIZE, next_right[i], i);
        }
        __syncthreads();  // the slice is there, and nobody reads the other one any more
    }
    sums.hand_over(memory, results);
}
