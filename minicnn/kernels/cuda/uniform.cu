// Numbers evenly spread over 0 <= u < 1.

#include "philox.cuh"

// 24 bits of one word.
__device__ inline float fraction(const Words& words, int i, float)
{
    return bits_of_word(words.at[i]) * 5.9604644775390625e-8f;  // 2^-24
}

// 53 bits of two words.
__device__ inline double fraction(const Words& words, int i, double)
{
    const unsigned long long bits =
        (unsigned long long)words.at[2 * i] << 32 | words.at[2 * i + 1];
    return (bits >> 11) * 1.1102230246251565404e-16;  // 2^-53
}

__global__ void uniform(
    real* __restrict__ u, int numbers, int key0, int key1,
    const unsigned long long* __restrict__ pass, int draw)
{
    const int n = 16 / sizeof(real);
    const int counters = counters_for(numbers, n), threads = gridDim.x * blockDim.x;
    for (int four = blockIdx.x * blockDim.x + threadIdx.x; four < counters; four += threads) {
        const Words words = words_of_draw(four, key0, key1, pass, draw);
#pragma unroll
        for (int i = 0; i < n; ++i) {
            const int at = number_at(four, i, n);
            if (at < numbers) u[at] = fraction(words, i, real());
        }
    }
}
