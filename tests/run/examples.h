// The training steps of examples/, for tests that take every one of them.
#pragma once

#include <filesystem>
#include <string>

#include "engine/compilation.h"

namespace nnc::test {

/// visit(path, graph with gradients and updates) for every program of examples/ that trains; returns how many there were.
template <class Visit>
int for_each_example(Visit visit) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NNC_SOURCE_DIR "/examples")) {
    if (entry.path().extension() != ".nn") continue;
    Compilation example(host_target());
    example.load_file(entry.path().string());
    if (!example.module->has_train()) continue;
    ++examples;
    visit(entry.path().string(), make_training_graphs(example).backward);
  }
  return examples;
}

}  // namespace nnc::test
