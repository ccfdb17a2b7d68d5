// Checking and lowering in one walk: definitions are inlined where they are called, so a program is evaluated over symbolic
// tensors, and every operation is added to the graph when its shapes have been checked. One Lowering makes one graph.
//
// Files, by concern: alignment.cpp, contraction.cpp, selection.cpp (dimensions); expressions.cpp, calls.cpp, signatures.cpp,
// statements.cpp (the language); builtins*.cpp (functions of the compiler); train.cpp, optimizer.cpp, test_blocks.cpp (blocks).
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "frontend/program.h"

namespace nnc {

/// A name visible in a body.
struct Local {
  std::string_view name;
  Value value;
  Span span;
  enum class Kind : uint8_t { value, dimension, parameter, state } kind = Kind::value;
  std::string persistent;  ///< state: its full name
  bool used = false;
};

/// One evaluation of a body: a call of a definition, the train block, a test.
struct Frame {
  const SourceFile* file = nullptr;
  const Definition* definition = nullptr;  ///< null for train and test
  uint32_t id = 0;
  std::string path;  ///< of the layer instance, "" at the top
  Span call_span;    ///< in the user's file: where errors inside std are shown
  bool frozen = false;
  bool owns_parameters = false;
  bool is_optimizer = false;
  std::vector<Local> locals;
  /// Where a name's values stand in `locals`, the latest last. Entries outlive a block whose names were dropped: find_local checks.
  std::unordered_map<std::string_view, std::vector<size_t>> places;
  std::map<std::string, int> instance_counts;
  std::map<std::string, Span> instance_names;
  std::vector<int64_t> iterations;  ///< of the `repeat`s around
  std::optional<Dims> ellipsis;     ///< what `...` stands for
  Frame* caller = nullptr;
};

/// Positional and named arguments, sorted to the parameter names of a builtin; null where not given.
struct BuiltinCall {
  std::string name;
  Span span, name_span;
  std::vector<CallArgument> arguments;
};

struct ProductPart;  // contraction.cpp

struct LoweringOptions {
  bool training = false;
};

class Lowering {
 public:
  Lowering(const Program& program, Diagnostics& diagnostics, LoweringOptions options);

  // --- blocks (train.cpp, optimizer.cpp, test_blocks.cpp, definitions.cpp) ---
  TrainSpec evaluate_train_spec();
  std::optional<BuiltGraph> build_train(const TrainSpec& spec);
  std::optional<BuiltGraph> build_predict(const TrainSpec& spec);
  std::optional<BuiltGraph> build_definition(const std::string& name, const std::vector<ArgumentSpec>& actual,
                                             const std::map<std::string, int64_t>& dims);
  std::optional<BuiltGraph> build_declared(const std::string& name, const std::vector<ArgumentSpec>& described,
                                           const std::map<std::string, int64_t>& dims);
  Module::Test build_test(const ast::Test& test);
  std::optional<UpdateRule> build_update_rule(const ast::Argument& item, const std::string& prefix,
                                              const ParameterSpec& parameter, std::vector<ScalarSpec>* scalars);
  DataSpec evaluate_data(const Global& block);
  void check_globals();  ///< every `dim` and data block of the file, whether used or not
  /// Evaluates a definition that nobody calls with made-up sizes and reports errors that do not depend on sizes.
  void try_definition(const Definition& definition);
  /// Definitions whose bodies were evaluated without an error. For lookups.
  const std::set<const Definition*>& finished() const { return finished_; }
  /// Whether the expansion was given up for its size, which takes a while to find out.
  bool is_too_large() const { return too_large_; }
  static std::vector<std::string_view> builtin_name_list();  ///< sorted

 private:
  friend struct FrameScope;
  // --- errors (lowering.cpp) ---
  Diagnostic& error(Code code, Span span, std::string message);
  void settle(const Diagnostic& d, std::vector<int64_t> facts);
  Span place(Span span) const;                                     ///< the user's place: inside std, that of the call
  std::string quote(Span span, std::string_view otherwise) const;  ///< "`logits`", or the other text where the source is long
  std::string describe_origin(const Origin& origin) const;         ///< "from `Dense(10)` at mlp.nn:12", "" if unknown
  std::string describe_dims_with_origin(const TensorValue& t) const;
  Value poison() const { return {}; }
  Value not_in_this_version(Span span, std::string_view what);

