// What the others are told of a file is a text of its tensors and metadata; values follow when they are asked for.
#include "engine/weights_file.h"

#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/diagnostics.h"

namespace nnc {
namespace {

TensorFile read_as_weights(const std::string& path) {
  try {
    return read_safetensors(path);
  } catch (const UserError& e) {
    if (e.diagnostic().code != Code::E0404) throw;
    Diagnostic d = e.diagnostic();
    d.help = {"weights are a safetensors file, as `nnc train` writes it (NAME.safetensors)"};
    throw UserError(std::move(d));
  }
}

}  // namespace

WeightsFile::WeightsFile(std::string path, Collectives* workers) : path_(std::move(path)), workers_(workers) {
  if (!is_shared()) {
    file_ = read_as_weights(path_);
    return;
  }
  workers_->together([&] {
    if (is_reader()) workers_->while_others_wait([&] { file_ = read_as_weights(path_); });
  });
  tell_tensors();
}

void WeightsFile::tell_tensors() {
  using Bytes = std::vector<std::byte>;
  Bytes bytes;
  if (is_reader()) {
    nlohmann::json tensors = nlohmann::json::array();
    for (const TensorView& t : file_.tensors) tensors.push_back({t.name, dtype_name(t.dtype), t.shape});
    const std::vector<uint8_t> packed = nlohmann::json::to_cbor({{"tensors", tensors}, {"metadata", file_.metadata}});
    bytes.assign(reinterpret_cast<const std::byte*>(packed.data()), reinterpret_cast<const std::byte*>(packed.data() + packed.size()));
  }
  bytes = workers_->broadcast(std::move(bytes), 0);
  if (is_reader()) return;
  const nlohmann::json told = nlohmann::json::from_cbor(reinterpret_cast<const uint8_t*>(bytes.data()), reinterpret_cast<const uint8_t*>(bytes.data() + bytes.size()));
  for (const auto& t : told["tensors"]) file_.tensors.push_back({t[0].get<std::string>(), *parse_dtype(t[1].get<std::string>()), t[2].get<std::vector<int64_t>>(), nullptr});
  file_.metadata = told["metadata"].get<std::map<std::string, std::string>>();
}

TensorView WeightsFile::read(const TensorView& tensor) {
  if (!is_shared()) return tensor;
  TensorView view = tensor;
  if (!is_reader()) {
    sent_.resize(view.byte_count());
    view.data = sent_.data();
  }
  workers_->broadcast_into({const_cast<std::byte*>(view.data), view.byte_count()}, 0);  // the reader's is only read
  return view;
}

void WeightsFile::check_finite(const StepRunner& runner, bool optimizer) const {
  std::set<std::string> apart;
  const std::vector<bool> begin_so = runner.find_all_non_finite();
  for (size_t i = 0; i < begin_so.size(); ++i)
    if (begin_so[i]) apart.insert(runner.program().persistents[i].name);
  auto check = [&] {
    if (is_reader()) nnc::check_finite(file_, path_, apart, optimizer);
  };
  if (is_shared())
    workers_->together(check);
  else
    check();
}

void WeightsFile::set(StepRunner& runner, bool optimizer) {
  for (size_t i = 0; i < runner.program().persistents.size(); ++i) {
    const PersistentSlot& slot = runner.program().persistents[i];
    if (!slot.trained && !optimizer) continue;
    const TensorView view = read(*file_.find(slot.name));
    if (view.dtype == slot.dtype) {
      runner.set_persistent(i, view.data);
    } else {
      const ConvertedTensor converted = convert_tensor(view, slot.dtype, path_);
      runner.set_persistent(i, converted.view.data);
    }
  }
}

std::map<std::string, std::string> load_tensors(const std::string& path, StepRunner& runner, bool optimizer, Collectives* workers) {
  WeightsFile file(path, workers);
  Diagnostic problem;
  problem.code = Code::E0505;
  problem.place = path;
  problem.notes = tensor_differences(file.tensors(), runner, optimizer);
  if (!problem.notes.empty()) {
    problem.message = fmt::format("{} does not fit the model: {} tensor{} differ{}", path, problem.notes.size(),
                                  problem.notes.size() == 1 ? "" : "s", problem.notes.size() == 1 ? "s" : "");
    keep_first(problem.notes);
    problem.help.push_back("these weights belong to another model, or the model was changed since");
    throw UserError(problem);
  }
  file.check_finite(runner, optimizer);
  file.set(runner, optimizer);
  return file.metadata();
}

}  // namespace nnc
