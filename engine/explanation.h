// What became of a program's text: which kernels compute the operations of a layer, parameter, definition or line, what they read and write, and why a value is stored
// between kernels instead of fused. What `nnc explain` shows; every number and reason is the compiler's own (passes/fusion_report.h), nothing is worked out afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compilation.h"
#include "engine/definition.h"

namespace nnc {

/// What an operation is for: roles index the counts of a layer.
inline constexpr std::string_view explained_roles[] = {"forward", "gradient", "update"};

struct Explanation {
  struct Node {
    uint32_t id = 0;
    std::string op, type, scope;
    size_t role = 0;  ///< of explained_roles
    Span span;
    bool selected = false;  ///< one that the name stands for
    std::string text;       ///< "%12 mul (line 7)"
  };
  struct Buffer {
    std::string name;
    int64_t bytes = 0;
  };
  struct Kernel {
    std::string name, kind, scope;  ///< kind: contraction, row-wise, element-wise, scatter, copy
    Span span;
    double flops = 0, bytes = 0;  ///< of all rounds
    std::vector<Buffer> reads, writes;
    std::vector<Node> nodes;
    int64_t rounds = 1;           ///< how often a step runs it, as the steps of scans say
  };
  struct Read {
    std::string kernel;
    std::string reason;  ///< a word for tools
    std::string text;    ///< for people
  };
  struct Stored {
    Buffer buffer;
    Node node;  ///< the operation that makes it
    std::vector<std::string> writers;
    std::vector<Read> reads;
  };
  struct Layer {
    std::string path, kind;
    int operations[3] = {0, 0, 0};  ///< by role
    double flops = 0, bytes = 0;
    size_t kernels = 0;
  };
  /// Whether a parameter's gradient ever stands in memory.
  struct Gradient {
    std::string kernel;                  ///< that updates the parameter
    std::vector<std::string> stored_in;  ///< empty: that kernel makes it as well, and it is never stored
    int64_t batches = 1;                 ///< that make up the whole one: each gives a part of it, which are joined before the update
    int workers = 1;                     ///< that share the step: likewise
    bool is_clipped = false;             ///< scaled by the norm of all gradients, which must be there before any parameter is updated
  };

  /// A sum that shares of the step hand on: workers, or the batches that make up a whole one.
  struct Exchanged {
    std::string what;       ///< "gradient of fc1.weight"
    std::string parameter;  ///< of a gradient
    std::string type;
    int64_t bytes = 0;
    std::string reason;     ///< a word for tools
    std::string text;       ///< for people: why it is kept
    Span span;
  };

  /// A parameter in which entries are looked up, and whether an update leaves those alone that the batch does not name.
  struct Table {
    std::string parameter;
    bool by_entries = false;
    std::string reason;  ///< a word for tools
    std::string text;    ///< for people
  };

  std::string subject;  ///< "the training step", or which definition
  bool of_training_step = false;
  int64_t rows = 0;  ///< of the batch that kernels are planned for
  // Of the whole subject.
  size_t kernel_count = 0;
  double flops = 0, bytes = 0;
  int64_t arena_bytes = 0;
  int64_t local_bytes = 0;  ///< of each thread, for what lives within a round of a parallel region
  std::string found_as;            ///< what the name is: "layer", "parameter", ...; "" if none was asked for
  std::vector<Layer> layers;       ///< all; the last, without a path, is what stands outside of any
  std::vector<Kernel> kernels;     ///< those that compute what the name stands for
  std::vector<Stored> stored;      ///< values that concern it
  std::vector<Table> tables;       ///< that the name stands for, or all
  std::vector<Gradient> gradients; ///< of the parameter that the name stands for, where there is something to say
  int workers = 1;                    ///< that share the step
  int64_t batches = 1;                ///< that make up a whole one
  std::vector<Exchanged> exchanged;   ///< of the parameters that the name stands for, or all
};

/// Of the training step, or of a definition. `name`: a layer, parameter, definition, kernel or line ("12", "net.nn:12"); "": everything. UserError E0601 for a name that
/// means nothing, with what is near; ProgramErrors. Where compilation.workers are several: of the step that they share.
Explanation explain(Compilation&, const std::optional<DefinitionRequest>&, const std::string& name);

/// "line 12", or in a file other than the program's "other.nn:12"; "" without a place.
std::string short_line(const Compilation&, Span);
/// The first `most` names, and how many more there are.
std::string listed(std::vector<std::string> names, size_t most);

}  // namespace nnc
