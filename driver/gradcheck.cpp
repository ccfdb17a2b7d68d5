// nnc gradcheck: whether this model, on this data, is differentiated and compiled right (verify/model_check.h): tables and a verdict as text or as lines of
// JSON. Whatever is wrong is narrowed down to a file of a few lines.
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "driver/commands.h"
#include "driver/graph_file.h"
#include "driver/outputs.h"
#include "driver/signals.h"
#include "verify/model_check.h"

namespace nnc {
namespace {

using Json = nlohmann::ordered_json;

struct GradcheckOptions {
  CommonOptions common;
  std::string weights, out;
  std::optional<int64_t> rows;
  int64_t steps = 3;
};

std::string error_text_of(double e) { return e == 0 ? "0" : fmt::format("{:.1e}", e); }
Json json_error(double e) { return std::isfinite(e) ? Json(e) : Json(fmt::format("{}", e)); }
std::string quoted_list(const std::vector<std::string>& names) { return fmt::format("`{}`", fmt::join(names, "`, `")); }

/// Prints every part of the check as it is done.
class Printer : public CheckObserver {
 public:
  Printer(const Session& session, const CheckSubject& subject) : session_(session), subject_(subject), json_(session.options.json) {}

  void on_rules(const std::vector<RuleReport>& reports) override {
    print("gradient rules against finite differences ({})\n", subject_.data);
    print("  {:<14} {:>5} {:>9} {:>6} {:>8} {:>11}  {}\n", "rule", "nodes", "elements", "kinks", "skipped", "worst error", "at");
    for (const RuleReport& r : reports) {
      print("  {:<14} {:>5} {:>9} {:>6} {:>8} {:>11}  {}{}\n", op_name(r.op), r.nodes, r.elements, r.kinks, r.undefined,
            error_text_of(r.worst.error), place_of(r.at), r.failed ? "  WRONG" : "");
      line({{"rule", op_name(r.op)},
            {"nodes", r.nodes},
            {"elements", r.elements},
            {"kinks", r.kinks},
            {"skipped", r.undefined},
            {"cut", r.cut_nodes},
            {"worst", json_error(r.worst.error)},
            {"at", place_of(r.at)},
            {"ok", !r.failed}});
    }
  }

  void on_gradient(const LossReport& r, const std::vector<std::string>& unchecked, const std::vector<std::string>& not_finite) override {
    std::string notes;
    if (r.kinks > 0) notes += fmt::format("; {} across a kink, compared with its decisions held", r.kinks);
    if (r.skipped > 0) notes += fmt::format("; {} skipped", r.skipped);
    print("gradient of {}: {} directions and {} single elements of {} parameters ({} elements); worst error {}{}{}\n",
          subject_.differentiated_text(), r.directions, r.elements, r.parameters, r.parameter_elements, error_text_of(r.worst.error), notes,
          r.failed ? "  WRONG" : "");
    if (!unchecked.empty()) print("  nothing could be compared for {}: no difference quotient settles there\n", quoted_list(unchecked));
    line({{"loss",
           {{"directions", r.directions},
            {"elements", r.elements},
            {"kinks", r.kinks},
            {"skipped", r.skipped},
            {"unchecked", unchecked},
            {"not_finite", not_finite},
            {"worst", json_error(r.worst.error)},
            {"ok", !r.failed && r.not_finite.empty()}}}});
  }

  void on_no_gradient() override {
    print("no gradient: {}\n", subject_.results.empty() ? "there is no result of float type" : "there is no parameter that trains");
  }

  void on_compiler(VectorLevel level, int threads) override {
    print("compiled code ({}, {} thread{}) against the 64-bit interpreter\n", vector_level_name(level), threads, threads == 1 ? "" : "s");
    print("  every value may differ by what rounding can make of it, which is measured with rounded operations (`of allowed` is at most 1); the worst error\n"
          "  is relative to the largest value of its tensor, or to what is allowed where that is more, as in a gradient that is zero\n");
    print("  {:<42} {:>10} {:>11} {:>10}\n", "", "values", "worst error", "of allowed");
  }

  void on_comparison(const std::string& what, const Comparison& c) override {
    print("  {:<42} {:>10} {:>11} {:>10.2g}{}\n", what, c.elements, error_text_of(c.worst_error), c.worst, c.difference ? "  WRONG" : "");
    line({{"compared", what},
          {"elements", c.elements},
          {"worst", json_error(c.worst_error)},
          {"of_allowed", json_error(c.worst)},
          {"ok", !c.difference}});
  }

