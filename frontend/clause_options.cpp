// Options by their names.
#include "frontend/clause_options.h"

#include <fmt/format.h>

#include <algorithm>

namespace nnc {

bool check_options_once(EvaluationContext& ctx, const std::vector<ast::Argument>& options, std::string_view of) {
  bool is_good = true;
  for (auto a = options.begin(); a != options.end(); ++a) {
    if (!a->name) continue;
    auto first =
        std::find_if(options.begin(), a, [&](const ast::Argument& o) { return o.name && o.name->text == a->name->text; });
    if (first == a) continue;
    ctx.error(Code::E0204, a->span, fmt::format("`{}` of `{}` is given twice", a->name->text, of))
        .labels.push_back({first->span, "the first"});
    is_good = false;
  }
  return is_good;
}

}  // namespace nnc
