// Numbers of 16 bits: kept so in memory, calculated with in float. Storing rounds to the nearest,
// of two equally near ones to the even.

#ifdef __CUDACC__  // another compiler brings its own, as in the tests

__device__ inline unsigned short bits_of_half(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ inline float value_of_half(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned bits_of_float(float value) { return __float_as_uint(value); }
__device__ inline float value_of_float(unsigned bits) { return __uint_as_float(bits); }

#endif

// 5 bits of exponent, 10 of fraction: up to 65504.
struct half_number {
    unsigned short bits;
    half_number() = default;
    __device__ half_number(float value) : bits(bits_of_half(value)) {}
    __device__ operator float() const { return value_of_half(bits); }
};

// The upper half of a float: 8 bits of exponent, 7 of fraction.
struct bfloat_number {
    unsigned short bits;
    bfloat_number() = default;
    __device__ bfloat_number(float value)
    {
        const unsigned whole = bits_of_float(value);
        const bool is_number = value == value;  // rounding would make an infinity of some NaNs
        bits = is_number ? (whole + 0x7fff + (whole >> 16 & 1)) >> 16 : whole >> 16 | 0x40;
    }
    __device__ operator float() const { return value_of_float((unsigned)bits << 16); }
};
