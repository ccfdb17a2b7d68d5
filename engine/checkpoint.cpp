// Tensors tell a model by its shapes. That the same shapes mean the same computation is seen by hashes: of the operations of each
// layer, of the update rule of each parameter, of the content of each data field. A hash is local (an operation with its
// attributes and the places of its operands), so that a change shows in the layer where it was made and not in all after it.
#include "engine/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/philox.h"
#include "engine/tensors.h"
#include "engine/weights_file.h"
#include "ir/text.h"

#ifndef NNC_VERSION
#define NNC_VERSION "0.1.1"
#endif

namespace nnc {
namespace {

using Words = std::vector<std::pair<std::string, std::string>>;

std::string hash_text(uint64_t hash) { return fmt::format("{:016x}", hash); }

/// "image:f32[64] label:class(10)" and back: values have no spaces, names no colons.
std::string join_words(const Words& words) {
  std::string text;
  for (const auto& [name, value] : words) text += fmt::format("{}{}:{}", text.empty() ? "" : " ", name, value);
  return text;
}

Words split_words(const std::string& text) {
  Words words;
  std::istringstream in(text);
  std::string word;
  while (in >> word) {
    size_t colon = word.find(':');
    words.emplace_back(word.substr(0, colon), colon == std::string::npos ? "" : word.substr(colon + 1));
  }
  return words;
}

/// A piece of a graph: its operations as one hash, and beside it the numbers that stand in it, so that a changed number can be
/// said.
class Piece {
 public:
  /// `operands` and `roles` (what the value is outside the piece): whole words.
  void add(const Node& n, const std::string& operands, const std::string& roles) {
    const Attributes& a = n.attributes;
    text_ += fmt::format("{} {} {} {} {}", op_name(n.op), to_string(n.type), a.text, a.begin, int(a.dtype));
    for (const std::vector<int>* list : {&a.axes, &a.lhs, &a.rhs, &a.out}) {
      text_ += '|';
      for (int v : *list) text_ += fmt::format("{},", v);
    }
    text_ += operands + roles + '\n';
    if (n.op == Op::window) text_ += fmt::format("{} {} {} {}\n", a.stride, a.dilation, a.divide, number_text(a.number, n.type.dtype));
    if (n.op == Op::literal) text_ += fmt::format("{}\n", numbers_text(a.values, a.dtype));
    if (n.op != Op::constant) return;
    if (numbers_.size() < most_numbers)
      numbers_.push_back(number_text(a.number, a.dtype));
    else
      text_ += number_text(a.number, a.dtype) + "\n";
  }
  std::string value() const { return fmt::format("{}({})", hash_text(stable_hash(text_)), fmt::join(numbers_, ",")); }

