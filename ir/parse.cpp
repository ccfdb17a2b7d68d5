// Reads a .nnir graph. One node per line, so a fault spoils one line: it is reported, the line's value counts as known but spoilt, lines that use
// it are passed over in silence, and reading goes on. Types are checked against infer_type.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "ir/op_rules.h"
#include "ir/program.h"
#include "ir/regions.h"
#include "ir/text.h"
#include "ir/text_reader.h"
#include "ir/written_places.h"

namespace nnc {
namespace {

class GraphParser : private TextReader {
 public:
  GraphParser(SourceMap& sources, FileId file, Diagnostics& diagnostics) : TextReader(sources, file, diagnostics) {}

  std::optional<Graph> run() {
    if (!check_text()) return std::nullopt;
    try {
      skip_blank_lines();
      if (is_program_text(text_)) fail(Code::E0630, here(), "this is a program of kernels, and a graph is needed", "`nnc opt` and `nnc ir` take programs");
      if (!accept_word("graph")) fail(Code::E0630, here(), "expected `graph @name {`");
      graph_.name = parse_name();
      expect("{");
      end_line();
    } catch (Fault) {
      return std::nullopt;
    }
    if (!parse_lines()) return std::nullopt;
    try {
      end_line();
    } catch (Fault) {
      skip_line();
    }
    skip_blank_lines();
    if (size_t begin = at_; at_ < text_.size()) {
      if (accept_word("graph"))
        report(Code::E0630, since(begin), "a second graph begins here, but a file holds one").help.push_back("give each graph a file of its own");
      else
        report(Code::E0630, here(), "expected the end of the file");
    }
    if (!faulty_) check_exchanges();
    if (!faulty_) resolve_locations();
    if (faulty_) return std::nullopt;
    return std::move(graph_);
  }

 private:
  /// The lines of a graph and the brace that closes it; false if reading was given up.
  bool parse_lines() {
    while (true) {
      if (too_many_faults()) return false;
      skip_blank_lines();
      if (at_ >= text_.size()) {
        report(Code::E0630, here(), fmt::format("the file ends inside graph {}: expected `}}`", at_name(graph_.name)));
        return false;
      }
      if (accept("}")) return true;
      try {
        parse_line();
        end_line();
      } catch (Fault) {
        NNC_CHECK(faulty_, "a line was given up without a message");
        skip_line();
      }
    }
  }

  /// What is known of the graph that is being read.
  struct Known {
    Graph graph;
    std::map<uint32_t, NodeId> values;  ///< by written number; invalid: its line was faulty
    std::map<std::string, Type> inputs, sites;
    std::map<std::string, size_t> persistents;  ///< where they stand in graph.persistents
    std::set<std::string> outputs, updates;
    std::set<std::string> spoilt_persistents;
    std::vector<std::pair<size_t, WrittenPlace>> persistent_places;
    std::vector<std::pair<NodeId, WrittenPlace>> node_places;
  };

  /// A graph between braces, in which numbers and names begin anew.
  Body parse_body() {
    constexpr int deepest = 16;
    skip_spaces();
    const size_t begin = at_;
    expect("{");
    if (depth_ == deepest) fail(Code::E0636, since(begin), fmt::format("regions stand at most {} deep in each other", deepest));
    end_line();
    ++depth_;
    const bool was_faulty = std::exchange(faulty_, false);
    const uint32_t defining = defining_;
    Known outer = std::exchange(known_, {});
    graph_.name = "body";
    const bool closed = parse_lines();
    auto body = std::make_shared<Graph>(std::move(graph_));
    for (auto& [node, place] : known_.node_places) body_places_.emplace_back(body, node, std::move(place));
    known_ = std::move(outer);
    defining_ = defining;
    --depth_;
    const bool is_good = closed && !faulty_;
    faulty_ = faulty_ || was_faulty;
    if (!is_good) throw Fault{};
    if (std::vector<std::string> problems = verify_graph(*body); !problems.empty()) fail(Code::E0635, since(begin), "the body is not sound: " + problems.front());
    return {body};
  }

  // --- parts of a line ---

