// Two CPUs of one level can differ in what else they have, of which code for either may make use. So another CPU's name, at the same level too, leads to the least CPU of the level.
#include "engine/common_target.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "codegen/codegen.h"

namespace nnc {
namespace {

using Json = nlohmann::json;

std::string to_text(const Target& t) { return Json{t.cpu, vector_level_name(t.level), t.l1_bytes, t.l2_bytes, t.l3_bytes}.dump(); }

Target from_text(const std::string& text) {
  const Json all = Json::parse(text);
  Target t = target_with_level(*parse_vector_level(all[1].get<std::string>()));
  t.cpu = all[0];
  t.l1_bytes = all[2], t.l2_bytes = all[3], t.l3_bytes = all[4];
  return t;
}

std::string describe(const Target& t) { return fmt::format("{} ({})", t.cpu, vector_level_name(t.level)); }

}  // namespace

CommonTarget agree_on_target(Collectives& workers, const Target& own) {
  std::vector<Target> all;
  for (const std::string& text : workers.gather(to_text(own))) all.push_back(from_text(text));
  auto is_same = [&](const Target& t) { return t.cpu == all[0].cpu && t.level == all[0].level; };
  CommonTarget result{own, std::nullopt};
  if (!std::ranges::all_of(all, is_same)) {
    const VectorLevel lowest = std::ranges::min(all, {}, &Target::level).level;
    result.target = target_by_name(std::string(vector_level_name(lowest)));
    Diagnostic d;
    d.code = Code::E0548;
    d.severity = Severity::warning;
    d.message = fmt::format("the CPUs of the workers differ, so all compile for {}", describe(result.target));
    for (int rank = 0; rank < workers.size(); ++rank)
      if (rank == 0 || !is_same(all[size_t(rank)])) d.notes.push_back(fmt::format("{} has {}", workers.transport().describe(rank), describe(all[size_t(rank)])));
    constexpr size_t most_notes = 8;
    if (d.notes.size() > most_notes) {
      const size_t more = d.notes.size() - most_notes;
      d.notes.resize(most_notes);
      d.notes.push_back(fmt::format("and {} more", more));
    }
    d.help.push_back(fmt::format("the bits are those of one worker with `--cpu {}`", vector_level_name(lowest)));
    result.difference = std::move(d);
  }
  for (const Target& t : all) {
    result.target.l1_bytes = std::min(result.target.l1_bytes, t.l1_bytes);
    result.target.l2_bytes = std::min(result.target.l2_bytes, t.l2_bytes);
    result.target.l3_bytes = std::min(result.target.l3_bytes, t.l3_bytes);
  }
  return result;
}

}  // namespace nnc