 private:
  static constexpr size_t most_numbers = 8;
  std::string text_;
  std::vector<std::string> numbers_;
};

/// By node: the name of its piece, "" for a node that is in none.
using PieceNames = std::vector<std::string>;

/// All pieces, in the order of their first nodes. A value is called by its place in its own piece, and in another by its place
/// among those that its piece gives away: so every operand is told from every other, and a piece that changes inside leaves the
/// others as they are. `roles`: by node, what it is to the whole.
Words describe_pieces(const Graph& graph, const PieceNames& piece_of, std::vector<std::string> roles) {
  struct Counted {
    Piece piece;
    size_t nodes = 0, given = 0;
  };
  std::vector<bool> given(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i)
    for (NodeId o : graph[NodeId{i}].operands)
      if (!piece_of[i].empty() && piece_of[i] != piece_of[o.value]) given[o.value] = true;
  std::vector<std::string> order;
  std::map<std::string, Counted> pieces;
  std::vector<size_t> place(graph.size()), place_given(graph.size());
  for (uint32_t i = 0; i < graph.size(); ++i) {
    if (piece_of[i].empty()) continue;
    auto [it, is_new] = pieces.try_emplace(piece_of[i]);
    if (is_new) order.push_back(piece_of[i]);
    Counted& c = it->second;
    place[i] = c.nodes++;
    if (given[i]) {
      place_given[i] = c.given++;
      roles[i] += "=given";
    }
    std::string operands;
    for (NodeId o : graph[NodeId{i}].operands)
      operands += piece_of[o.value] == piece_of[i] ? fmt::format(";{}", place[o.value])
                                                   : fmt::format(";{} from {}", place_given[o.value], piece_of[o.value]);
    c.piece.add(graph[NodeId{i}], operands, roles[i]);
  }
  Words words;
  for (const std::string& name : order) words.emplace_back(name, pieces.at(name).piece.value());
  return words;
}

/// "16 in the checkpoint, 255 now" if two pieces differ in their numbers alone; else nothing.
std::string describe_numbers(const std::string& then, const std::string& now) {
  if (then.empty() || now.empty() || then.substr(0, then.find('(')) != now.substr(0, now.find('('))) return {};
  auto numbers = [](const std::string& value) {
    std::vector<std::string> list;
    std::istringstream in(value.substr(value.find('(') + 1));
    for (std::string number; std::getline(in, number, ',');) list.push_back(number.substr(0, number.find(')')));
    return list;
  };
  std::vector<std::string> a = numbers(then), b = numbers(now), changes;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (std::string change = fmt::format("{} in the checkpoint, {} now", a[i], b[i]); a[i] != b[i])
      if (std::find(changes.begin(), changes.end(), change) == changes.end()) changes.push_back(change);
  return fmt::format("{}", fmt::join(changes, "; "));
}

/// What the loss and the layer states are computed from, by layer; "." is what stands in none.
Words describe_layers(const Graph& forward) {
  std::vector<std::string> roles(forward.size());
  for (const Output& o : forward.outputs)
    if (o.name == "loss") roles[o.node.value] += "=loss";
  for (const Update& u : forward.updates) roles[u.node.value] += "=update " + u.name;
  PieceNames layer_of(forward.size());
  std::vector<bool> used(forward.size());
  for (uint32_t i = forward.size(); i-- > 0;) {
    if (!used[i] && roles[i].empty()) continue;
    const Node& n = forward[NodeId{i}];
    layer_of[i] = n.scope.empty() ? "." : n.scope;
    for (NodeId o : n.operands) used[o.value] = true;
  }
  return describe_pieces(forward, layer_of, std::move(roles));
}

/// Hyperparameters that decide what a rule is (a momentum of zero keeps no state) are numbers in it; the others are its scalars.
Words describe_rules(const std::vector<UpdateRule>& rules) {
  Words words;
  for (const UpdateRule& rule : rules) {
    std::vector<std::string> roles(rule.rule.size());
    for (const Update& u : rule.rule.updates) roles[u.node.value] += "=update " + u.name;
    for (const Output& o : rule.rule.outputs) roles[o.node.value] += "=" + o.name;
    Words piece = describe_pieces(rule.rule, PieceNames(rule.rule.size(), rule.parameter), std::move(roles));
    words.insert(words.end(), piece.begin(), piece.end());
  }
  return words;
}

/// Four independent streams of multiply and rotate, so that the memory is the limit. Of fields above `largest` bytes every part
/// counts, but not every byte: a run must not wait minutes for data that it will read in pieces.
uint64_t hash_bytes(const std::byte* data, size_t size) {
  constexpr size_t largest = size_t{1} << 28, blocks = 4096, block = size_t{1} << 14;
  constexpr uint64_t factor = 0x9E3779B97F4A7C15;
  uint64_t lanes[4] = {size, size ^ factor, size + factor, ~size};
  auto add = [&](const std::byte* at, size_t count) {
    size_t i = 0;
    for (; i + 32 <= count; i += 32)
      for (int lane = 0; lane < 4; ++lane) {
        uint64_t word;
        std::memcpy(&word, at + i + 8 * lane, 8);
        lanes[lane] = (lanes[lane] ^ word) * factor;
        lanes[lane] ^= lanes[lane] >> 29;
      }
    uint64_t rest[4] = {};
    std::memcpy(rest, at + i, count - i);
    for (int lane = 0; lane < 4; ++lane) lanes[lane] = ((lanes[lane] ^ rest[lane]) * factor) ^ (lanes[lane] >> 31);
  };
  if (size <= largest)
    add(data, size);
  else
    for (size_t b = 0; b < blocks; ++b) add(data + (size - block) / (blocks - 1) * b, block);
  uint64_t hash = 0;
  for (uint64_t lane : lanes) hash = (hash ^ lane) * factor ^ (hash >> 32);
  return hash;
}

std::string list_options(const TrainSpec& spec) {
  Words words;
  for (const ScalarSpec& s : spec.scalars) words.emplace_back(s.name, fmt::format("{}", s.value));
  words.emplace_back("using.clip_norm", spec.clip_norm ? fmt::format("{}", *spec.clip_norm) : "none");
  return join_words(words);
}

/// Calls `visit` with every name whose value differs: then, now; "" where there is none.
void for_each_difference(
    const std::string& then, const std::string& now,
    const std::function<void(const std::string& name, const std::string& then, const std::string& now)>& visit) {
  Words before = split_words(then), after = split_words(now);
  auto value_in = [](const Words& words, const std::string& name) {
    auto it = std::find_if(words.begin(), words.end(), [&](const auto& w) { return w.first == name; });
    return it == words.end() ? std::string() : it->second;
  };
  for (const auto& [name, value] : before)
    if (std::string other = value_in(after, name); other != value) visit(name, value, other);
  for (const auto& [name, value] : after)
    if (value_in(before, name).empty()) visit(name, "", value);
}

class Comparison {
 public:
  Comparison(const std::map<std::string, std::string>& then, const std::map<std::string, std::string>& now)
      : then_(then), now_(now) {}
  std::vector<std::string> faults, changes;

