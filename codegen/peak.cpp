// Fourteen independent chains of register-to-register FMAs: more than latency times ports of any x86 core so far (4 x 2), and few
// enough to stay in registers at every level. The loop is one block of assembly: a compiler that sees arithmetic on constants may
// fold chains and report a peak that no program reaches, and one that keeps a chain in memory reports a fraction of it.
#include "codegen/peak.h"

#include <time.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace nnc {
namespace {

#if defined(__x86_64__)
constexpr int chains = 14;

#define NNC_CLOBBERS                                                                                                        \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"
#define NNC_EACH_CHAIN(step) \
  step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11) step(12) step(13)
// Register r (0: the chains, 14 and 15: operands) of all zeros: values stay zero, which costs as much as any other number.
#define NNC_CLEAR(n) "vxorps %%xmm" #n ", %%xmm" #n ", %%xmm" #n "\n\t"
#define NNC_LOOP(clear, step, finish)                                                                                    \
  __asm__ volatile(NNC_EACH_CHAIN(clear) clear(14) clear(15) "1:\n\t" NNC_EACH_CHAIN(step) "dec %0\n\tjnz 1b\n\t" finish \
                   : "+r"(rounds)                                                                                        \
                   :                                                                                                     \
                   : NNC_CLOBBERS)

void run_avx512(int64_t rounds) {
#define NNC_STEP(n) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #n "\n\t"
  NNC_LOOP(NNC_CLEAR, NNC_STEP, "vzeroupper");
#undef NNC_STEP
}

void run_avx2(int64_t rounds) {
#define NNC_STEP(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n\t"
  NNC_LOOP(NNC_CLEAR, NNC_STEP, "vzeroupper");
#undef NNC_STEP
}

// As portable code does an FMA: a multiplication and an addition, here in chains of both.
void run_portable(int64_t rounds) {
#define NNC_CLEAR_SSE(n) "xorps %%xmm" #n ", %%xmm" #n "\n\t"
#define NNC_STEP(n) "mulps %%xmm14, %%xmm" #n "\n\taddps %%xmm15, %%xmm" #n "\n\t"
  NNC_LOOP(NNC_CLEAR_SSE, NNC_STEP, "");
#undef NNC_STEP
}
#endif

/// Time that this thread has run: other programs on the machine do not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

double best_gflops(void (*run)(int64_t), double flops_per_round) {
  auto seconds = [&](int64_t rounds) {
    double start = thread_seconds();
    run(rounds);
    return thread_seconds() - start;
  };
  int64_t rounds = int64_t(1) << 12;
  while (seconds(rounds) < 1e-3) rounds *= 2;
  double best = 0;
  for (int i = 0; i < 15; ++i) best = std::max(best, flops_per_round * double(rounds) / seconds(rounds) * 1e-9);
  return best;
}

}  // namespace

double measure_fma_peak_gflops(VectorLevel level) {
  NNC_CHECK(level <= host_target().level, "peak of a vector level that this machine does not have");
#if defined(__x86_64__)
  switch (level) {
    case VectorLevel::avx512:
      return best_gflops(run_avx512, chains * 16 * 2);
    case VectorLevel::avx2:
      return best_gflops(run_avx2, chains * 8 * 2);
    case VectorLevel::portable:
      return best_gflops(run_portable, chains * 4 * 2);
  }
  NNC_UNREACHABLE("vector level");
#else
  return best_gflops(
      [](int64_t rounds) {
        float x[16] = {};
        for (int64_t i = 0; i < rounds; ++i)
          for (float& v : x) {
            v = v * 1.0f + 0.0f;
            __asm__ volatile("" : "+m"(v));
          }
      },
      16 * 2);
#endif
}

double measure_fma_peak_gflops() { return measure_fma_peak_gflops(host_target().level); }

}  // namespace nnc
