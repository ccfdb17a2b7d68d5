// What the frontend gives to the rest of nnc: a checked module, from which it builds tensor graphs on request.
//
//   SourceMap + file --load_module--> Module --build_train_graph / build_eval_graph / build_predict_graph / build_definition / build_declared--> Graph
//
// Everything a run needs beside the graphs stands in TrainSpec: data, batches, epochs, initial values, update rules, reports.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/data_source.h"
#include "base/diagnostics.h"
#include "base/initializer.h"
#include "base/source.h"
#include "base/split.h"
#include "ir/graph.h"

namespace nnc {

/// One persistent of the model, in order of first use.
struct ParameterSpec {
  Persistent persistent;                   ///< full name, type, kind (parameter, frozen, state)
  std::vector<std::string> dimension_names;  ///< "Out", "In"; "" where a dimension has none
  Initializer initializer;
};

/// A field as it is declared: the graph's input has its type and, after the rows, its shape. The path of its source has been made relative to
/// the folder that the .nn file's path names.
struct FieldSpec : DataField {
  std::vector<std::string> dimension_names;
  Span span;
};

struct DataSpec {
  std::string name;
  std::vector<FieldSpec> fields;
  SplitSpec test, valid;
  Span span;
};

struct ReportSpec {
  std::string name;
  int64_t every = 0;                       ///< steps; 0: in every line of the log
};

/// A run-time scalar of the graphs: "step" and "epoch" are kept by the runtime, the others are hyperparameters.
struct ScalarSpec {
  std::string name;                        ///< "using.lr"
  double value = 0;
};

/// The optimiser's rule for one parameter: inputs "value" and "grad" (parameter's shape), persistents for its states ("optimizer.m.fc1.weight"),
/// scalars; updates "value" and the states. Outputs: the hyperparameters that are not fixed numbers, by their paths ("using.lr").
struct UpdateRule {
  std::string parameter;
  Graph rule;
  std::vector<ParameterSpec> states;       ///< kind optimizer_state, with initial values
};

struct TrainSpec {
  DataSpec data;
  std::vector<DataSpec> other_data;        ///< blocks that `test from` names
  int64_t batch = 32;                      ///< rows that are computed at once; 0: all
  int64_t accumulate = 1;                  ///< so many of these make up the whole batch of an update
  int64_t pieces = 0;                      ///< into how many shares sums cut the whole batch; 0: as many as batch_plan.h says
  Span batch_span;                         ///< of the last of those two options, where one is written
  int64_t epochs = 0, steps = 0;           ///< exactly one is non-zero, unless `epochs 0` was asked for
  uint64_t seed = 0;
  std::vector<ReportSpec> reports;
  int64_t report_every = 0;
  int64_t save_every = 0;                  ///< steps; 0: at the end only
  std::optional<double> clip_norm;
  std::vector<ScalarSpec> scalars;
  bool scores_classes = false;             ///< loss or reports take what the model gives for scores of classes
  Span span;
};

/// --set PATH=VALUE, --seed and the like, applied before checking.
struct Override {
  std::string path, value;
};

struct LoadOptions {
  std::vector<Override> overrides;
  /// Reads a file for `use`; nothing if it cannot be read.
  std::function<std::optional<std::string>(const std::string& path)> read_file;
};

/// What a definition's result or argument looks like, for run, predict and summary.
struct ArgumentSpec {
  std::string name;
  Type type;
  int64_t classes = 0;
  std::vector<std::string> dimension_names;
  std::string field;  ///< of the model in a train block: the data field that it is called with; "" for anything else
};

/// One layer instance of the model as `summary` shows it.
struct LayerSummary {
  std::string path, kind;                  ///< "fc1", "Dense"; a model that declares parameters itself: "" and its name
  Type output;
  std::vector<std::string> output_names;
  int64_t parameters = 0;                  ///< with those of the layers inside; of a model its own alone
  Span call;                               ///< where it is called, the first time
};

/// A condition of a definition, `where B > 1`, that the number of rows decides, which a step is given.
struct RowCondition {
  enum class Comparison : uint8_t { equal, not_equal, less, less_equal, greater, greater_equal };
  Extent left, right;
  Comparison comparison{};
  std::string text;        ///< as it is written
  std::string left_text, right_text;
  std::string reason;      ///< what is said where it does not hold; "" where the definition says nothing
  std::string definition;  ///< who needs it
  Span call;
  std::optional<Span> stated;  ///< in a user's file
  bool holds(int64_t rows) const;
};
/// An error E0310 if one of them does not hold for so many rows. `circumstance` says who has them: "the last batch of an epoch has 1 row".
std::optional<Diagnostic> find_unmet(const std::vector<RowCondition>&, int64_t rows, std::string_view circumstance);

/// A graph made by the frontend, with what it refers to.
struct BuiltGraph {
  Graph graph;                             ///< outputs: loss and the reports by name (train, eval); result, or result.0 ... (predict, run)
  std::vector<ParameterSpec> parameters;   ///< persistents of `graph`
  std::vector<ArgumentSpec> inputs;        ///< in order
  std::vector<LayerSummary> layers;
  std::vector<RowCondition> row_conditions;  ///< all hold for every number of rows that the graph may be evaluated on
};

class Module {
 public:
  virtual ~Module() = default;
  virtual bool has_train() const = 0;
  virtual const TrainSpec& train() const = 0;
  /// The forward graph of a step (`training` true): outputs "loss" (f32 scalar) and every report; updates of layer states.
  virtual std::optional<BuiltGraph> build_train_graph(Diagnostics&) const = 0;
  /// The optimiser's rules for the trainable parameters, in the order of `parameters`.
  virtual std::vector<UpdateRule> build_update_rules(const std::vector<ParameterSpec>& parameters, Diagnostics&) const = 0;
  /// `training` false: outputs "loss" and the reports.
  virtual std::optional<BuiltGraph> build_eval_graph(Diagnostics&) const = 0;
  /// The model that `train` uses, as a function of its inputs. Outputs "result" or "result.0", ...
  virtual std::optional<BuiltGraph> build_predict_graph(Diagnostics&) const = 0;
  /// Any fn, layer or model by name for `nnc run`: argument shapes come from the actual inputs, other dimensions from `dims`.
  virtual std::optional<BuiltGraph> build_definition(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                                     const std::map<std::string, int64_t>& dims, Diagnostics&) const = 0;
  /// The same, where an input that is not among `described` has the type and the sizes that its declaration says: numbers, dims of
  /// the file, what `dims` gives, the names of described inputs' sizes, and `B`, the rows of a batch. Asks for what is open.
  virtual std::optional<BuiltGraph> build_declared(const std::string& name, const std::vector<ArgumentSpec>& described,
                                                   const std::map<std::string, int64_t>& dims, Diagnostics&) const = 0;
  virtual std::vector<std::string> definition_names() const = 0;
  virtual std::vector<std::string> model_names() const = 0;  ///< of the file itself