  uint32_t parse_value_number() {
    skip_spaces();
    if (peek() != '%') fail(Code::E0630, here(), "expected a value such as %3");
    ++at_;
    if (!is_digit(peek())) fail(Code::E0630, here(), "expected a value such as %3");
    return uint32_t(parse_integer(UINT32_MAX - 1, "a value's number"));
  }

  /// A defined value, not that of a scan unless `of_result`; a spoilt one ends the line without another message.
  NodeId parse_value(bool of_result = false) {
    skip_spaces();
    size_t begin = at_;
    uint32_t number = parse_value_number();
    auto it = known_.values.find(number);
    if (it == known_.values.end() || number == defining_) fail(Code::E0633, since(begin), fmt::format("%{} is not defined above this line", number));
    if (!it->second.valid()) throw Fault{};
    if (!of_result && graph_[it->second].op == Op::scan) fail(Code::E0633, since(begin), fmt::format("%{} is a scan, whose value only a result reads", number));
    return it->second;
  }

  std::vector<int> parse_axes() {
    expect_word("axes");
    return parse_list();
  }

  std::vector<int> parse_list() {
    expect("[");
    std::vector<int> axes;
    if (accept("]")) return axes;
    do axes.push_back(int(parse_integer(1 << 20, "an axis")));
    while (accept(","));
    expect("]");
    return axes;
  }

  std::vector<int> parse_labels() {
    std::vector<int> labels;
    for (; is_letter(peek()); ++at_) labels.push_back(peek() >= 'a' ? peek() - 'a' : 26 + (peek() - 'A'));
    return labels;
  }

  void parse_notation(Attributes& a) {
    skip_spaces();
    a.lhs = parse_labels();
    expect(",");
    a.rhs = parse_labels();
    expect("->");
    a.out = parse_labels();
  }

  void parse_attributes(Op op, Attributes& a) {
    auto parse_axis = [&] {
      expect_word("axis");
      a.axes = {int(parse_integer(1 << 20, "an axis"))};
    };
    switch (op) {
      case Op::input:
      case Op::parameter:
      case Op::scalar:
      case Op::exchange:
      case Op::random: a.text = parse_name(); break;
      case Op::constant: a.number = parse_number(); break;
      case Op::literal: a.values = parse_numbers(); break;
      case Op::extent: a.extents = {parse_extent()}; break;
      case Op::reduce_sum:
        a.axes = parse_axes();
        if (accept_word("terms")) {
          a.terms.axes = parse_list();
          expect_word("lanes");
          a.terms.lanes = parse_integer(1, "0 or 1") == 1;
        }
        break;
      case Op::broadcast:
      case Op::transpose:
      case Op::reduce_max:
      case Op::reduce_min: a.axes = parse_axes(); break;
      case Op::iota:
      case Op::argmax: parse_axis(); break;
      case Op::slice:
      case Op::pad:
        parse_axis();
        expect_word("begin");
        a.begin = parse_integer(max_elements, "a position");
        break;
      case Op::window:
        parse_axis();
        if (accept_word("by")) a.axes.push_back(int(parse_integer(1 << 20, "an axis")));
        expect_word("stride");
        a.stride = parse_signed("a stride");
        if (a.axes.size() > 1) {
          expect_word("dilation");
          a.dilation = parse_signed("a dilation");
        }
        expect_word("begin");
        a.begin = parse_signed("a position");
        expect_word("divide");
        a.divide = parse_integer(INT32_MAX, "a divisor");
        expect_word("fill");
        a.number = parse_number();
        break;
      case Op::contract: parse_notation(a); break;
      case Op::gather:
      case Op::scatter_add:
        parse_axis();
        parse_notation(a);
        break;
      case Op::scan:
        expect_word("carried");
        a.carried = int(parse_integer(1 << 20, "a number of carries"));
        expect_word("sliced");
        a.sliced = int(parse_integer(1 << 20, "a number of sequences"));
        expect_word("steps");
        a.extents = {{parse_integer(max_elements, "a number of steps"), false}};
        a.reverse = accept_word("reverse");
        a.body = parse_body();
        break;
      case Op::result: a.begin = parse_integer(1 << 20, "a result's number"); break;
      default: break;
    }
  }

