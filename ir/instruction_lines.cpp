// One line is one instruction: `v3 = mul(v1, v2) : f32  # %12`, `v0 = load x[row(b), 2*k + 1] : u8`, `h[64*b + n] <- v3 : f32`. Whether its values exist
// and its types agree is a question for the verifier, which finds every place that the reader has kept.
#include "ir/kernel_lines.h"

#include <fmt/format.h>

#include <charconv>

#include "ir/chains.h"
#include "ir/program_text.h"
#include "ir/text.h"

namespace nnc {
namespace {

constexpr size_t max_lines = 1'000'000;

}  // namespace

void KernelLineReader::count_line() {
  if (++lines_ <= max_lines) return;
  report(Code::E0007, here(), fmt::format("a program has at most {} buffers, kernels and instructions", max_lines));
  throw TooLarge{};
}

void KernelLineReader::add_reference(const std::string& name, BufferId id) { references_[name].push_back(id); }

bool KernelLineReader::at_keyword(std::string_view word) {
  skip_spaces();
  size_t begin = at_;
  bool found = parse_word() == word;
  skip_blanks();
  found = found && peek() != '[' && peek() != '.' && peek() != '@';  // else a buffer's name
  at_ = begin;
  return found;
}

int KernelLineReader::parse_value() {
  skip_spaces();
  size_t begin = at_;
  std::string_view word = parse_word();
  if (!is_value_name(word)) fail(Code::E0630, word.empty() ? here() : since(begin), "expected a value such as v3");
  int id = 0;
  auto [end, error] = std::from_chars(word.data() + 1, word.data() + word.size(), id);
  if (error != std::errc()) fail(Code::E0636, since(begin), fmt::format("a value's number is at most {}", INT32_MAX));
  return id;
}

std::string_view KernelLineReader::parse_axis_name() {
  skip_spaces();
  size_t begin = at_;
  std::string_view word = parse_word();
  if (word.empty() || is_digit(word[0]) || is_value_name(word))
    fail(Code::E0630, word.empty() ? here() : since(begin), "expected an axis: a word that is neither a number nor a value such as v3");
  return word;
}

void KernelLineReader::parse_instruction(std::vector<Instruction>& code) {
  count_line();
  skip_spaces();
  size_t begin = at_;
  Instruction i;
  Written written;
  std::string_view word = parse_word();
  skip_blanks();
  const bool defines = is_value_name(word) && peek() == '=';
  const bool guards = word == "where" && is_digit(peek());
  const bool buffer = peek() == '[' || peek() == '.' || peek() == '@';  // of that name
  const bool is_linked = word == "where" && !guards && !buffer, is_touched = word == "skip" && !buffer;
  bool typed = !guards && !is_linked && !is_touched;
  if (typed) at_ = begin;
  if (is_linked) {
    i.kind = Instruction::Kind::linked;
    i.access = parse_access(written);
    expect_word("links");
    parse_named_axis(written);
  } else if (is_touched) {
    i.kind = Instruction::Kind::touched;
    parse_named_axis(written);
    expect_word("unless");
    i.access.buffer = parse_buffer();
    for (std::string_view next : {"links", "it", "or"}) expect_word(next);
    i.operands = {parse_value()};
  } else if (guards) {
    i.kind = Instruction::Kind::guard;
    expect("0");
    expect("<=");
    parse_place(i.access, written);
    expect("<");
    i.extent.size = parse_integer(INT32_MAX, "a limit");
  } else if (defines) {
    i.id = parse_value();
    expect("=");
    parse_definition(i, written);
  } else {
    i.access = parse_access(written);
    if (accept("<-"))
      i.kind = Instruction::Kind::store;
    else if (accept("+="))
      i.kind = Instruction::Kind::store_add;
    else if (accept_word("links"))
      i.kind = Instruction::Kind::link;
    else
      fail(Code::E0630, here(), "expected `<-`, `+=` or `links`");
    i.operands = {parse_value()};
    if (i.kind == Instruction::Kind::link) {
      expect_word("of");
      i.extent.size = parse_integer(INT32_MAX, "a number of entries");
      typed = false;
    }
  }
  if (typed)
    parse_instruction_type(i);
  else if (is_of_chains(i))
    i.dtype = index_type;
  written.span = since(begin);
  parse_node(i);
  end_line();
  code.push_back(std::move(i));
  written_.push_back(std::move(written));
}

void KernelLineReader::parse_named_axis(Written& written) {
  skip_spaces();
  size_t begin = at_;
  written.index.axis = parse_axis_name();
  written.index.span = since(begin);
}

void KernelLineReader::parse_instruction_type(Instruction& i) {
  expect(":");
  skip_spaces();
  size_t type_begin = at_;
  std::optional<DType> dtype = parse_dtype(parse_word());
  if (!dtype) fail(Code::E0630, since(type_begin), "expected an element type: f32, f64, i32, i64, u8 or bool");
  i.dtype = *dtype;
  if (i.kind == Instruction::Kind::constant) require_exact(*dtype, i.number, number_span_);
  i.number = rounded_to(*dtype, i.number);
}

void KernelLineReader::parse_node(Instruction& i) {
  skip_blanks();
  size_t begin = at_;
  if (peek() != '#') return;
  ++at_;
  skip_blanks();
  size_t digits = at_ + 1;
  bool node = peek() == '%';
  if (node)
    for (++at_; is_digit(peek());) ++at_;
  size_t end = at_;
  skip_blanks();
  if (!node || end == digits || (at_ < text_.size() && peek() != '\n')) {  // a comment like any other
    at_ = begin;
    return;
  }
  at_ = digits;
  i.node.value = uint32_t(parse_integer(UINT32_MAX - 1, "a node's number"));
}

void KernelLineReader::parse_definition(Instruction& i, Written& written) {
  using Kind = Instruction::Kind;
  auto expect_words = [&](std::initializer_list<std::string_view> words) {
    for (std::string_view word : words) expect_word(word);
  };
  if (accept_word("load")) {
    i.kind = Kind::load;
    i.access = parse_access(written);
  } else if (accept_word("constant")) {
    i.kind = Kind::constant;
    i.number = parse_number();
  } else if (accept_word("index")) {
    i.kind = Kind::axis_index;
    expect_word("of");
    parse_named_axis(written);
  } else if (accept_word("sum")) {
    i.kind = Kind::accumulator;
    expect_words({"over", "k", "of", "a"});
    expect("*");
    expect_word("b");
  } else if (accept_word("random")) {
    i.kind = Kind::random;
    skip_spaces();
    if (peek() != '"') fail(Code::E0630, here(), "expected the name of a site in quotes");
    i.site = parse_string();
    parse_place(i.access, written);
  } else if (accept_word("extent")) {
    i.kind = Kind::extent;
    i.extent = parse_extent();
  } else {
    parse_operation(i);
  }
}

void KernelLineReader::parse_operation(Instruction& i) {
  skip_spaces();
  size_t begin = at_;
  std::string_view word = parse_word();
  if (word.empty()) fail(Code::E0630, here(), "expected load, constant, index, sum, extent, random or an operation");
  Span op_span = since(begin);
  std::optional<Op> op = parse_op(word);
  if (!op) fail_unknown_op(word, op_span);
  i.op = *op;
  i.operands = parse_operands(word, op_span, op_arity(*op));
  i.kind = Instruction::Kind::compute;
  if (!accept_word("over")) return;
  i.kind = Instruction::Kind::reduce;
  expect_word("the");
  if (in_contraction_) return expect_word("rows");
  for (std::string_view next : {"inner", "loop"}) expect_word(next);
}

std::vector<int> KernelLineReader::parse_operands(std::string_view op, Span op_span, int arity) {
  std::vector<int> operands;
  expect("(");
  if (accept(")")) fail(Code::E0632, op_span, fmt::format("{} takes {} operand{}, got 0", op, arity, arity == 1 ? "" : "s"));
  size_t begin = at_ - 1, count = 0;
  do {
    int id = parse_value();
    if (++count <= size_t(arity)) operands.push_back(id);
  } while (accept(","));
  expect(")");
  if (count != size_t(arity)) fail(Code::E0632, since(begin), fmt::format("{} takes {} operand{}, got {}", op, arity, arity == 1 ? "" : "s", count));
  return operands;
}

// --- accesses ---

BufferId KernelLineReader::parse_buffer() {
  skip_spaces();
  size_t begin = at_;
  std::string name;
  if (peek() == '"') {
    name = parse_string();
  } else {
    if (peek() == '%') ++at_;
    while (is_word(peek()) || peek() == '.') ++at_;
    name = text_.substr(begin, at_ - begin);
    if (!is_plain_name(name) && !is_node_name(name)) fail(Code::E0630, name.empty() ? here() : since(begin), "expected a buffer such as fc1.weight or %12");
  }
  size_t ordinal = accept("@") ? size_t(parse_integer(INT32_MAX, "which buffer of that name")) : 1;
  auto it = references_.find(name);
  if (it == references_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, ids] : references_) names.push_back(known);
    std::string hint = nearest(name, names);
    fail(Code::E0637, since(begin), fmt::format("there is no buffer {} above this line", quote(name)),
         hint.empty() ? "" : fmt::format("did you mean {}?", quote(hint)));
  }
  if (ordinal < 1 || ordinal > it->second.size())
    fail(Code::E0637, since(begin), fmt::format("the buffers {} above this line are {}, not {}", quote(name), it->second.size(), ordinal));
  return it->second[ordinal - 1];
}