  /// One `test` block: expectations that the checker could decide (shapes, error texts) are decided; the rest are graphs to evaluate.
  struct Expectation {
    enum class Kind : uint8_t { equal, check_gradients, decided };
    Kind kind{};
    Span span;
    Graph graph;          ///< equal: outputs "left", "right", of a comparison "first", "second" too; check_gradients: inputs "x0", ... with `inputs` as values, output "result"
    std::vector<std::pair<std::string, std::vector<double>>> inputs;
    /// A gradient that the expectation mentions: graph input `input` stands for the gradient of the sum of node `of` with respect to node
    /// `wrt`. Whoever evaluates the expectation differentiates and feeds them, in this order.
    struct GradientRequest {
      std::string input;
      NodeId of, wrt;
    };
    std::vector<GradientRequest> gradients;
    std::vector<ParameterSpec> parameters;  ///< persistents of `graph`: layers that the test instantiates
    double tolerance = 1e-6;
    bool passed = false;  ///< decided
    std::string message;  ///< decided and failed: why; equal: the comparison, as in ">", or "true" of another truth value
  };
  struct Test {
    std::string name;
    Span span;
    std::vector<Expectation> expectations;
  };
  virtual std::vector<Test> build_tests(Diagnostics&) const = 0;
};

/// Parses, resolves and checks a file and everything it uses. Reports every error; returns nothing if there was one.
std::unique_ptr<Module> load_module(SourceMap&, FileId, const LoadOptions&, Diagnostics&);

}  // namespace nnc
