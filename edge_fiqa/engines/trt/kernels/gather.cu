// Compaction: tokens of the faces that go on, in their new order. Which rows is an argument by
// value, so that no copy of a list can be in flight when the next one is written.
struct Rows {
    unsigned char row[64];
};

// target[i] = source[rows.row[i]], `words` 4-byte words a row. Grid: (words / 256 rounded up, kept faces).
extern "C" __global__ void gather_rows(const unsigned int* source, unsigned int* target,
                                       const __grid_constant__ Rows rows, unsigned int words) {
    const unsigned int word = blockIdx.x * blockDim.x + threadIdx.x;
    if (word < words) {
        const unsigned long long from = (unsigned long long)rows.row[blockIdx.y] * words + word;
        const unsigned long long to = (unsigned long long)blockIdx.y * words + word;
        target[to] = source[from];
    }
}
