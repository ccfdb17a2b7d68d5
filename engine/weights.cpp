// Weights in and out of a runner: by full name, in row-major order, whatever order the compiled program keeps them in.

#include "engine/weights.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <future>
#include <new>
#include <ranges>
#include <set>
#include <string_view>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "base/system_error.h"
#include "engine/epoch_reports.h"
#include "engine/tensors.h"
#include "runtime/initialize.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

/// Index of the first element that is NaN or infinite, or -1.
int64_t find_non_finite(const TensorView& view) {
  if (!is_float(view.dtype)) return -1;
  size_t size = byte_size(view.dtype);
  for (size_t i = 0; i < view.element_count(); ++i)
    if (!std::isfinite(double(read_element(view.data + i * size, view.dtype)))) return int64_t(i);
  return -1;
}

/// "m" of "optimizer.m.fc1.weight".
std::string state_name(const std::string& tensor) {
  size_t begin = std::string_view("optimizer.").size();
  return tensor.substr(begin, tensor.find('.', begin) - begin);
}

bool is_optimizer_state(const std::string& tensor) { return tensor.starts_with("optimizer."); }

std::string list_states(const std::set<std::string>& names) {
  if (names.empty()) return "no states";
  constexpr size_t most = 10;
  std::vector<std::string> first(names.begin(), std::next(names.begin(), std::ptrdiff_t(std::min(most, names.size()))));
  return fmt::format("`{}`{}", fmt::join(first, "`, `"),
                     names.size() > most ? fmt::format(" and {} more", names.size() - most) : "");
}

}  // namespace

Tensor initial_value(const ParameterSpec& spec, uint64_t seed) {
  Tensor t{spec.persistent.type.dtype, shape_at(spec.persistent.type, 1), {}};
  t.values = draw(spec.initializer, t.shape, seed, spec.persistent.name);
  for (double& v : t.values) v = rounded_to(t.dtype, v);
  return t;
}

StepProgram persistents_only(const std::vector<ParameterSpec>& specs) {
  StepProgram program;
  for (const ParameterSpec& spec : specs) {
    auto same = [&](const PersistentSlot& s) { return s.name == spec.persistent.name; };
    if (std::any_of(program.persistents.begin(), program.persistents.end(), same)) continue;
    PersistentSlot slot{spec.persistent.name,
                        spec.persistent.type.dtype,
                        shape_at(spec.persistent.type, 1),
                        {},
                        program.persistent_bytes,
                        spec.persistent.kind != PersistentKind::optimizer_state};
    program.persistent_bytes += (slot.elements() * int64_t(byte_size(slot.dtype)) + 63) / 64 * 64;
    program.persistents.push_back(std::move(slot));
  }
  return program;
}

StepProgram model_weights(Compilation& compilation) {
  std::vector<ParameterSpec> specs = compilation.require(compilation.module->build_train_graph(compilation.diagnostics)).parameters;
  std::erase_if(specs, [](const ParameterSpec& s) { return s.persistent.kind == PersistentKind::optimizer_state; });
  return persistents_only(specs);
}

std::vector<ParameterSpec> step_persistents(const TrainingGraphs& graphs) {
  std::vector<ParameterSpec> specs = graphs.forward.parameters;
  for (const UpdateRule& rule : graphs.rules) specs.insert(specs.end(), rule.states.begin(), rule.states.end());
  return specs;
}

void initialize(StepRunner& runner, const std::vector<ParameterSpec>& specs, uint64_t seed) {
  const std::vector<PersistentSlot>& slots = runner.program().persistents;
  std::unordered_map<std::string_view, const ParameterSpec*> by_name;
  for (const ParameterSpec& spec : specs) by_name.emplace(spec.persistent.name, &spec);
  auto set = [&](size_t index) {
    const PersistentSlot& slot = slots[index];
    auto found = by_name.find(slot.name);
    if (found == by_name.end()) return;
    const Initializer& how = found->second->initializer;
    if (how.kind == Initializer::Kind::constant && how.zero_row < 0)
      runner.fill_persistent(index, to_bytes({how.a}, slot.dtype).data());
    else
      runner.set_persistent(index, to_bytes(draw(how, slot.shape, seed, slot.name), slot.dtype).data());
  };
  // Each has its own stream of random numbers and its own memory: so they can be drawn side by side.
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t index; (index = next++) < slots.size();) set(index);
  };
  constexpr int64_t worth_threads = int64_t(1) << 20;  // bytes
  std::vector<std::future<void>> others;
  for (int t = 1; t < runner.team().size() && runner.program().persistent_bytes >= worth_threads; ++t)
    others.push_back(std::async(std::launch::async | std::launch::deferred, work));
  work();
  for (std::future<void>& other : others) other.get();
}

void check_finite(const TensorFile& file, const std::string& path, const std::set<std::string>& apart, bool optimizer) {
  Diagnostic problem;
  problem.code = Code::E0505;
  problem.place = path;
  for (const TensorView& t : file.tensors) {
    if (is_of_epoch(t.name)) continue;
    bool of_optimizer = is_optimizer_state(t.name);
    int64_t at = of_optimizer && !optimizer ? -1 : find_non_finite(t);
    if (at < 0) continue;
    double found = read_element(t.data + size_t(at) * byte_size(t.dtype), t.dtype);
    if (of_optimizer && !std::isnan(found)) continue;
    if (apart.contains(t.name)) continue;
    problem.notes.push_back(fmt::format("`{}` {}: element {} is {}", t.name, shape_text(t.shape), at, found));
  }
  if (problem.notes.empty()) return;
  problem.message = fmt::format("{} holds NaN or infinite weights in {} tensor{}", path, problem.notes.size(),
                                problem.notes.size() == 1 ? "" : "s");
  keep_first(problem.notes);
  problem.help.push_back("the training that wrote them diverged; a smaller learning rate often helps");
  throw UserError(problem);
}

