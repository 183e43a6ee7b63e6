// Random numbers without a running state: Philox4x32-10 makes four words of 32 bits out of a
// counter (which numbers?) and a key (of which generator?). Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3" (2011). A number depends on its place alone, not on the thread that
// makes it, and can be made again instead of being kept.

struct Words {
    unsigned at[4];
};

__device__ inline Words philox(Words counter, unsigned key0, unsigned key1)
{
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long a = 0xd2511f53ull * counter.at[0];
        const unsigned long long b = 0xcd9e8d57ull * counter.at[2];
        counter = {{(unsigned)(b >> 32) ^ counter.at[1] ^ key0, (unsigned)b,
                    (unsigned)(a >> 32) ^ counter.at[3] ^ key1, (unsigned)a}};
        key0 += 0x9e3779b9u;  // golden ratio
        key1 += 0xbb67ae85u;  // sqrt(3) - 1
    }
    return counter;
}

// The words of counter `four` of a draw. `pass` lies in memory, as a captured graph keeps its other
// arguments as they were.
__device__ inline Words words_of_draw(
    int four, int key0, int key1, const unsigned long long* pass, int draw)
{
    const Words counter = {
        {(unsigned)four, (unsigned)draw, (unsigned)*pass, (unsigned)(*pass >> 32)}};
    return philox(counter, key0, key1);
}

// Which numbers of a draw are made of which words. A run of 32 threads makes 32 n neighbouring
// numbers out of its counters, n = 4 of one word each or n = 2 of two, and number i of each thread
// lies beside that of its neighbour, so that reads and writes are runs of memory.

__device__ inline int counters_for(int numbers, int n) { return ((numbers - 1) / (32 * n) + 1) * 32; }

__device__ inline int number_at(int four, int i, int n)
{
    return four / 32 * (32 * n) + i * 32 + four % 32;
}

// The word of one number alone, where n = 4; 24 bits of it, as a float has.
__device__ inline int bits_of_word(unsigned word) { return word >> 8; }

__device__ inline int bits_of_number(
    int number, int key0, int key1, const unsigned long long* pass, int draw)
{
    const Words words = words_of_draw(number / 128 * 32 + number % 32, key0, key1, pass, draw);
    const int i = number / 32 % 4;  // an index known only here would put the words into memory
    return bits_of_word(i < 2 ? i == 0 ? words.at[0] : words.at[1]
                              : i == 2 ? words.at[2] : words.at[3]);
}
