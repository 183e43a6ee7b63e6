// Products of small matrices on the tensor cores of GPUs of compute capability 8.0 (Ampere) or
// later.
//
// A warp, 32 threads, multiplies A (16, depth) with B (depth, 8) and adds the sums, in float, to
// C (16, 8). Their elements lie spread over the registers of the threads; with g = lane / 4 and
// t = lane % 4, a thread holds
//
//     16 bits, depth 16, two neighbours in one register, the first in its lower half:
//         a[0]  A[g    ][2 t ..]         a[2]  A[g    ][2 t + 8 ..]
//         a[1]  A[g + 8][2 t ..]         a[3]  A[g + 8][2 t + 8 ..]
//         b0    B[2 t ..][g]             b1    B[2 t + 8 ..][g]
//     TF32, depth 8, one per register:
//         a[0]  A[g    ][t]              a[2]  A[g    ][t + 4]
//         a[1]  A[g + 8][t]              a[3]  A[g + 8][t + 4]
//         b0    B[t][g]                  b1    B[t + 4][g]
//     the sums, in both cases:
//         sum[0], sum[1]  C[g][2 t], C[g][2 t + 1]      sum[2], sum[3]  C[g + 8][2 t], ...
//
// So a[] is also a (16, depth) piece of B transposed: its registers 0 and 2 are b0 and b1 of the
// first 8 columns, 1 and 3 those of the second 8. One function loads both factors.
//
// Source: PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type", "... mma.m16n8k8",
// "ldmatrix", "cvt"; docs.nvidia.com/cuda/parallel-thread-execution.

// A float whose fraction is rounded to 10 bits: the factors of a product in TF32.
struct tensor_float {
    unsigned bits;
};

#ifdef __CUDACC__  // another compiler brings its own, as in the tests

__device__ inline void mma_f16(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void mma_bf16(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void mma_tf32(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four matrices (8, 8) of 16-bit numbers from shared memory: lane 8 i + r gives the address of row
// r of matrix i, 16 bytes; a thread gets the elements [g][2 t] and [g][2 t + 1] of matrix i.
__device__ inline void load_matrices(unsigned (&to)[4], const void* row)
{
    asm volatile("{ .reg .u64 wide; .reg .u32 address; cvta.to.shared.u64 wide, %4;"
                 " cvt.u32.u64 address, wide;"
                 " ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [address]; }"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "l"(row) : "memory");
}

// The same, but the elements [2 t][g] and [2 t + 1][g] of each matrix.
__device__ inline void load_matrices_transposed(unsigned (&to)[4], const void* row)
{
    asm volatile("{ .reg .u64 wide; .reg .u32 address; cvta.to.shared.u64 wide, %4;"
                 " cvt.u32.u64 address, wide;"
                 " ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [address]; }"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "l"(row) : "memory");
}

// Two floats rounded to 16 bits, the first in the lower half.
__device__ inline unsigned two_f16(float first, float second)
{
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

__device__ inline unsigned two_bf16(float first, float second)
{
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

// To the nearest; of two equally near ones to the larger in magnitude.
__device__ inline unsigned rounded_to_tf32(float value)
{
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

#endif

// For each type of factor: the depth of its products, how it is made of what lies in memory 16
// bytes at a time, how a (16, depth) fragment is read from shared memory, and the product itself.
//
// Shared memory holds lines of neighbouring elements, `stride` apart: with `k_fast` elements along
// the sum are neighbours, without it those along the rows (or columns) of the result.
struct HalfFactor {
    static const int DEPTH = 16;

    template <bool k_fast, class Number>
    __device__ static void load(unsigned (&to)[4], const Number* tile, int stride, int outer, int k)
    {
        const int lane = threadIdx.x % 32;
        // matrices 0 and 1 hold k .. k + 7 of outer .. and of outer + 8 .., 2 and 3 the next 8 of k
        if (k_fast)
            load_matrices(to, tile + (outer + lane % 16) * stride + k + lane / 16 * 8);
        else
            load_matrices_transposed(
                to, tile + (k + lane % 8 + lane / 16 * 8) * stride + outer + lane / 8 % 2 * 8);
    }
};

template <class Factor> struct Tensor;

template <> struct Tensor<half_number> : HalfFactor {
    __device__ static void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
    {
        mma_f16(sum, a, b0, b1);
    }
    __device__ static unsigned two(float first, float second) { return two_f16(first, second); }
};

template <> struct Tensor<bfloat_number> : HalfFactor {
    __device__ static void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
    {
        mma_bf16(sum, a, b0, b1);
    }
    __device__ static unsigned two(float first, float second) { return two_bf16(first, second); }
};

template <> struct Tensor<tensor_float> {
    static const int DEPTH = 8;

    template <bool k_fast>
    __device__ static void load(unsigned (&to)[4], const tensor_float* tile, int stride, int outer,
                                int k)
    {
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        for (int i = 0; i < 4; ++i) {
            const int o = outer + g + i % 2 * 8, at = k + t + i / 2 * 4;
            to[i] = tile[k_fast ? o * stride + at : at * stride + o].bits;
        }
    }

    __device__ static void mma(float (&sum)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
    {
        mma_tf32(sum, a, b0, b1);
    }
};
