// f(z) = min(z, max_value) for z > 0, negative_slope z elsewhere, and f' from y = f(z).

__device__ inline real relu(real z, real negative_slope, real max_value)
{
    if (z > 0) return z < max_value ? z : max_value;
    return z < 0 && negative_slope == 0 ? 0 : z * negative_slope;  // not 0 times infinity
}

// max_value is rounded as y has been, so that what reached it is told from what did not.
__device__ inline real relu_slope(real y, real negative_slope, real max_value)
{
    return y > 0 ? real(y < real(stored(max_value))) : negative_slope;
}
