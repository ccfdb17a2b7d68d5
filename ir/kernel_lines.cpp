// What is written about a kernel rather than in it: the remarks behind its name, which are read although they look like a comment, and the heads of its loops.
#include "ir/kernel_lines.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "ir/program_text.h"

namespace nnc {

// `# from mlp.nn:11, scope fc1, parallel, after a barrier, 3.21 MFLOP, 233.99 kB`
KernelLineReader::KernelRemarks KernelLineReader::parse_remarks() {
  KernelRemarks remarks;
  skip_blanks();
  if (peek() == '#') {
    ++at_;
    do parse_remark(remarks);
    while (accept(","));
  }
  skip_blanks();
  if (at_ < text_.size() && peek() != '\n') fail(Code::E0630, here(), "expected the end of the line");
  return remarks;
}

void KernelLineReader::parse_remark(KernelRemarks& remarks) {
  skip_blanks();
  size_t begin = at_;
  if (is_digit(peek())) return parse_quantity(remarks);
  std::string_view word = parse_word();
  if (word == "from") {
    remarks.origin = parse_origin();
  } else if (word == "scope") {
    skip_blanks();
    remarks.scope = peek() == '"' ? parse_string() : std::string(parse_remark_text());
  } else if (word == "parallel") {
    remarks.parallel = true;
  } else if (word == "one") {
    expect_word("thread");
    remarks.parallel = false;
  } else if (word == "serial") {
    remarks.serial = true;
  } else if (word == "not") {
    expect_word("serial");
    remarks.serial = false;
  } else if (word == "after") {
    expect_word("a");
    expect_word("barrier");
    remarks.barrier_before = true;
  } else {
    fail(Code::E0630, word.empty() ? here() : since(begin),
         "expected a remark on the kernel: from FILE:LINE, scope NAME, parallel, one thread, serial, not serial, after a barrier, work in FLOP or bytes in B",
         "a comment stands on a line of its own");
  }
}

std::string_view KernelLineReader::parse_remark_text() {
  size_t begin = at_;
  while (at_ < text_.size() && peek() != ',' && peek() != '\n') ++at_;
  size_t end = at_;
  while (end > begin && (text_[end - 1] == ' ' || text_[end - 1] == '\t' || text_[end - 1] == '\r')) --end;
  if (end == begin) fail(Code::E0630, here(), "expected a name");
  return text_.substr(begin, end - begin);
}

WrittenPlace KernelLineReader::parse_origin() {
  WrittenPlace place;
  skip_blanks();
  size_t begin = at_;
  if (peek() == '"') {
    place.path = parse_string();
    expect(":");
    place.line = parse_integer(max_written_line, "a line number");
  } else {
    std::string_view text = parse_remark_text();
    size_t end = at_, colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) fail(Code::E0630, since(begin), "expected a place such as mlp.nn:11");
    place.path = text.substr(0, colon);
    at_ = begin + colon + 1;
    place.line = parse_integer(max_written_line, "a line number");
    skip_blanks();
    if (at_ < end) fail(Code::E0630, since(begin), "expected a place such as mlp.nn:11");
  }
  place.column = 1;
  place.written = since(begin);
  if (place.line == 0) fail(Code::E0636, place.written, "lines count from 1");
  return place;
}

void KernelLineReader::parse_quantity(KernelRemarks& remarks) {
  size_t begin = at_;
  double value = parse_number();
  skip_blanks();
  size_t unit_begin = at_;
  std::string_view unit = parse_word();
  double factor = 1;
  for (auto [letter, times] : {std::pair{'k', 1e3}, std::pair{'M', 1e6}, std::pair{'G', 1e9}})
    if (unit.size() > 1 && unit[0] == letter) factor = times;
  if (factor != 1) unit.remove_prefix(1);
  if (unit != "FLOP" && unit != "B") fail(Code::E0630, unit.empty() ? here() : since(unit_begin), "expected FLOP or B, or a multiple: k, M or G");
  value *= factor;
  if (!std::isfinite(value) || value < 0) fail(Code::E0636, since(begin), "work and bytes are finite numbers");
  // Rounded to the digits that are written, but never over the border to the next unit.
  std::string_view written = text_.substr(begin, at_ - begin);
  if (value == 0) value = 0.25;
  for (double near : {value, std::nextafter(value, 0.0), std::nextafter(value, HUGE_VAL)})
    if (quantity_text(near, unit) == written) {
      value = near;
      break;
    }
  (unit == "B" ? remarks.bytes : remarks.flops) = value;
}

KernelLineReader::Loop KernelLineReader::parse_loop() {
  Loop loop;
  size_t begin = at_;
  expect_word("for");
  loop.axes = parse_axes();
  if (accept("(")) {
    if (accept_word("inner")) {
      loop.inner = true;
      if (!accept(",")) {
        expect(")");
        return end_loop(std::move(loop), begin);
      }
    }
    expect_word("vector");
    expect_word("along");
    skip_spaces();
    size_t name_begin = at_;
    std::string_view name = parse_axis_name();
    for (size_t i = 0; i < loop.axes.size(); ++i)
      if (loop.axes[i].name == name) loop.vector = int(i);
    if (loop.vector < 0) fail(Code::E0637, since(name_begin), fmt::format("the loop has no axis {}", name));
    expect(")");
  }
  return end_loop(std::move(loop), begin);
}

KernelLineReader::Loop KernelLineReader::end_loop(Loop loop, size_t begin) {
  expect(":");
  loop.span = since(begin);
  end_line();
  return loop;
}

std::vector<Axis> KernelLineReader::parse_axes(std::vector<Axis> axes) {
  do {
    skip_spaces();
    size_t begin = at_;
    Axis axis;
    axis.name = parse_axis_name();
    for (const Axis& other : axes)
      if (other.name == axis.name) fail(Code::E0637, since(begin), fmt::format("axis {} is declared twice", axis.name));
    if (axes.size() == max_axes) fail(Code::E0636, since(begin), fmt::format("a kernel has at most {} axes", max_axes));
    expect("<");
    axis.extent = parse_extent();
    if (accept_word("by")) axis.together = parse_integer(max_together, "how many indices are taken together");
    if (accept_word("below")) {
      parse_limit(axis);
      expect("+");
      skip_spaces();
      size_t again = at_;
      if (parse_integer(max_limit_step, "a step") != axis.limit.step) fail(Code::E0630, since(again), fmt::format("expected {}: a limit is a multiple of the index behind the other axis'", axis.limit.step));
    } else if (accept_word("from")) {
      axis.limit.from = true;
      parse_limit(axis);
    }
    axes.push_back(std::move(axis));
  } while (accept(","));
  return axes;
}

void KernelLineReader::parse_limit(Axis& axis) {
  axis.limit.step = parse_integer(max_limit_step, "a step");
  expect("*");
  skip_spaces();
  size_t begin = at_;
  WrittenLimit& written = limits_.emplace_back();
  written.axis = axis.name;
  written.by.axis = parse_axis_name();
  written.by.span = since(begin);
}

}  // namespace nnc
