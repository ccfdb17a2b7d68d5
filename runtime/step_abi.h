// The ABI between generated code and whoever calls it. Plain C layout: ahead-of-time objects, caches and other languages hang on it.
//
// Generated code has one entry, `run(context, thread, steps)`. Every thread of the team enters it with its own number (0 .. team-1) and it
// runs `steps` steps: step s takes entry s of every array marked [steps] below. Barriers are in the generated code. It has no undefined symbols: all it needs comes in here.
#pragma once

#include <atomic>
#include <cstdint>

extern "C" {

/// A data field: row r of a batch stands at base + row_index[r] * row_stride (bytes). Overlapping text windows have a small stride.
struct NncField {
  const uint8_t* base;
  int64_t row_stride;
};

/// A run-time scalar of a step. `step` and `epoch` are counts, every other one is a number.
union NncScalar {
  double number;
  int64_t count;
};

/// Which numbers a step's random leaves draw, beside the run's seed and the site of each (docs/numbers.md, "Random numbers").
struct NncDraw {
  uint64_t update;                       ///< updates finished before the step
  uint32_t first_row;                    ///< place of the step's first row within the whole batch of the update
};

/// Where the threads of a team meet. Generated code uses `arrived` and `phase` (sense: phase counts completed barriers), spins a while and then calls
/// `context->wait`. Each field on a cache line of its own.
struct NncTeam {
  alignas(64) int32_t size;              ///< threads in the team
  alignas(64) int32_t arrived;           ///< atomically counted by generated code
  alignas(64) int32_t phase;             ///< completed barriers, modulo 2^32
  alignas(64) int64_t ticket;            ///< next piece of the current parallel kernel; reset by the last to arrive at a barrier
};

struct NncContext {
  uint8_t* persistent;                   ///< parameters and states, 64-byte aligned
  uint8_t* arena;                        ///< per-step buffers, 64-byte aligned
  const NncField* fields;
  uint8_t* const* outputs;               ///< tensor outputs, 64-byte aligned
  const int64_t* row_index;              ///< [steps][rows_capacity]: which rows of the data make up each step's batch
  const int64_t* rows;                   ///< [steps]: rows in each step's batch, 1 .. rows_capacity (0: the step does nothing)
  int64_t rows_capacity;                 ///< the program's planned rows: stride of row_index
  const NncScalar* scalars;              ///< [steps][scalar count]: hyperparameters, step, epoch
  const NncDraw* draws;                  ///< [steps]; may be null where no kernel draws
  uint64_t seed;                         ///< of the run
  double* results;                       ///< [steps][result count]: loss and reports; f32 and integers (to 2^53) exactly
  uint8_t* scratch;                      ///< [team size][scratch_bytes]: packed panels, 64-byte aligned
  int64_t scratch_bytes;                 ///< of one thread; at least what the compiled code asked for
  NncTeam* team;
  void (*wait)(NncContext*, int32_t phase);  ///< called when spinning was in vain: returns once team->phase != phase (may yield or sleep)
  void (*wake)(NncContext*);             ///< called by the last to arrive, after phase was advanced, when there may be sleepers; may be null
  int32_t stop;                          ///< set asynchronously (Ctrl-C): thread 0 looks at it before each step
  int64_t steps_done;                    ///< written by thread 0
  uint64_t* kernel_cycles;               ///< null, or [kernel count]: time stamp counter ticks of each kernel added up by thread 0 (bench)
};

typedef void (*NncRun)(NncContext* context, int32_t thread, int64_t steps);
}
