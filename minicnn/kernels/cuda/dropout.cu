// Dropout without a mask in memory: forward and backward make the same random numbers.

#include "philox.cuh"

// y = x scale where the 24 random bits of an element, as an integer, reach the threshold, else 0.
__global__ void dropout(
    const stored* __restrict__ x, stored* __restrict__ y, int numbers, int threshold, real scale,
    int key0, int key1, const unsigned long long* __restrict__ pass, int draw)
{
    const int counters = counters_for(numbers, 4), threads = gridDim.x * blockDim.x;
    for (int four = blockIdx.x * blockDim.x + threadIdx.x; four < counters; four += threads) {
        const Words words = words_of_draw(four, key0, key1, pass, draw);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int at = number_at(four, i, 4);
            const real factor = bits_of_word(words.at[i]) >= threshold ? scale : 0;
            if (at < numbers) y[at] = real(x[at]) * factor;
        }
    }
}

// The same with fewer random numbers than x has elements: x is (a, b, c, d), and its element
// (i, j, k, l) has the random number i step_a + j step_b + k step_c + l step_d, with a step of 0
// along an axis that shares it. Unsigned, as `at` exceeds 2^31 if x has nearly that many elements.
__global__ void dropout_together(
    const stored* __restrict__ x, stored* __restrict__ y, unsigned numbers,
    unsigned b, unsigned c, unsigned d,
    unsigned step_a, unsigned step_b, unsigned step_c, unsigned step_d, int threshold, real scale,
    int key0, int key1, const unsigned long long* __restrict__ pass, int draw)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        const unsigned number = at / d / c / b * step_a + at / d / c % b * step_b +
                           at / d % c * step_c + at % d * step_d;
        const int bits = bits_of_number(number, key0, key1, pass, draw);
        y[at] = real(x[at]) * (bits >= threshold ? scale : 0);
    }
}
