// The update rules of the optimizers, and the gathering of their gradients: one thread per element.
//
// rates: what changes from one training step to the next, on the device, so that a captured
// training step finds the new ones: the factor of the update, and what the first `decaying` weights
// are multiplied by before it, then further factors, if any. apply_if: if it points to false, nothing changes; it may be null.
//
// Indices are unsigned: the last of 2^31 - 1 elements plus the threads would not fit into an int.

#define EACH_WEIGHT \
    if (apply_if && !*apply_if) return; \
    const unsigned threads = gridDim.x * blockDim.x; \
    for (unsigned at = blockIdx.x * blockDim.x + threadIdx.x; at < numbers; at += threads)

#define AFTER_DECAY (at < decaying ? w[at] * rates[1] : w[at])

// w <- w - rate g, or m <- momentum m - rate g, w <- w + m; m is null without momentum.
__global__ void sgd(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ m,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real momentum, int nesterov)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real step = g[at] * rate;
        if (!m) {
            w[at] = weight - step;
            continue;
        }
        const real moved = m[at] * momentum - step;
        m[at] = moved;
        w[at] = nesterov ? weight - step + moved * momentum : weight + moved;
    }
}

// v <- rho v + (1 - rho) g^2, w <- w - rate g / sqrt(v + epsilon). m is null without momentum, the
// average of g unless centered.
__global__ void rmsprop(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ v, real* __restrict__ m,
    real* __restrict__ average, const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real rho, real one_minus_rho, real momentum, real epsilon)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real gradient = g[at];
        const real square = v[at] * rho + gradient * gradient * one_minus_rho;
        v[at] = square;
        real variance = square;
        if (average) {
            const real mean = average[at] * rho + gradient * one_minus_rho;
            average[at] = mean;
            variance -= mean * mean;
        }
        real step = gradient / sqrt(variance + epsilon) * rate;
        if (m) {
            step += m[at] * momentum;
            m[at] = step;
        }
        w[at] = weight - step;
    }
}

// m <- m + (1 - beta_1)(g - m), v <- v + (1 - beta_2)(g^2 - v), w <- w - rate m / (sqrt(v) +
// epsilon), with the largest v so far instead of v unless that is null.
__global__ void adam(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ m, real* __restrict__ v,
    real* __restrict__ largest, const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real one_minus_beta_1, real one_minus_beta_2,
    real epsilon)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real gradient = g[at];
        const real mean = m[at] + (gradient - m[at]) * one_minus_beta_1;
        real square = v[at] + (gradient * gradient - v[at]) * one_minus_beta_2;
        m[at] = mean;
        v[at] = square;
        if (largest) {
            const real before = largest[at];
            if (before > square || before != before) square = before;  // NaN is handed on
            largest[at] = square;
        }
        w[at] = weight - mean / (sqrt(square) + epsilon) * rate;
    }
}

// m and v as in adam, w <- w - (rates[0] m + rates[2] g) / (sqrt(v) + rates[3]).
__global__ void nadam(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ m, real* __restrict__ v,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real one_minus_beta_1, real one_minus_beta_2)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, of_m = rates[0], of_g = rates[2], epsilon = rates[3];
        const real gradient = g[at];
        const real mean = m[at] + (gradient - m[at]) * one_minus_beta_1;
        const real square = v[at] + (gradient * gradient - v[at]) * one_minus_beta_2;
        m[at] = mean;
        v[at] = square;
        w[at] = weight - (mean * of_m + gradient * of_g) / (sqrt(square) + epsilon);
    }
}

// m <- m + (1 - beta_1)(g - m), u <- max(beta_2 u, |g|), w <- w - rate m / (u + epsilon).
__global__ void adamax(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ m, real* __restrict__ u,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real one_minus_beta_1, real beta_2, real epsilon)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real gradient = g[at], size = gradient < 0 ? -gradient : gradient;
        const real mean = m[at] + (gradient - m[at]) * one_minus_beta_1;
        real largest = u[at] * beta_2;
        if (size > largest || size != size) largest = size;  // NaN is handed on
        m[at] = mean;
        u[at] = largest;
        w[at] = weight - mean / (largest + epsilon) * rate;
    }
}

