// By names alone, since labels of two classes are often plain numbers: the functions of std that take scores of classes, then every definition of the user's
// that mentions one of those found so far, until there are no more.
#include "frontend/class_scores.h"

#include <algorithm>

#include "frontend/fixed_names.h"

namespace nnc {

bool scores_classes(const Program& program) {
  std::set<std::string> names{"cross_entropy", "binary_cross_entropy", "hinge",     "kl_divergence", "accuracy", "binary_accuracy", "top_k",
                              "perplexity",    "confusion",            "precision", "recall",        "f1",       "argmax"};
  for (size_t before = 0; before != names.size();) {
    before = names.size();
    for (const SourceFile& file : program.files)
      for (const Definition* d : file.definitions)
        if (!file.is_std && mentions(d->ast->body, names)) names.insert(d->name());
  }
  return std::ranges::any_of(program.main->train->statements, [&](const ast::StmtPtr& s) {
    auto in_argument = [&](const ast::Argument& a) { return a.value && mentions(*a.value, names); };
    auto in_value = [&](const ast::ExprPtr& e) { return e && mentions(*e, names); };
    return std::ranges::any_of(s->arguments, in_argument) ||
           std::ranges::any_of(s->bindings, [&](const ast::Binding& b) { return std::ranges::any_of(b.values, in_value); });
  });
}

}  // namespace nnc
