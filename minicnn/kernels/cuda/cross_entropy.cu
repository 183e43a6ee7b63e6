// Cross-entropy of a softmax with its gradient. One thread per row of (rows, classes).

__global__ void of_logits(
    const stored* __restrict__ z, const real* __restrict__ targets, real* __restrict__ losses,
    real* __restrict__ gradient, int rows, int classes)
{
    const int threads = gridDim.x * blockDim.x;
    for (int row = blockIdx.x * blockDim.x + threadIdx.x; row < rows; row += threads) {
        const long long start = (long long)row * classes;
        real largest = z[start];
        for (int c = 1; c < classes; ++c) {
            if (z[start + c] > largest) largest = z[start + c];
        }
        real sum = 0, sum_of_targets = 0;
        for (int c = 0; c < classes; ++c) {
            sum += exp(z[start + c] - largest);
            sum_of_targets += targets[start + c];
        }
        const real log_sum = log(sum);
        real loss = 0;
        for (int c = 0; c < classes; ++c) {
            const real log_p = z[start + c] - largest - log_sum, t = targets[start + c];
            if (t != 0) loss -= t * log_p;  // a class that is ruled out has a log_p of -infinity
            gradient[start + c] = exp(log_p) * sum_of_targets - t;
        }
        losses[row] = loss;
    }
}