Access KernelLineReader::parse_access(Written& written) {
  Access access;
  access.buffer = parse_buffer();
  parse_place(access, written);
  return access;
}

void KernelLineReader::parse_place(Access& access, Written& written) {
  expect("[");
  skip_spaces();
  bool more = true;
  if (text_.substr(at_, 4) == "row(") {
    at_ += 4;
    skip_spaces();
    size_t begin = at_;
    written.row.axis = parse_axis_name();
    written.row.span = since(begin);
    expect(")");
    more = accept(",");
  }
  if (more) do
      parse_term(access, written);
    while (accept("+"));
  expect("]");
}

void KernelLineReader::parse_term(Access& access, Written& written) {
  skip_spaces();
  size_t begin = at_;
  int64_t stride = 1;
  if (peek() == '-' || is_digit(peek())) {
    stride = parse_signed("a stride or an offset");
    if (!accept("*")) {
      if (__builtin_add_overflow(access.offset, stride, &access.offset)) fail(Code::E0636, since(begin), "the offset does not fit 64 bits");
      return;
    }
  }
  skip_spaces();
  size_t name = at_;
  std::string_view word = parse_word();
  at_ = name;
  if (!is_value_name(word)) {
    Term term;
    term.axis = parse_axis_name();
    term.stride = stride;
    term.span = since(begin);
    written.terms.push_back(term);
    return;
  }
  int id = parse_value();
  if (access.index_value >= 0) fail(Code::E0630, since(begin), "an address has at most one computed index");
  access.index_value = id;
  access.index_stride = stride;
}

}  // namespace nnc
