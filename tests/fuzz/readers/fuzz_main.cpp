// The entry point that libFuzzer calls, for the one format that this executable is built for (NNC_FORMAT).
#include "tests/fuzz/readers/readers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nnc::fuzz::Format& format = *nnc::fuzz::find_format(NNC_FORMAT);
  nnc::fuzz::read_within_limits(format, {data, size});
  return 0;
}