// a <- a + g^2, w <- w - rate g / sqrt(a + epsilon).
__global__ void adagrad(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ a,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real epsilon)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real gradient = g[at], sum = a[at] + gradient * gradient;
        a[at] = sum;
        w[at] = weight - gradient / sqrt(sum + epsilon) * rate;
    }
}

// a <- rho a + (1 - rho) g^2, step = sqrt(d + epsilon) / sqrt(a + epsilon) g,
// d <- rho d + (1 - rho) step^2, w <- w - rate step.
__global__ void adadelta(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ a, real* __restrict__ d,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real one_minus_rho, real epsilon)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real gradient = g[at], before = d[at];
        const real square = a[at] + (gradient * gradient - a[at]) * one_minus_rho;
        const real step = sqrt(before + epsilon) / sqrt(square + epsilon) * gradient;
        a[at] = square;
        d[at] = before + (step * step - before) * one_minus_rho;
        w[at] = weight - step * rate;
    }
}

// w <- w - rate sign(m + (1 - beta_1)(g - m)), then m <- m + (1 - beta_2)(g - m).
__global__ void lion(
    real* __restrict__ w, const real* __restrict__ g, real* __restrict__ m,
    const real* __restrict__ rates, const bool* __restrict__ apply_if,
    unsigned numbers, unsigned decaying, real one_minus_beta_1, real one_minus_beta_2)
{
    EACH_WEIGHT {
        const real weight = AFTER_DECAY, rate = rates[0];
        const real mean = m[at], change = g[at] - mean;
        const real direction = mean + change * one_minus_beta_1;
        // 0 and NaN are their own signs
        const real sign = direction > 0 ? real(1) : direction < 0 ? real(-1) : direction;
        w[at] = weight - sign * rate;
        m[at] = mean + change * one_minus_beta_2;
    }
}

// flat[from .. end) <- arrays, of which the k-th lies at [start_k, stop_k), and 0 in between. Their
// addresses are arguments of the kernel: a table of them on the device would have to be copied
// there in each training step, from host memory that has changed when a captured one runs again. If
// there are fewer than 16 arrays, the starts of the others are the end.
#define LOOK_AT(k) if (at >= start##k) source = a##k, start = start##k, stop = stop##k;

__global__ void gather(
    real* __restrict__ flat, unsigned from, unsigned end,
    const real* a0, unsigned start0, unsigned stop0, const real* a1, unsigned start1, unsigned stop1,
    const real* a2, unsigned start2, unsigned stop2, const real* a3, unsigned start3, unsigned stop3,
    const real* a4, unsigned start4, unsigned stop4, const real* a5, unsigned start5, unsigned stop5,
    const real* a6, unsigned start6, unsigned stop6, const real* a7, unsigned start7, unsigned stop7,
    const real* a8, unsigned start8, unsigned stop8, const real* a9, unsigned start9, unsigned stop9,
    const real* a10, unsigned start10, unsigned stop10,
    const real* a11, unsigned start11, unsigned stop11,
    const real* a12, unsigned start12, unsigned stop12,
    const real* a13, unsigned start13, unsigned stop13,
    const real* a14, unsigned start14, unsigned stop14,
    const real* a15, unsigned start15, unsigned stop15)
{
    const unsigned threads = gridDim.x * blockDim.x;
    for (unsigned at = from + blockIdx.x * blockDim.x + threadIdx.x; at < end; at += threads) {
        const real* source = a0;
        unsigned start = start0, stop = stop0;
        LOOK_AT(1) LOOK_AT(2) LOOK_AT(3) LOOK_AT(4) LOOK_AT(5) LOOK_AT(6) LOOK_AT(7) LOOK_AT(8)
        LOOK_AT(9) LOOK_AT(10) LOOK_AT(11) LOOK_AT(12) LOOK_AT(13) LOOK_AT(14) LOOK_AT(15)
        flat[at] = at < stop ? source[at - start] : real(0);
    }
}