  /// What the written type alone says: the shape and element type of leaves, the target of shape operations.
  void take_from_type(Op op, const Type& type, Attributes& a) {
    switch (op) {
      case Op::input:
      case Op::parameter:
      case Op::constant:
      case Op::literal:
      case Op::result:
        a.dtype = type.dtype;
        a.extents = type.shape;
        break;
      case Op::cast: a.dtype = type.dtype; break;
      case Op::iota:
      case Op::random:
      case Op::broadcast:
      case Op::reshape:
      case Op::scatter_add: a.extents = type.shape; break;
      case Op::slice:
      case Op::pad:
      case Op::window:
        if (a.axes[0] < type.rank()) a.extents = {type.shape[size_t(a.axes[0])]};
        break;
      default: break;
    }
  }

  std::optional<WrittenPlace> parse_place() {
    skip_spaces();
    size_t begin = at_;
    if (!accept_word("loc")) return std::nullopt;
    WrittenPlace place;
    expect("(");
    place.path = parse_string();
    expect(":");
    place.line = parse_integer(max_written_line, "a line number");
    expect(":");
    place.column = parse_integer(max_written_column, "a column number");
    expect(")");
    place.written = since(begin);
    if (place.line == 0 || place.column == 0) fail(Code::E0636, place.written, "lines and columns count from 1");
    return place;
  }

  // --- lines ---

  void parse_line() {
    defining_ = UINT32_MAX;
    skip_spaces();
    if (peek() == '%') return parse_node();
    size_t begin = at_;
    std::string_view word = parse_word();
    for (PersistentKind kind : {PersistentKind::parameter, PersistentKind::frozen, PersistentKind::state, PersistentKind::optimizer_state, PersistentKind::partial})
      if (word == persistent_keyword(kind)) return parse_persistent(kind);
    if (word == "output") return parse_output();
    if (word == "update") return parse_update();
    std::string hint = nearest(word, {"param", "frozen", "state", "optimizer_state", "partial", "output", "update"});
    fail(Code::E0630, since(begin), "expected a node `%n = ...`, param, frozen, state, optimizer_state, partial, output, update or `}`",
         hint.empty() ? "" : fmt::format("did you mean `{}`?", hint));
  }

  void parse_persistent(PersistentKind kind) {
    skip_spaces();
    size_t begin = at_;
    Persistent p;
    p.kind = kind;
    p.name = parse_name();
    Span name_span = since(begin);
    if (known_.persistents.count(p.name) || known_.spoilt_persistents.count(p.name))
      fail(Code::E0637, name_span, fmt::format("{} is declared twice", at_name(p.name)));
    known_.spoilt_persistents.insert(p.name);
    expect(":");
    skip_spaces();
    begin = at_;
    p.type = parse_type();
    if (p.type.has_rows()) fail(Code::E0637, since(begin), fmt::format("{} cannot have the row dimension B: it outlives the batch", at_name(p.name)));
    check_type_size(p.type, since(begin));
    std::optional<WrittenPlace> place = parse_place();
    end_line();
    if (place) known_.persistent_places.emplace_back(graph_.persistents.size(), std::move(*place));
    known_.spoilt_persistents.erase(p.name);
    known_.persistents.emplace(p.name, graph_.persistents.size());
    graph_.persistents.push_back(std::move(p));
  }

  void check_type_size(const Type& type, Span span) {
    std::string error;
    Attributes a;
    a.text = "x";
    a.extents = type.shape;
    a.dtype = type.dtype;
    if (!infer_type(Op::input, {}, a, error)) fail(Code::E0636, span, error);
  }

