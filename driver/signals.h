// Ctrl-C and its kin during training, and while text is written.
#pragma once

#include "engine/training_run.h"

namespace nnc {

/// From its making on, SIGTERM, SIGINT and SIGHUP (the last two unless the process was started to ignore them, as by a shell's `&` or
/// by nohup) ask the run to stop, and a closed pipe is an error of the write and no signal. Outside of a Watch and at the second
/// signal the process leaves at once with status 130 and without its temporary files; in it the first signal lets the step under way
/// finish. The bytes of a mapped data file that are gone stop the run in the same way. One at a time. What handles signals stays when
/// the scope has ended, so that the status is the same until the process has.
class SignalScope {
 public:
  /// `early`: what standard error says when the process leaves with nothing to stop in order, such as while a program is compiled; it outlives the process's work, as a literal does.
  explicit SignalScope(const char* early);
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;
  ~SignalScope();
  /// While this lives there is something to save: the first signal stops the run, which outlives it.
  class Watch {
   public:
    Watch(SignalScope& signals, TrainingRun& run) : signals_(signals) { signals_.watch(&run); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { signals_.watch(nullptr); }

   private:
    SignalScope& signals_;
  };

  /// The first signal does nothing but make stop_requested() true: whoever works in small steps asks it between them.
  void only_count_first();

 private:
  void watch(TrainingRun*);
};

/// Whether a signal has asked the run to stop.
bool stop_requested();

}  // namespace nnc