  // --- scopes (lowering.cpp) ---
  Local* find_local(std::string_view name);
  Value global_value(const SourceFile& file, std::string_view name, Span span, bool& found);
  Value lookup(std::string_view name, Span span);
  std::vector<std::string> visible_names() const;
  void bind(std::string_view name, Value value, Span span, Local::Kind kind = Local::Kind::value);
  void bind_dimension(std::string_view name, uint32_t id, Span span);
  uint32_t declare_dim(const ast::DimDeclaration& declaration, uint32_t frame, const std::string* overridden);
  Value dim_value(uint32_t id) const;

  // --- expressions (expressions.cpp) ---
  Value evaluate(const ast::Expr& e);
  Value evaluate_kind(const ast::Expr& e);
  bool has_budget(Span span);
  Value evaluate_operator(const ast::Expr& e);
  Value combine(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span);
  Value combine_numbers(ast::BinaryOp op, const Value& a, const Value& b, Span span);
  Value combine_tensors(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span,
                        bool pairs_freely = false);
  Value power(const Value& a, const Value& b, Span span, Span a_span, Span b_span);
  Value negate(const Value& v, Span span);
  Value evaluate_if(const ast::Expr& e);
  Value evaluate_block(const ast::Block& block);
  Value evaluate_pipe(const ast::Expr& e);
  Value evaluate_array(const ast::Expr& e);
  std::optional<bool> evaluate_condition(const ast::Expr& e);
  std::optional<bool> same_choice(const Value& a, const Value& b) const;
  bool is_poison(const Value& v) const;
  /// Whether `v` is true, false or a mask; if not, reports what `what` found instead.
  bool check_truth(const Value& v, std::string_view what, Span span);
  std::optional<double> number_of(const Value& v) const;
  std::optional<int64_t> integer_of(const Value& v) const;
  std::optional<int64_t> evaluate_integer(const ast::Expr& e, std::string_view what, int64_t least);
  bool varies(const Value& v) const;  ///< a size that depends on the number of rows

  // --- tensors (lowering.cpp, alignment.cpp) ---
  Builder builder(Span span);
  std::optional<TensorValue> as_tensor(const Value& v, Span span, DType number_type = DType::f32);
  TensorValue constant(double value, DType dtype, Dims dims, Span span);
  TensorValue constant_array(const std::vector<double>& values, std::vector<int64_t> shape, Span span);
  TensorValue to_float(TensorValue t, Span span);
  TensorValue cast(TensorValue t, DType dtype, Span span);
  static int row_axis(const Dims& dims);  ///< index of the row dimension, -1
  static int axis_of(const Dims& dims, int index);
  static Shape shape_of(const Dims& dims);
  Dims graph_order(const Dims& dims) const;
  bool check_rows(const Dims& dims, Span span);
  /// pairs[i]: index in a of b's dimension i, -1 where it has none. Reports E0101, E0103.
  std::optional<std::vector<int>> pair_dimensions(const TensorValue& a, const TensorValue& b, std::string_view what, Span span,
                                                  Span a_span, Span b_span);
  bool check_distinct(const TensorValue& t, std::string_view what, Span span);
  /// Common dimensions of two operands, and where each of theirs stands among them. E0106 if neither has all, unless they pair freely.
  struct Alignment {
    Dims dims;
    std::vector<int> from_a, from_b;
  };
  std::optional<Alignment> find_alignment(const TensorValue& a, const TensorValue& b, std::string_view what, Span span, Span a_span,
                                          Span b_span, bool pairs_freely = false);
  /// The same with the operands brought into them.
  struct Aligned {
    NodeId a, b;
    Dims dims;
  };
  std::optional<Aligned> align(const TensorValue& a, const TensorValue& b, std::string_view what, Span span, Span a_span,
                               Span b_span, bool pairs_freely = false);
  /// `t` repeated over `dims`; from[i] is the index in dims of t's dimension i.
  NodeId expand(const TensorValue& t, const std::vector<int>& from, const Dims& dims, Span span);
  TensorValue reorder(const TensorValue& t, const std::vector<int>& order, Span span);  ///< new index i is old index order[i]
  DType arithmetic_type(const TensorValue& t) const;
  DType common_type(const TensorValue& a, const TensorValue& b, bool compare) const;

  // --- contraction.cpp, selection.cpp ---
  Value sum_of_product(const ast::Expr& e, Span name_span);
  std::optional<TensorValue> contract(const std::vector<ProductPart>& parts, const std::vector<bool>& is_summed, Span span);
  Value select(const TensorValue& t, const ast::Expr& e);
  std::optional<TensorValue> select_one(const TensorValue& t, const ast::Selector& s, Span span, Span value_span);
  std::optional<TensorValue> gather(const TensorValue& t, int index, const TensorValue& by, Span span, Span selector_span);
  Value view(const TensorValue& t, const ast::Expr& e);
  std::optional<TensorValue> drop_unit(const TensorValue& t, int index, Span span);