void save_tensors(const std::string& path, const StepRunner& runner, const PersistentReader& read, bool optimizer, const std::map<std::string, std::string>& metadata,
                  const std::vector<StoredTensor>& others) {
  try {
    std::vector<TensorView> views;
    std::vector<size_t> persistents;  // by view
    for (size_t i = 0; i < runner.program().persistents.size(); ++i) {
      const PersistentSlot& slot = runner.program().persistents[i];
      if (!slot.trained && !optimizer) continue;
      // What stands here as the file has it is written from its place.
      const bool stands_here = slot.order.empty() && !runner.is_in_parts(i);
      views.push_back({slot.name, slot.dtype, slot.shape, stands_here ? runner.persistent_block().data() + slot.offset : nullptr});
      persistents.push_back(i);
    }
    for (const StoredTensor& t : others) views.push_back(t.view());
    write_safetensors(path, views, metadata, [&](size_t view) {
      std::vector<std::byte> bytes(views[view].byte_count());
      const size_t index = persistents[view];
      runner.is_in_parts(index) ? read(index, bytes.data()) : runner.get_persistent(index, bytes.data());
      return bytes;
    });
  } catch (const std::bad_alloc&) {
    throw UserError(Code::E0413, fmt::format("cannot write `{}`: {}", path, error_text(ENOMEM)), path);
  }
}

bool is_of_epoch(std::string_view name) { return name.starts_with(epoch_rows_prefix); }

void keep_first(std::vector<std::string>& notes) {
  constexpr size_t most = 20;
  if (notes.size() <= most + 1) return;
  size_t more = notes.size() - most;
  notes.resize(most);
  notes.push_back(fmt::format("and {} more", more));
}

std::vector<std::string> tensor_differences(const TensorFile& file, const StepRunner& runner, bool optimizer) {
  std::vector<std::string> notes;
  // Another optimiser keeps other states for every parameter, which is one difference.
  std::set<std::string> kept_then, kept_now;
  for (const TensorView& t : file.tensors)
    if (optimizer && is_optimizer_state(t.name)) kept_then.insert(state_name(t.name));
  for (const PersistentSlot& slot : runner.program().persistents)
    if (optimizer && is_optimizer_state(slot.name)) kept_now.insert(state_name(slot.name));
  bool same_states = kept_then == kept_now;
  for (const PersistentSlot& slot : runner.program().persistents) {
    if (!slot.trained && (!optimizer || !same_states)) continue;
    const TensorView* found = file.find(slot.name);
    if (!found)
      notes.push_back(fmt::format("missing: `{}` {}", slot.name, shape_text(slot.shape)));
    else if (found->shape != slot.shape)
      notes.push_back(fmt::format("shape: `{}` is {} in the file, {} in the model{}", slot.name, shape_text(found->shape), shape_text(slot.shape),
                                  std::ranges::equal(found->shape, std::views::reverse(slot.shape)) ? ": transposed" : ""));
  }
  for (const TensorView& t : file.tensors) {
    if (is_of_epoch(t.name)) continue;
    int index = runner.find_persistent(t.name);
    bool state = is_optimizer_state(t.name);
    bool wanted = index >= 0 && (optimizer || runner.program().persistents[size_t(index)].trained);
    if (wanted || (state && (!optimizer || !same_states))) continue;
    notes.push_back(fmt::format("extra: `{}` {}, which the model does not have", t.name, shape_text(t.shape)));
  }
  if (!same_states)
    notes.insert(notes.begin(), fmt::format("optimizer: {} in the file, {} now (tensors optimizer.*)", list_states(kept_then),
                                            list_states(kept_now)));
  return notes;
}

std::map<std::string, std::string> record_steps(int64_t steps, int64_t steps_per_epoch) {
  return {{"nnc.step", std::to_string(steps)}, {"nnc.epoch", std::to_string(std::max<int64_t>(steps - 1, 0) / steps_per_epoch)}};
}

std::map<std::string, double> trained_so_far(const std::map<std::string, std::string>& metadata) {
  auto number = [&](const char* key) {
    auto it = metadata.find(key);
    return it == metadata.end() ? 0.0 : double(std::strtoll(it->second.c_str(), nullptr, 10));
  };
  return {{"step", number("nnc.step")}, {"epoch", number("nnc.epoch")}};
}

DrawPosition trained_draws(const std::map<std::string, std::string>& metadata, uint64_t seed) {
  auto it = metadata.find("nnc.step");
  return {seed, it == metadata.end() ? 0 : std::strtoull(it->second.c_str(), nullptr, 10), 0};
}

std::string beside(const std::string& weights, const std::string& word) {
  std::string ending = ".safetensors";
  std::string stem = weights;
  if (stem.size() > ending.size() && stem.ends_with(ending)) stem.resize(stem.size() - ending.size());
  return stem + "." + word + ending;
}

}  // namespace nnc
