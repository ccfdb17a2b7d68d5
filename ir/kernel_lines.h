// Reads the lines of a kernel, one by one: remarks, loops, instructions with their accesses. Which axis a name means is settled when the whole kernel has been read, since
// its inner axes may stand below code that names them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/axis_limits.h"
#include "ir/program.h"
#include "ir/text_reader.h"
#include "ir/written_places.h"

namespace nnc {

class KernelLineReader : protected TextReader {
 protected:
  using TextReader::TextReader;

  /// `2*k` in an address: an axis by its name.
  struct Term {
    std::string_view axis;
    Span span;
    int64_t stride = 0;
  };
  /// An instruction as it was written.
  struct Written {
    Span span;
    std::vector<Term> terms;   ///< of its access
    Term row, index;           ///< `row(i)`, the axis of `index of i`, `where ... links i`, `skip i`; no span: none
  };

  /// `# from mlp.nn:11, scope fc1, parallel, after a barrier, 3.21 MFLOP, 233.99 kB`
  struct KernelRemarks {
    std::optional<WrittenPlace> origin;
    std::string scope;
    bool parallel = false, barrier_before = false;
    std::optional<bool> serial;
    double flops = 0, bytes = 0;
  };
  /// `for i < 3, j < B  (vector along j):`
  struct Loop {
    std::vector<Axis> axes;
    int vector = -1;
    bool inner = false;  ///< it says so
    Span span;
  };
  /// `below 64*q + 64`, `from 64*q`: of an axis, by another one.
  struct WrittenLimit {
    std::string axis;
    Term by;
  };
  static constexpr size_t max_axes = 64;  ///< of a kernel, and of a buffer
  bool in_contraction_ = false;           ///< the kernel at hand is one: its reductions run over the rows

  /// Thrown where a text is so large that reading it further makes no sense; it has been reported.
  struct TooLarge {};
  /// One more line of a program, of which there is a limit: what is made of a line can be many times its length.
  void count_line();

  /// Makes a buffer known, by its name and how many of the name there were before it.
  void add_reference(const std::string& name, BufferId);
  KernelRemarks parse_remarks();  ///< to the end of the line
  Loop parse_loop();              ///< the line
  std::vector<Axis> parse_axes(std::vector<Axis> before = {});  ///< those before, and behind them the ones of the list
  /// Adds the instruction of the line at hand to `code`, and how it was written to `written_`.
  void parse_instruction(std::vector<Instruction>& code);
  int parse_value();
  BufferId parse_buffer();
  std::string_view parse_axis_name();
  /// The next word, which is not taken, if `mark` does not follow it.
  bool at_keyword(std::string_view word);

  std::vector<Written> written_;  ///< of the kernel at hand, in the order of for_each_instruction
  std::vector<WrittenLimit> limits_;  ///< of the kernel at hand; of an inner axis as often as its loop stands there

 private:
  void parse_remark(KernelRemarks&);
  std::string_view parse_remark_text();
  WrittenPlace parse_origin();
  void parse_quantity(KernelRemarks&);
  Loop end_loop(Loop, size_t begin);
  void parse_limit(Axis&);  ///< `64*q`
  void parse_instruction_type(Instruction&);
  void parse_named_axis(Written&);  ///< the axis whose index it takes
  void parse_definition(Instruction&, Written&);
  void parse_operation(Instruction&);
  std::vector<int> parse_operands(std::string_view op, Span op_span, int arity);
  Access parse_access(Written&);
  void parse_place(Access&, Written&);  ///< `[row(b), 2*k + 1]`
  void parse_term(Access&, Written&);
  void parse_node(Instruction&);

  std::map<std::string, std::vector<BufferId>, std::less<>> references_;
  size_t lines_ = 0;
};

}  // namespace nnc