  // --- dimension lists (signatures.cpp) ---
  std::optional<Dim> evaluate_dim(const ast::Expr& e);
  std::optional<DimSum> size_sum(const Value& v, Span span, std::string_view text);
  std::optional<Dims> evaluate_dims(const ast::Dims& list, bool allow_rows);
  struct Conflict {
    const TensorValue* value = nullptr;
    Span span;
    bool is_class = false, is_last = false;
    Origin origin;
    std::string text;  ///< how messages call it: "`logits`"
  };
  Dims outside_dims(const Dims& dims);  ///< as the caller of the current frame calls them
  struct Binding;                       // signatures.cpp
  bool bind_tensor(const ast::Parameter& p, const CallArgument& argument, TensorValue t, Binding& binding);
  bool bind_dim_name(std::string_view name, Span name_span, const Dim& actual, const CallArgument& argument,
                     const ast::Parameter& p, bool is_class, bool is_last, const TensorValue& t, Binding& binding);
  bool match_type(const ast::Parameter& p, const CallArgument& argument, TensorValue& t, bool& bind_class);
  std::optional<DType> declared_type(const ast::Type& type);  ///< an error where there is no such type; not for class(N)
  bool check_spelling(const ast::Parameter& p, const CallArgument& argument, const TensorValue& t);
  std::optional<std::vector<const CallArgument*>> sort_arguments(const std::vector<ast::Parameter>& parameters,
                                                                 std::string_view callee,
                                                                 const std::vector<CallArgument>& arguments, Span span,
                                                                 bool is_static, const Definition& definition);
  std::optional<Value> finish_results(const Definition& d, Value body, Span body_span, Span call_span, const std::string& detail);
  std::optional<TensorValue> match_result(const Definition& d, const ast::ResultType& declared, const TensorValue& t, Span span);
  Value leave(Value v, uint32_t frame, const Origin& origin);

  // --- calls.cpp ---
  Value evaluate_call(const ast::Expr& e);
  Value evaluate_stage(const ast::Stage& stage, Value piped, Span piped_span);
  std::vector<CallArgument> evaluate_arguments(const std::vector<ast::Argument>& arguments);
  Value apply(const Value& callee, std::vector<CallArgument> arguments, Span span, Span callee_span, const ast::Name* instance,
              bool frozen);
  Value make_template(const Value& callee, std::vector<CallArgument> arguments, Span span);
  Value instantiate(const LayerTemplate& layer, std::vector<CallArgument> arguments, Span span, const std::string& path,
                    bool frozen);
  Value call_definition(const Definition& d, const std::vector<CallArgument>& statics, std::vector<CallArgument> arguments,
                        Span span, const std::string& path, bool frozen);
  const Definition* choose_overload(const Value& callee, const std::vector<CallArgument>& arguments) const;
  std::string instance_path(const LayerTemplate& layer, const ast::Name* name, Span span);
  bool check_condition(const Definition& d, const ast::Expr& condition);
  bool bind_plain(const ast::Parameter& p, const CallArgument* given);
  struct ModelCall;
  std::optional<ModelCall> begin_model_call(const Definition& d, const std::string& path,
                                            const std::vector<CallArgument>& statics, const std::vector<CallArgument>& arguments,
                                            Span span);
  std::vector<ArgumentSpec> model_inputs(const std::vector<CallArgument>& arguments) const;
  static bool takes_statics(const Value& callee);
  Value evaluate_template(const ast::Expr& e, const ast::Name& name, bool frozen);
  void add_layer_summary(const std::string& path, const std::string& kind, Span call, const Value& result, size_t first_parameter);

  // --- statements.cpp ---
  void execute(const ast::Stmt& s);
  void execute_all(const std::vector<ast::StmtPtr>& statements);
  void execute_let(const ast::Stmt& s);
  void execute_parameter(const ast::Stmt& s);
  void execute_state(const ast::Stmt& s);
  void execute_update(const ast::Stmt& s);
  void execute_repeat(const ast::Stmt& s);
  void execute_if(const ast::Expr& e);
  Value declare_persistent(const ast::Stmt& s, PersistentKind kind);
  const Definition* outermost_definition() const;
  static bool is_no_distribution(const Value& v);
  std::optional<Initializer> evaluate_initializer(const ast::Expr& e, bool is_drawn);
  std::string full_name(std::string name) const;  ///< of a stored value

