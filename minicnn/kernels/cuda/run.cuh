// Neighbouring elements, moved by one instruction, up to 16 bytes. With 2 bytes at a time a thread
// would have too little under way to keep memory busy.

template <int N, class Number = stored>
struct alignas(N * sizeof(Number)) Run { Number numbers[N]; };

const int MOST_OF_A_RUN = 16 / sizeof(stored);

// Whether the channels of (rows, channels) at these addresses come in runs; an address may be null.
template <int N>
__device__ bool in_runs(int channels, const void* a, const void* b, const void* c = nullptr)
{
    return channels % N == 0 && ((size_t)a | (size_t)b | (size_t)c) % (N * sizeof(stored)) == 0;
}