  void on_fault(const Diagnostic& d) override {
    std::fflush(stdout);
    session_.print(d);
  }

  void print_verdict(const Verdict& v) const {
    line({{"verdict", v.failed ? "wrong" : !v.finite ? "not finite" : !v.unchecked.empty() ? "unchecked" : "ok"}});
    if (v.failed)
      print("WRONG: see above\n");
    else if (!v.finite)
      print("not finite: see above; {}\n", v.loss_finite ? "the rest of the gradient agrees with finite differences, compiled code with the interpreter"
                                                         : "no gradient was compared; compiled code agrees with the interpreter");
    else if (!subject_.has_gradient())
      print("ok: compiled code agrees with the interpreter\n");
    else
      print("ok: gradients agree with finite differences{}, compiled code with the interpreter\n",
            v.unchecked.empty() ? "" : ", but for what could not be compared (" + quoted_list(v.unchecked) + ")");
  }

 private:
  void line(const Json& j) const {
    if (json_) print_json_line(j);
  }
  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) const {
    if (!json_) fmt::print(format, std::forward<Args>(args)...);
  }
  std::string place_of(Span span) const { return span.valid() ? session_.sources.describe_line(span) : ""; }

  const Session& session_;
  const CheckSubject& subject_;
  const bool json_;
};

CheckSubject subject_of(Session& session, const GradcheckOptions& o) {
  const std::string& file = o.common.file;
  if (is_graph_file(file) || file == "-") {
    require_none_given(file, {{"--set", !o.common.set.empty()}, {"--data", !o.common.data.empty()}});
    Graph graph = load_graph(session, file);
    return subject_of_graph(graph, file == "-" ? "" : read_text_file(file), file, uint64_t(o.common.seed.value_or(0)), o.rows.value_or(5));
  }
  session.load();
  session.require_train();
  return subject_of_model(session, {o.common.data, o.weights, o.rows, o.steps});
}

/// A file of its own for what fails in a failed case's file.
CaseOutput case_output(const GradcheckOptions& o) {
  auto named = [](const std::string& after, const char* word) { return std::filesystem::path(after).stem().string() + word; };
  CaseOutput output{!o.out.empty() ? o.out : named(o.common.file, ".gradcheck.nnir"), {}};
  if (o.common.file == output.path) output.path = named(output.path, ".smaller.nnir");
  output.command = fmt::format("nnc gradcheck {}", output.path);
  if (!o.common.cpu.empty()) output.command += " --cpu " + o.common.cpu;
  if (o.common.threads) output.command += fmt::format(" --threads {}", *o.common.threads);
  return output;
}

int gradcheck(Session& session, const GradcheckOptions& o) {
  SignalScope signals("interrupted; nothing is known of the rest\n");
  const CheckSubject subject = subject_of(session, o);
  std::vector<std::string> read = files_read(session);
  read.insert(read.end(), {o.common.file, o.weights});
  check_not_an_input(o.out, read, "give another name: --out NAME.nnir");
  Printer printer(session, subject);
  const CaseOutput output = case_output(o);
  Verdict verdict = check_model(subject, session.sources, session.target.level, session.thread_count(), output, printer);
  printer.print_verdict(verdict);
  return verdict.failed || (!verdict.finite && subject.is_model) ? exit_user_error : exit_done;
}

}  // namespace

Command gradcheck_command() {
  auto o = std::make_shared<GradcheckOptions>();
  Command command("gradcheck",
                  "whether this model is differentiated and compiled right\n\n"
                  "  nnc gradcheck digits.nn\n"
                  "  nnc gradcheck digits.nn --weights digits.safetensors --rows 32 --set Hidden=64\n"
                  "  nnc gradcheck digits.gradcheck.nnir          what a failed check has written\n");
  add_common(command, o->common);
  add_data(command, o->common);
  add_threads(command, o->common);
  command.option("--weights,--init", o->weights, "at these weights (.safetensors) instead of the initial values");
  command.option("--rows", o->rows, "rows of the batch (default: up to 13, fewer for large models)")
      .in_range(1, int64_t{1} << 20);
  command.option("--steps", o->steps, "steps in a row that compiled code is followed for (3)").in_range(1, 1000);
  command.option("--out", o->out,
                 "where the smallest failing graph is written (default: FILE.gradcheck.nnir in the current folder)");
  command.run = [o] { return with_session(o->common, [&](Session& session) { return gradcheck(session, *o); }); };
  return command;
}

}  // namespace nnc
