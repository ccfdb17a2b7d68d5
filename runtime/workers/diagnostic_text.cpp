// JSON. What is not UTF-8 (a path may be) becomes question marks, as on a terminal.
#include "runtime/workers/diagnostic_text.h"

#include <nlohmann/json.hpp>

namespace nnc {

using Json = nlohmann::json;

std::string diagnostic_to_text(const Diagnostic& d) {
  auto span = [](const Span& s) { return Json{s.file.value, s.begin, s.end}; };
  Json labels = Json::array();
  for (const Label& label : d.labels) labels.push_back({span(label.span), label.text});
  Json all{int(d.code), int(d.severity), d.message, span(d.span), d.span_text, d.place, labels, d.notes, d.help};
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Diagnostic diagnostic_from_text(const std::string& text) {
  Json all = Json::parse(text);
  auto span = [](const Json& s) {
    Span result;
    result.file.value = s[0].get<decltype(result.file.value)>();
    result.begin = s[1], result.end = s[2];
    return result;
  };
  Diagnostic d;
  d.code = Code(all[0].get<int>());
  d.severity = Severity(all[1].get<int>());
  d.message = all[2], d.span = span(all[3]), d.span_text = all[4], d.place = all[5];
  for (const Json& label : all[6]) d.labels.push_back({span(label[0]), label[1]});
  d.notes = all[7].get<std::vector<std::string>>();
  d.help = all[8].get<std::vector<std::string>>();
  return d;
}

}  // namespace nnc