  /// One value; every checkpoint has it.
  void expect_value(const char* key, const char* what) {
    auto it = then_.find(key);
    std::string before = it == then_.end() ? "not recorded" : it->second;
    if (before != now_.at(key)) faults.push_back(fmt::format("{}: {} in the checkpoint, {} now", what, before, now_.at(key)));
  }
  /// What orders the sums of a batch; before it was recorded, it followed from the batch.
  void expect_pieces() {
    auto pieces = then_.find("nnc.pieces"), batch = then_.find("nnc.batch");
    if (!same("nnc.batch") || batch == then_.end()) return;
    const std::string before = pieces != then_.end() ? pieces->second : fmt::format("{}", PlannedRows(std::atoll(batch->second.c_str())).pieces());
    if (before != now_.at("nnc.pieces")) faults.push_back(fmt::format("pieces of a batch: {} in the checkpoint, {} now", before, now_.at("nnc.pieces")));
  }
  /// Rows that are normalised together, where these are not the whole batch.
  void expect_coupled() {
    auto text = [](const std::map<std::string, std::string>& of) {
      auto it = of.find("nnc.coupled");
      return it == of.end() ? "the whole batch" : it->second + " rows";
    };
    if (text(then_) != text(now_)) faults.push_back(fmt::format("rows that are normalised together: {} in the checkpoint, {} now", text(then_), text(now_)));
  }
  /// What the numbers of a text mean; other data has none.
  void expect_vocabulary() {
    auto before = then_.find("nnc.vocabulary"), after = now_.find("nnc.vocabulary");
    if (before == then_.end() || after == now_.end() || before->second == after->second) return;
    const std::optional<Vocabulary> was = vocabulary_from_json(before->second), is = vocabulary_from_json(after->second);
    faults.push_back("data: the characters of the text are others: " + (was && is ? describe_difference(*was, *is, "in the checkpoint", "now") : "those of the checkpoint cannot be read"));
  }
  /// A value that may change; checkpoints of older versions lack it.
  void note_value(const char* key, const char* what) {
    auto it = then_.find(key);
    if (it != then_.end() && it->second != now_.at(key))
      changes.push_back(fmt::format("{}: {} in the checkpoint, {} now", what, it->second, now_.at(key)));
  }
  template <class Visit>
  void each(const char* key, Visit visit) {
    if (auto it = then_.find(key); it != then_.end()) for_each_difference(it->second, now_.at(key), visit);
  }
  bool same(const char* key) const {
    auto it = then_.find(key);
    return it == then_.end() || it->second == now_.at(key);
  }