  // --- builtins*.cpp ---
  using Builtin = Value (Lowering::*)(const BuiltinCall&);
  static const std::unordered_map<std::string_view, Builtin>& builtins();
  /// Sorts arguments to `names`; the first `required` must be given. Nothing after an error or where an argument is poisoned.
  std::optional<std::vector<const CallArgument*>> read(const BuiltinCall& call, std::initializer_list<std::string_view> names,
                                                       size_t required);
  bool read_over(const BuiltinCall& call, const CallArgument* over, const TensorValue& x, Span x_span,
                 std::vector<int>& indices);
  /// The dimensions that `over` of `what` names.
  std::optional<std::vector<uint32_t>> over_ids(std::string_view what, const Value& over, Span span);
  Value builtin_unary(const BuiltinCall&);
  Value builtin_pairwise(const BuiltinCall&);
  Value builtin_where(const BuiltinCall&);
  Value builtin_index(const BuiltinCall&);
  Value builtin_spread(const BuiltinCall&);
  Value builtin_stop_gradient(const BuiltinCall&);
  Value builtin_cast(const BuiltinCall&);
  Value builtin_reduce(const BuiltinCall&);
  Value builtin_softmax(const BuiltinCall&);
  Value builtin_moments(const BuiltinCall&);
  Value builtin_fill(const BuiltinCall&);
  Value builtin_classes(const BuiltinCall&);
  Value builtin_shape(const BuiltinCall&);
  Value builtin_stack(const BuiltinCall&);
  Value builtin_distribution(const BuiltinCall&);
  Value builtin_later(const BuiltinCall&);
  Value builtin_gradient(const BuiltinCall&);
  TensorValue reduce(Op op, const TensorValue& x, const std::vector<int>& indices, Span span);
  TensorValue mean(const TensorValue& x, const std::vector<int>& indices, Span span);
  TensorValue back(const TensorValue& reduced, const std::vector<int>& indices, const TensorValue& like, Span span);
  TensorValue binary(Op op, const TensorValue& a, const TensorValue& b, Span span);  ///< equal dims
  TensorValue unary(Op op, const TensorValue& x, Span span);
  TensorValue logsumexp(const TensorValue& x, const std::vector<int>& indices, Span span);

  // --- data_block.cpp, train.cpp, gradient_paths.cpp, optimizer.cpp, test_blocks.cpp ---
  void bind_data(const DataSpec& data);
  const Global* find_data();  ///< that of the train block
  const Global* find_data_block(std::string_view name, Span span);
  Frame scope_of(const Global& block);
  std::optional<DataSource> evaluate_source(const ast::Expr& e);
  std::optional<SplitSpec> evaluate_split(const ast::Split& split, const Global& block);
  void read_split_data(const Global& block, TrainSpec& spec);
  void check_same_fields(const DataSpec& data, const DataSpec& other, const SplitSpec& split);
  bool is_train_partial() const;  ///< parts of it could not be read: what it seems to lack may stand there
  void check_gradient_paths(NodeId loss);
  void report_lost_parameters(const std::vector<bool>& reaches);
  Value evaluate_override(const std::string& text, Span span);
  Value evaluate_hyperparameter(const ast::Expr& e, const std::string& path, bool is_fixed, std::vector<ScalarSpec>* scalars);
  Value as_run_scalar(Value v, const std::string& path, Span span, bool is_fixed, std::vector<ScalarSpec>* scalars);
  Value option_value(const ast::Argument& a, const std::string& path);
  bool check_options_once(const std::vector<ast::Argument>& options, std::string_view of);
  void read_using(const ast::Stmt& s, TrainSpec& spec);
  void execute_expect(const ast::Stmt& s, Module::Test& test);
  void execute_expect_error(const ast::Stmt& s, Module::Test& test);
  void execute_check_gradients(const ast::Stmt& s, Module::Test& test);
  Value as_input(const Value& v, Span span);
  void finish_graph();
  BuiltGraph take_built();
  void keep_needed(Module::Expectation& x, const std::vector<Output>& outputs) const;
  void read_tolerance(const ast::Stmt& s, std::string_view word, double& tolerance);
  void compare(const Value& a, const Value& b, const ast::Expr& e, Module::Expectation x, Module::Test& test);
  void expect_truth(const TensorValue& t, const ast::Expr& e, Module::Expectation x, Module::Test& test,
                    const std::vector<Output>& sides);
  void bind_local_definitions(const std::vector<ast::StmtPtr>& statements);
  void try_local_definitions(const std::vector<ast::StmtPtr>& statements);
  std::optional<BuiltGraph> build_call(const Definition& d, const std::vector<ArgumentSpec>& actual,
                                       const std::map<std::string, int64_t>& dims, std::vector<CallArgument> statics = {},
                                       const std::vector<CallArgument>& others = {}, const std::string& path = {});
  const Global* find_evaluated(const std::string& name);  ///< a layer, fn or model by name, or an error
  const Definition* choose_declared(const Global& g, const std::vector<ArgumentSpec>& described);
  std::optional<std::vector<ArgumentSpec>> declared_inputs(const Definition& d, std::vector<ArgumentSpec> described,
                                                           const std::map<std::string, int64_t>& dims);
  bool check_given_sizes(const Definition& d, const std::map<std::string, int64_t>& dims);
  bool check_sizes_agree(const Definition& d, const std::vector<ArgumentSpec>& inputs,
                         const std::map<std::string, int64_t>& dims);
  void report_missing_size(const Definition& d, const ast::Parameter& p);
  Dim class_size_from_others(const Definition& d, const std::string& name, const std::vector<ArgumentSpec>& actual);
  void try_call(const Definition& d);

