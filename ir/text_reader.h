// What the readers of both textual representations share: characters, words, numbers, names and types, and diagnostics with their places. A fault
// is reported and thrown as Fault; the reader of a line catches it and goes on with the next one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "ir/graph.h"

namespace nnc {

class TextReader {
 protected:
  TextReader(SourceMap& sources, FileId file, Diagnostics& diagnostics)
      : sources_(sources), file_(file), text_(sources.text(file)), diagnostics_(diagnostics) {}

  struct Fault {};

  // --- diagnostics ---

  Span here() const;                   ///< the character at hand
  Span since(size_t begin) const;      ///< from `begin` to what was read last
  /// Reports a fault; beyond the 100th into a sink that nobody sees.
  Diagnostic& report(Code, Span, std::string message);
  [[noreturn]] void fail(Code, Span, std::string message, std::string help = {});
  [[noreturn]] void fail_unknown_op(std::string_view word, Span);
  bool too_many_faults() const { return !overflow_.items().empty(); }
  /// Names and places are shown and written again, so that all of the file must be text; false, and a report, if it is not.
  bool check_text();

  // --- characters and words; blanks and `#` comments before them are passed over ---

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_blanks();                  ///< not comments
  void skip_spaces();                  ///< comments too
  void skip_line();                    ///< up to its end
  void skip_blank_lines();
  void end_line();                     ///< a fault if anything but a comment follows
  bool accept(std::string_view mark);
  void expect(std::string_view mark);
  std::string_view parse_word();       ///< letters, digits and _; may be empty
  bool accept_word(std::string_view word);
  void expect_word(std::string_view word);
  std::string parse_string();          ///< "..."
  std::string parse_name();            ///< @fc1.weight, @"..."
  int64_t parse_integer(int64_t limit, std::string_view what);  ///< 0 to limit
  int64_t parse_signed(std::string_view what);
  Number parse_number();               ///< its place is then number_span_
  std::vector<Number> parse_numbers();  ///< [1, -0.5, inf]; their places are then number_spans_
  /// A fault where a whole number was written as a float that may stand for several.
  void require_exact(DType, Number, Span written);
  Extent parse_extent();
  Type parse_type();

  SourceMap& sources_;
  FileId file_;
  std::string_view text_;
  size_t at_ = 0;
  bool faulty_ = false;
  Span number_span_;
  std::vector<Span> number_spans_;

 private:
  Diagnostics& diagnostics_;
  Diagnostics overflow_;
};

bool is_letter(char);
bool is_digit(char);
bool is_word(char);  ///< a letter, a digit or _

}  // namespace nnc
