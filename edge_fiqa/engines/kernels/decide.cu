// Device-side exit: after a segment, does any face of the batch need the next one? One block of 64
// threads, one face each. The host computes all numbers in Control; see trt_until.py, whose layout this is.
struct Place {
    unsigned int at, stride;  // in floats: exit e of face f is scores[at + f * stride]
};

// A face is certain where its fused score lies below low or above high.
struct Decision {
    float low, high;
    unsigned int exits;  // so many have run
    float weight[32];
};

struct Control {
    unsigned int faces;  // real ones; a static batch is filled up
    Place place[32];
    Decision decision[32];
};

// scores: of all segments. ran: how many of them have. handle: of the condition that step + 1 depends on,
// 0 after the last. The sum is in double, as on the host; a score that is not finite ends its face there.
extern "C" __global__ void decide(const Control* control, const float* scores, unsigned int* ran,
                                  unsigned long long handle, unsigned int step) {
    const unsigned int face = threadIdx.x;
    int going = 0;
    if (handle != 0 && face < control->faces) {
        const Decision* decision = &control->decision[step];
        double fused = 0;
        bool finite = true;
        for (unsigned int exit = 0; exit < decision->exits; exit++) {
            const Place place = control->place[exit];
            const float score = scores[place.at + face * place.stride];
            finite = finite && score - score == 0;
            fused += (double)decision->weight[exit] * (double)score;
        }
        going = finite && !((float)fused < decision->low || (float)fused > decision->high);
    }
    going = __syncthreads_or(going);
    if (face == 0) {
        *ran = step + 1;
        if (handle != 0) cudaGraphSetConditional(handle, going != 0);
    }
}