  const Program& program_;
  Diagnostics* diagnostics_;
  LoweringOptions options_;
  Graph graph_;
  DimTable dims_;
  Frame* frame_ = nullptr;
  uint32_t next_frame_ = 1;
  int depth_ = 0;
  int64_t calls_ = 0;
  int levels_ = 0;           ///< evaluations inside one another
  int64_t evaluations_ = 0;  ///< in all, and iterations of `repeat`
  bool gave_up_ = false;     ///< one of these went beyond its limit: nothing more is expanded
  bool too_large_ = false;   ///< ... and that took a while
  std::set<std::string> reported_;  ///< code, place and message
  Diagnostic discarded_;
  std::map<const void*, Value> globals_;  ///< looked up by declaration, never iterated
  std::set<const void*> evaluating_;      ///< likewise
  uint32_t rows_ = 0;                     ///< the dimension B
  // persistents of the model, by full name
  struct Known {
    size_t index;  ///< in parameters_
    NodeId node;
    Dims dims;
    Span span;
    NodeId current;  ///< state: the latest value
    Span use_span;   ///< the call that made it
    const Definition* model;  ///< the outermost definition around it
  };
  std::map<std::string, Known> known_;
  std::vector<ParameterSpec> parameters_;
  std::vector<LayerSummary> layers_;
  std::map<std::string, size_t> layer_index_;
  std::map<uint32_t, std::string> node_names_;  ///< let names, for E0302
  // model calls already made: the same call is one value
  struct ModelCall {
    const Definition* definition;
    std::string path;
    std::vector<CallArgument> statics, arguments;  ///< all under their parameters' names, in their order; defaults left out
    bool is_outermost;                             ///< not called by another model
    std::vector<ArgumentSpec> inputs;              ///< the arguments that are tensors, as the model sees them
    Value result;
  };
  std::vector<ModelCall> model_calls_;
  std::set<const Definition*> finished_;
  // optimizer
  const ParameterSpec* optimized_ = nullptr;
  std::string scalar_prefix_;
  std::vector<ScalarSpec>* scalars_ = nullptr;
  Dims value_dims_;
  NodeId new_value_;
  // tests
  bool in_test_ = false;
  std::deque<Definition> local_definitions_;
  std::vector<std::pair<std::string, std::vector<double>>> test_inputs_;
  std::vector<Module::Expectation::GradientRequest> gradient_requests_;
  bool trial_ = false;  ///< sizes are made up: conditions and size checks stay silent
  bool is_open_ = false;                         ///< on trial: more than sizes is made up, so that errors of shapes prove nothing
  int64_t trial_step_ = 24, trial_static_ = 12;  ///< the made-up sizes
  std::set<std::tuple<Code, uint32_t, uint32_t, std::vector<int64_t>>>
      settled_;  ///< on trial: errors, and the sizes they are about
};

/// Enters a frame for the time of a scope.
struct FrameScope {
  FrameScope(Lowering& l, Frame& f) : lowering(l) {
    f.caller = l.frame_;
    l.frame_ = &f;
  }
  ~FrameScope() { lowering.frame_ = lowering.frame_->caller; }
  Lowering& lowering;
};

}  // namespace nnc