  void parse_node() {
    size_t begin = at_;
    uint32_t number = parse_value_number();
    auto [slot, fresh] = known_.values.emplace(number, NodeId{});
    if (!fresh) fail(Code::E0633, since(begin), fmt::format("%{} is defined twice", number));
    expect("=");
    defining_ = number;
    skip_spaces();
    begin = at_;
    std::string_view word = parse_word();
    Span op_span = since(begin);
    if (word.empty()) fail(Code::E0630, here(), "expected an operation");
    std::optional<Op> op = parse_op(word);
    if (!op) fail_unknown_op(word, op_span);

    std::vector<NodeId> operands;
    std::vector<Type> operand_types;
    begin = at_;
    if (accept("(") && !accept(")")) {
      do {
        operands.push_back(parse_value(*op == Op::result));
        operand_types.push_back(graph_.type(operands.back()));
      } while (accept(","));
      expect(")");
    }
    if (op_arity(*op) >= 0 && int(operands.size()) != op_arity(*op))
      fail(Code::E0632, operands.empty() ? op_span : since(begin),
           fmt::format("{} takes {} operand{}, got {}", word, op_arity(*op), op_arity(*op) == 1 ? "" : "s", operands.size()));
    Attributes a;
    parse_attributes(*op, a);
    expect(":");
    skip_spaces();
    begin = at_;
    Type written = parse_type();
    Span type_span = since(begin);
    take_from_type(*op, written, a);
    if (*op == Op::window) require_exact(written.dtype, a.number, number_span_);
    if (*op == Op::constant) require_exact(a.dtype, a.number, number_span_);
    for (size_t i = 0; i < a.values.size(); ++i) require_exact(a.dtype, a.values[i], number_spans_[i]);
    std::string error;
    std::optional<Type> type = infer_type(*op, operand_types, a, error);
    if (!type) fail(Code::E0635, op_span, fmt::format("{}: {}", word, error));
    if (*type != written)
      fail(Code::E0634, type_span, fmt::format("the type is written {}, but {} gives {}", to_string(written), word, to_string(*type)));
    check_name(*op, a, written, op_span);
    if (*op == Op::result) check_result(a, operands[0], written, op_span);

    std::string scope = accept_word("scope") ? parse_string() : "";
    int group = accept_word("group") ? int(parse_integer(INT32_MAX, "a group")) : -1;
    std::optional<WrittenPlace> place = parse_place();
    end_line();
    slot->second = graph_.add(*op, std::move(operands), std::move(a), {}, std::move(scope));
    graph_[slot->second].group = group;
    if (*op == Op::exchange) exchanges_.emplace_back(slot->second, op_span);
    if (place) known_.node_places.emplace_back(slot->second, std::move(*place));
  }

  void check_result(const Attributes& a, NodeId of, const Type& type, Span span) {
    const Node& scan = graph_[of];
    if (scan.op != Op::scan) fail(Code::E0635, span, "result: its operand is no scan");
    const size_t count = scan.attributes.body->outputs.size();
    if (size_t(a.begin) >= count) fail(Code::E0635, span, fmt::format("result: number {} of a scan that has {}", a.begin, count));
    if (Type given = result_type(scan, int(a.begin)); given != type)
      fail(Code::E0634, span, fmt::format("the type is written {}, but the scan gives {}", to_string(type), to_string(given)));
  }

  void check_exchanges() {
    for (const auto& [n, span] : exchanges_) {
      const Node& node = graph_[n];
      const std::string& name = node.attributes.text;
      const auto update = std::ranges::find(graph_.updates, name, &Update::name);
      const bool is_read = std::ranges::any_of(graph_.nodes(), [&](const Node& other) { return other.op == Op::parameter && other.attributes.text == name; });
      if (find_persistent(name)->kind != PersistentKind::partial) report(Code::E0637, span, fmt::format("exchange: {} is not declared as partial", at_name(name)));
      else if (update == graph_.updates.end() || update->node != node.operands[0]) report(Code::E0637, span, fmt::format("exchange: {} is not updated with the operand, a share's part", at_name(name)));
      else if (is_read) report(Code::E0637, span, fmt::format("exchange: {} is read by a parameter, too, as it was before the step", at_name(name)));
    }
  }