 private:
  const std::map<std::string, std::string>&then_, &now_;
};

std::string or_none(const std::string& text) { return text.empty() ? "none" : text; }

void compare(Comparison& c, bool tensors_fit) {
  // What the graph of a layer looks like is a matter of the version too; its number says then what differs.
  if (tensors_fit && c.same("nnc.version")) {
    c.each("nnc.layers", [&](const std::string& layer, const std::string& then, const std::string& now) {
      std::string place = layer == "." ? "outside its layers" : fmt::format("in the layer `{}`", layer);
      std::string numbers = describe_numbers(then, now);
      c.faults.push_back(numbers.empty()
                             ? fmt::format("model: what it computes {} is not what it was, though all shapes are", place)
                             : fmt::format("model: a number {} is {}", place, numbers));
    });
    std::vector<std::pair<std::string, std::vector<std::string>>> rules;  // what differs, for which parameters
    c.each("nnc.updates", [&](const std::string& parameter, const std::string& then, const std::string& now) {
      std::string numbers = describe_numbers(then, now);
      auto it = std::find_if(rules.begin(), rules.end(), [&](const auto& r) { return r.first == numbers; });
      if (it == rules.end()) it = rules.insert(rules.end(), {numbers, {}});
      it->second.push_back(parameter);
    });
    for (const auto& [numbers, parameters] : rules) {
      std::string rule = fmt::format("the rule that updates `{}`{}", parameters[0],
                                     parameters.size() > 1 ? fmt::format(" and {} more", parameters.size() - 1) : "");
      if (numbers.empty())
        c.faults.push_back(fmt::format("optimizer: {} is another", rule));
      else
        c.changes.push_back(fmt::format("optimizer: a number in {} is {}", rule, numbers));
    }
  }
  c.each("nnc.fields", [&](const std::string& field, const std::string& then, const std::string& now) {
    c.faults.push_back(fmt::format("data: field `{}` is {} in the checkpoint, {} now", field, or_none(then), or_none(now)));
  });
  if (c.same("nnc.fields") && c.same("nnc.rows"))
    c.each("nnc.data", [&](const std::string& field, const std::string& then, const std::string& now) {
      c.faults.push_back(
          fmt::format("data: the values of `{}` are not those of the checkpoint's run ({}, {} now)", field, then, now));
    });
  c.expect_vocabulary();
  c.expect_value("nnc.rows", "training rows");
  // Another seed draws other rows, and is said by itself.
  if (c.same("nnc.rows") && c.same("nnc.seed") && !c.same("nnc.split"))
    c.faults.push_back("data: the rows that train are not those of the checkpoint's run: `test` and `valid` set others aside");
  c.expect_value("nnc.batch", "batch");
  c.expect_pieces();
  c.expect_coupled();
  c.expect_value("nnc.shuffle", "shuffle");
  c.expect_value("nnc.seed", "seed");
  c.each("nnc.options", [&](const std::string& option, const std::string& then, const std::string& now) {
    c.changes.push_back(fmt::format("{}: {} in the checkpoint, {} now", option, or_none(then), or_none(now)));
  });
  c.note_value("nnc.version", "version of nnc");
  c.note_value("nnc.cpu", "CPU");
}

}  // namespace

namespace {

/// From the first row's first byte to the last one's last: rows may overlap.
size_t bytes_of(const FieldData& d) {
  return d.rows == 0 ? 0 : size_t((d.rows - 1) * d.row_stride_bytes) + size_t(element_count(d.row_shape)) * byte_size(d.dtype);
}

/// By field.
Words hash_contents(const DataSpec& spec, const RunData& data) {
  Words contents;
  for (size_t i = 0; i < spec.fields.size(); ++i) {
    const FieldData& d = data.fields[i];
    contents.emplace_back(spec.fields[i].name, hash_text(hash_bytes(d.data, bytes_of(d))));
  }
  return contents;
}

std::string trained_rows_text(const std::vector<int64_t>& rows, const Words& contents) {
  const auto bytes = std::as_bytes(std::span(rows));
  return join_words({{"rows", std::to_string(rows.size())},
                     {"split", hash_text(hash_bytes(bytes.data(), bytes.size_bytes()))},
                     {"data", hash_text(stable_hash(join_words(contents)))}});
}

}  // namespace

std::string describe_trained_rows(const std::vector<int64_t>& rows, const DataSpec& spec, const RunData& data) {
  return trained_rows_text(rows, hash_contents(spec, data));
}

std::vector<std::string> compare_trained_rows(const std::string& then, const std::string& now) {
  std::map<std::string, std::string> before, after;
  for (auto& [name, value] : split_words(then)) before[name] = value;
  for (auto& [name, value] : split_words(now)) after[name] = value;
  std::vector<std::string> notes;
  if (before["rows"] != after["rows"]) notes.push_back(fmt::format("{} rows trained, and {} would now", before["rows"], after["rows"]));
  else if (before["split"] != after["split"]) notes.push_back("other rows are set aside than when the weights were trained");
  if (before["data"] != after["data"]) notes.push_back("the data is not what it was when the weights were trained");
  return notes;
}

std::map<std::string, std::string> describe_run(const Compilation& compilation, const TrainPlan& plan, const TrainingGraphs& graphs,
                                                const RunData& data) {
  const TrainSpec& spec = compilation.module->train();
  Words fields;
  for (size_t i = 0; i < spec.data.fields.size(); ++i) {
    const FieldSpec& f = spec.data.fields[i];
    std::string type = f.classes > 0 ? fmt::format("class({})", f.classes) : std::string(dtype_name(f.dtype));
    std::string shape;
    for (int64_t s : f.row_shape) shape += fmt::format("{}{}", shape.empty() ? "" : "x", s);
    fields.emplace_back(f.name, shape.empty() ? type : fmt::format("{}[{}]", type, shape));
  }
  const Words contents = hash_contents(spec.data, data);
  const auto rows = std::as_bytes(std::span(plan.rows));
  std::map<std::string, std::string> description{
          {"nnc.version", NNC_VERSION},
          {"nnc.cpu", fmt::format("{} ({})", compilation.target.cpu, vector_level_name(compilation.target.level))},
          {"nnc.seed", std::to_string(plan.seed)},
          {"nnc.rows", std::to_string(plan.rows.size())},
          {"nnc.split", hash_text(hash_bytes(rows.data(), rows.size_bytes()))},
          {"nnc.batch", std::to_string(plan.batch)},
          {"nnc.pieces", std::to_string(planned_batch(compilation, plan.batch / spec.accumulate).pieces())},
          {"nnc.shuffle", plan.shuffle ? "true" : "false"},
          {"nnc.layers", join_words(describe_layers(graphs.forward.graph))},
          {"nnc.updates", join_words(describe_rules(graphs.rules))},
          {"nnc.options", list_options(spec)},
          {"nnc.fields", join_words(fields)},
          {"nnc.data", join_words(contents)},
          {"nnc.trained", trained_rows_text(plan.rows, contents)}};
  if (graphs.couples_rows) description["nnc.coupled"] = std::to_string(plan.batch / spec.accumulate);
  if (!data.vocabulary.empty()) description["nnc.vocabulary"] = vocabulary_as_json(data.vocabulary);
  return description;
}

EpochRecord resume_from(Compilation& compilation, const std::string& path, const std::map<std::string, std::string>& now, StepRunner& runner,
                        TrainPlan& plan, Collectives* workers) {
  WeightsFile file(path, workers);
  Diagnostic problem;
  problem.place = path;
  std::vector<std::string> tensors = tensor_differences(file.tensors(), runner, true);
  bool tensors_fit = tensors.empty();
  Comparison comparison(file.metadata(), now);
  bool is_checkpoint = file.metadata().count("nnc.step") > 0 && file.metadata().count("nnc.rows") > 0;
  if (is_checkpoint)
    compare(comparison, tensors_fit);
  else
    problem.notes.push_back("the file does not record what a run needs to go on: these are weights, not a checkpoint (use --init)");
  for (const auto* list : {&comparison.faults, &comparison.changes})
    if (!tensors_fit || !comparison.faults.empty() || !is_checkpoint)
      problem.notes.insert(problem.notes.end(), list->begin(), list->end());
  if (size_t differing = tensors.size() + problem.notes.size(); differing > 0) {
    for (auto* list : {&tensors, &problem.notes}) keep_first(*list);
    problem.notes.insert(problem.notes.begin(), tensors.begin(), tensors.end());
    problem.code = tensors_fit ? Code::E0504 : Code::E0505;
    problem.message = fmt::format("{} does not continue this run: {} thing{} differ{}", path, differing,
                                  differing == 1 ? "" : "s", differing == 1 ? "s" : "");
    problem.help.push_back(
        "give the file, options and data of the run that wrote it; or start a new run from its weights with --init");
    throw UserError(problem);
  }
  const std::string& step = file.metadata().at("nnc.step");
  auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), plan.first_step);
  if (error != std::errc() || end != step.data() + step.size() || plan.first_step < 0)
    throw UserError(Code::E0405, fmt::format("{} is damaged: it records step `{}`", path, step), path);
  file.check_finite(runner, true);
  file.set(runner, true);
  EpochRecord epoch;
  if (auto sums = file.metadata().find("nnc.sums"); sums != file.metadata().end()) epoch.sums = sums->second;
  for (const TensorView& t : file.tensors().tensors) {
    if (!is_of_epoch(t.name)) continue;
    const std::span<const std::byte> bytes = file.read(t).bytes();
    epoch.rows.push_back({t.name, t.dtype, t.shape, {bytes.begin(), bytes.end()}});
  }
  if (comparison.changes.empty()) return epoch;
  Diagnostic warning;
  warning.code = Code::E0504;
  warning.severity = Severity::warning;
  warning.place = path;
  warning.message = "the run goes on, but not to the bit as the one that wrote the checkpoint";
  warning.notes = comparison.changes;
  compilation.warn(warning);
  return epoch;
}

}  // namespace nnc
