// Activation functions that would take many passes without their own kernel.

#include "each.cuh"
#include "relu.cuh"

__global__ void relu_gradient(
    const stored* __restrict__ dy, const stored* __restrict__ y, stored* __restrict__ dz,
    int numbers, real negative_slope, real max_value)
{
    each(dz, dy, y, 1, numbers, OfChannels<1>{}, [=](real d, real value, const real*) {
        return d * relu_slope(value, negative_slope, max_value);
    });
}

// y = z P(z) with P the normal distribution, and dy/dz = P(z) + z p(z); in the approximate form
// P(z) = (1 + tanh(u)) / 2, u = sqrt(2 / pi) (z + 0.044715 z^3).
__device__ void normal(real v, int approximate, real& weight, real& density)
{
    const real root = 0.7978845608028654, cubic = 0.044715;  // sqrt(2 / pi)
    if (approximate) {
        weight = real(0.5) * (1 + tanh(root * (v + cubic * v * v * v)));
        const real square = v * v;  // far out 1 - weight or weight is 0, and a finite one will do
        density = 2 * weight * (1 - weight) * root
                  * (1 + 3 * cubic * (square < real(1e4) ? square : real(1e4)));
    } else {
        weight = real(0.5) * (1 + erf(v * real(0.7071067811865476)));
        density = real(0.5) * root * exp(real(-0.5) * v * v);
    }
}

template <int N>
__device__ void gelu_of_runs(
    const stored* z, stored* y, stored* __restrict__ slope, unsigned numbers, int approximate)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned run = blockIdx.x * blockDim.x + threadIdx.x; run < numbers / N; run += threads) {
        const Run<N> v = *(const Run<N>*)(z + run * N);
        Run<N> product, derivative;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const real value = v.numbers[i];
            real weight, density;
            normal(value, approximate, weight, density);
            product.numbers[i] = value * weight;
            derivative.numbers[i] = weight + value * density;
        }
        *(Run<N>*)(y + run * N) = product;
        if (slope) *(Run<N>*)(slope + run * N) = derivative;
    }
}

// y may be z; slope may be null.
__global__ void gelu(
    const stored* z, stored* y, stored* __restrict__ slope, unsigned numbers, int approximate)
{
    if (in_runs<MOST_OF_A_RUN>(numbers, z, y, slope))
        gelu_of_runs<MOST_OF_A_RUN>(z, y, slope, numbers, approximate);
    else
        gelu_of_runs<1>(z, y, slope, numbers, approximate);
}
