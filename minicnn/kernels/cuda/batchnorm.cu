// Batch normalization of (rows, channels): statistics, y, and the gradients.

#include "sums.cuh"

// Sums of x - shift and (x - shift)^2; the shift, the channel's first number, keeps the difference
// of the squares from cancelling.
__global__ void sums_of_squares(
    const real* __restrict__ x, double* __restrict__ partial, int rows, int channels, int groups)
{
    const Share s = share_of(channels, groups);
    double a = 0, b = 0;
    if (s.busy) {
        const double shift = x[s.channel];
        for (int row = s.row; row < rows; row += s.rows_apart) {
            const double d = x[(long long)row * channels + s.channel] - shift;
            a += d;
            b += d * d;
        }
    }
    add_up(s, a, b, partial, channels, groups);
}

// One block a channel: mean, 1 / sqrt(v + epsilon), gamma / sqrt(v + epsilon), and the moving
// statistics. gamma may be null.
__global__ void statistics(
    const real* __restrict__ x, const double* __restrict__ partial,
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
        const double offset = sum / rows, m = x[c] + offset;
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

// y = factor (x - mean) + beta, channel by channel; beta may be null.
__global__ void scale_and_shift(
    const real* __restrict__ x, const real* __restrict__ mean, const real* __restrict__ factor,
    const real* __restrict__ beta, real* __restrict__ y, int numbers, int channels)
{
    const int threads = gridDim.x * blockDim.x;
    for (int at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        const int c = at % channels;
        y[at] = (x[at] - mean[c]) * factor[c] + (beta ? beta[c] : real(0));
    }
}

// Sums of dy and dy (x - m).
__global__ void sums_of_products(
    const real* __restrict__ dy, const real* __restrict__ x, const real* __restrict__ mean,
    double* __restrict__ partial, int rows, int channels, int groups)
{
    const Share s = share_of(channels, groups);
    double a = 0, b = 0;
    if (s.busy) {
        const real m = mean[s.channel];
        for (int row = s.row; row < rows; row += s.rows_apart) {
            const long long at = (long long)row * channels + s.channel;
            const double d = dy[at];
            a += d;
            b += d * (x[at] - m);
        }
    }
    add_up(s, a, b, partial, channels, groups);
}

// One block a channel: dgamma, dbeta, and what `input_gradient` takes off dy, mean(dy) and the
// slope mean(dy xhat) / sqrt(v + epsilon) by which x - m is multiplied.
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

__global__ void input_gradient(
    const real* __restrict__ dy, const real* __restrict__ x, const real* __restrict__ mean,
    const real* __restrict__ factor, const real* __restrict__ mean_dy,
    const real* __restrict__ slope, real* __restrict__ dx, int numbers, int channels)
{
    const int threads = gridDim.x * blockDim.x;
    for (int at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads) {
        const int c = at % channels;
        dx[at] = factor[c] * (dy[at] - mean_dy[c] - (x[at] - mean[c]) * slope[c]);
    }
}