  void check_name(Op op, const Attributes& a, const Type& type, Span span) {
    if (op == Op::parameter || op == Op::exchange) {
      if (known_.spoilt_persistents.count(a.text)) throw Fault{};
      const Persistent* p = find_persistent(a.text);
      if (!p) fail_unknown_persistent(a.text, span);
      if (p->type != type)
        fail(Code::E0637, span, fmt::format("{} is declared {}, not {}", at_name(a.text), to_string(p->type), to_string(type)));
    }
    if (op == Op::input) {
      auto [it, fresh] = known_.inputs.emplace(a.text, type);
      if (!fresh && it->second != type)
        fail(Code::E0637, span, fmt::format("input {} is {} further up, not {}", at_name(a.text), to_string(it->second), to_string(type)));
    }
    if (op == Op::random) {
      auto [it, fresh] = known_.sites.emplace(a.text, type);
      if (!fresh && it->second != type)
        fail(Code::E0637, span, fmt::format("site {} draws {} further up, not {}", at_name(a.text), to_string(it->second), to_string(type)));
    }
  }

  [[noreturn]] void fail_unknown_persistent(const std::string& name, Span span) {
    std::vector<std::string> names;
    for (const Persistent& p : graph_.persistents) names.push_back(p.name);
    std::string hint = nearest(name, names);
    fail(Code::E0637, span, fmt::format("{} is not declared above this line", at_name(name)),
         hint.empty() ? "" : fmt::format("did you mean {}?", at_name(hint)));
  }

  const Persistent* find_persistent(const std::string& name) const {
    auto it = known_.persistents.find(name);
    return it == known_.persistents.end() ? nullptr : &graph_.persistents[it->second];
  }

  void parse_output() {
    skip_spaces();
    size_t begin = at_;
    Output o;
    o.name = parse_string();
    Span span = since(begin);
    o.node = parse_value();
    end_line();
    if (!known_.outputs.insert(o.name).second) fail(Code::E0637, span, fmt::format("output {} is given twice", quote(o.name)));
    graph_.outputs.push_back(std::move(o));
  }

  void parse_update() {
    skip_spaces();
    size_t begin = at_;
    Update u;
    u.name = parse_name();
    Span span = since(begin);
    u.node = parse_value();
    end_line();
    if (known_.spoilt_persistents.count(u.name)) throw Fault{};
    const Persistent* p = find_persistent(u.name);
    if (!p) fail_unknown_persistent(u.name, span);
    if (p->kind == PersistentKind::frozen) fail(Code::E0637, span, fmt::format("{} is frozen and cannot be updated", at_name(u.name)));
    if (p->type != graph_.type(u.node))
      fail(Code::E0637, span,
           fmt::format("{} is {}, but its new value is {}", at_name(u.name), to_string(p->type), to_string(graph_.type(u.node))));
    if (!known_.updates.insert(u.name).second) fail(Code::E0637, span, fmt::format("{} is updated twice", at_name(u.name)));
    graph_.updates.push_back(std::move(u));
  }

  void resolve_locations() {
    std::vector<std::pair<const WrittenPlace*, Span*>> all;
    for (auto& [index, place] : known_.persistent_places) all.emplace_back(&place, &graph_.persistents[index].span);
    for (auto& [node, place] : known_.node_places) all.emplace_back(&place, &graph_[node].span);
    for (auto& [body, node, place] : body_places_) all.emplace_back(&place, &(*body)[node].span);
    if (const WrittenPlace* far = resolve_places(sources_, all, text_.size()))
      report(Code::E0636, far->written, fmt::format("the locations in {} reach too far", quote(far->path)));
  }

  uint32_t defining_ = UINT32_MAX;     ///< the value whose line is being read
  int depth_ = 0;                      ///< of bodies around
  Known known_;
  Graph& graph_ = known_.graph;
  std::vector<std::pair<NodeId, Span>> exchanges_;  ///< in the graph itself: a body has no persistents
  std::vector<std::tuple<std::shared_ptr<Graph>, NodeId, WrittenPlace>> body_places_;
};

}  // namespace

std::optional<Graph> parse_graph(SourceMap& sources, FileId file, Diagnostics& diagnostics) {
  return GraphParser(sources, file, diagnostics).run();
}

}  // namespace nnc
