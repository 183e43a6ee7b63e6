// Batch normalization of (rows, channels): statistics, y, and the gradients.

#include "each.cuh"
#include "sums.cuh"

// Sums of x - shift and (x - shift)^2; the shift, the channel's first element, keeps the difference
// of the squares from cancelling.
__global__ __launch_bounds__(MOST_THREADS, 4) void sums_of_squares(
    const stored* __restrict__ x, double* __restrict__ partial, int rows, int channels, int groups)
{
    sum_over_rows(
        x, x, nullptr, partial, rows, channels, groups, [=](int c) { return real(x[c]); },
        [](real value, real, real shift) {
            const double d = double(value) - shift;
            return Summands{d, d * d};
        });
}

// One block per channel: mean, 1 / sqrt(v + epsilon), gamma / sqrt(v + epsilon), and the moving
// statistics. gamma may be null.
__global__ void statistics(
    const stored* __restrict__ x, const double* __restrict__ partial,
    const real* __restrict__ gamma,
    const real* __restrict__ moving_mean, const real* __restrict__ moving_variance,
    real* __restrict__ mean, real* __restrict__ inverse, real* __restrict__ factor,
    real* __restrict__ new_mean, real* __restrict__ new_variance,
    int rows, int channels, int groups, real momentum, real epsilon)
{
    for (int c = blockIdx.x; c < channels; c += gridDim.x) {
        double sum, squares;
        total(partial, c, channels, groups, sum, squares);
        if (threadIdx.x) continue;
        const double offset = sum / rows, m = real(x[c]) + offset;
        const double difference = squares / rows - offset * offset;
        const double variance = difference < 0 ? 0 : difference;
        const double i = 1 / sqrt(variance + epsilon);
        mean[c] = m;
        inverse[c] = i;
        factor[c] = gamma ? i * gamma[c] : i;
        new_mean[c] = momentum * moving_mean[c] + (1 - momentum) * m;
        new_variance[c] = momentum * moving_variance[c] + (1 - momentum) * variance;
    }
}

// y = factor (x - mean) + beta, all per channel; mean and beta may be null.
__global__ void scale_and_shift(
    const stored* __restrict__ x, const real* __restrict__ mean, const real* __restrict__ factor,
    const real* __restrict__ beta, stored* __restrict__ y, int rows, int channels)
{
    each(y, x, rows, channels, OfChannels<3>{mean, factor, beta},
         [=](real value, const real* own) { return (value - own[0]) * own[1] + own[2]; });
}

// Sums of dy and dy (x - m).
__global__ __launch_bounds__(MOST_THREADS, 4) void sums_of_products(
    const stored* __restrict__ dy, const stored* __restrict__ x, const real* __restrict__ mean,
    double* __restrict__ partial, int rows, int channels, int groups)
{
    sum_over_rows(
        dy, x, nullptr, partial, rows, channels, groups, [=](int c) { return mean[c]; },
        [](real d, real value, real m) { return Summands{d, double(d) * (value - m)}; });
}

// One block per channel: dgamma, dbeta, and what `input_gradient` subtracts from dy, mean(dy) and
// the slope mean(dy xhat) / sqrt(v + epsilon) by which x - m is multiplied.
__global__ void coefficients(
    const double* __restrict__ partial, const real* __restrict__ inverse,
    real* __restrict__ dgamma, real* __restrict__ dbeta, real* __restrict__ mean_dy,
    real* __restrict__ slope, int rows, int channels, int groups)
{
    for (int c = blockIdx.x; c < channels; c += gridDim.x) {
        double sum, products;
        total(partial, c, channels, groups, sum, products);
        if (threadIdx.x) continue;
        const double i = inverse[c];
        dbeta[c] = sum;
        dgamma[c] = products * i;
        mean_dy[c] = sum / rows;
        slope[c] = products / rows * i * i;
    }
}

// dx = factor (dy - mean_dy - (x - mean) slope), all per channel.
__global__ __launch_bounds__(MOST_THREADS, 4) void input_gradient(
    const stored* __restrict__ dy, const stored* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ factor, const real* __restrict__ mean_dy,
    const real* __restrict__ slope, stored* __restrict__ dx, int rows, int channels)
{
    each(dx, dy, x, rows, channels, OfChannels<4>{factor, mean_dy, mean, slope},
         [=](real d, real value, const real* own) {
             return own[0] * (d - own[1] - (value - own[2]) * own[3]);
         });
}
