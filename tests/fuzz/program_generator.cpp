// Random programs that the compiler must accept. Text is made over named dimensions with the language's own rule in hand: of two operands
// one has all dimensions of the other, so an expression is asked for by the set of names it must have.
#include <algorithm>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"
#include "tests/fuzz/programs.h"
#include "tests/fuzz/random.h"

namespace nnc::fuzz {
namespace {

using Names = std::vector<std::string>;

bool has(const Names& list, const std::string& name) { return std::find(list.begin(), list.end(), name) != list.end(); }
bool covers(const Names& all, const Names& some) {
  return std::all_of(some.begin(), some.end(), [&](const std::string& n) { return has(all, n); });
}
Names plus(Names a, const std::string& n) {
  if (!has(a, n)) a.push_back(n);
  return a;
}

// The pattern with its `{}` filled in, one part after the other. Parts that draw random numbers stand in braces and so are drawn from
// left to right; the arguments of a call are evaluated in an order that each compiler chooses, and a seed would mean another program
// with each.
std::string fill(std::string_view pattern, std::initializer_list<std::string> parts) {
  std::string text;
  auto part = parts.begin();
  for (size_t at; (at = pattern.find("{}")) != pattern.npos; pattern.remove_prefix(at + 2)) {
    NNC_CHECK(part != parts.end(), "a pattern of the generator has more holes than parts");
    text += pattern.substr(0, at);
    text += *part++;
  }
  NNC_CHECK(part == parts.end(), "a pattern of the generator has fewer holes than parts");
  return text += pattern;
}

struct Variable {
  std::string text;
  Names dims;
};

// Expressions inside one body: variables and the dimensions in scope.
class Expressions {
 public:
  Expressions(Random& random, std::vector<Variable> variables, Names dims) : random_(random), variables_(std::move(variables)), dims_(std::move(dims)) {}
  std::vector<Variable>& variables() { return variables_; }

  /// An expression with exactly these dimensions.
  std::string make(const Names& dims, int depth) {
    if (depth <= 0 || random_.chance(15)) return leaf(dims);
    switch (random_.below(14)) {
      case 0:
      case 1: return unary(dims, depth);
      case 2:
      case 3: return binary(dims, depth);
      case 4: return fill("where({} {} {}, {}, {})", {make(dims, depth - 2), random_.pick({"<", "<=", ">", ">="}), number(), make(dims, depth - 1), make(subset(dims), depth - 2)});
      case 5:
      case 6: return reduction(dims, depth);
      case 7:
      case 8: return contraction(dims, depth);
      case 9: {
        if (dims.empty()) return unary(dims, depth);
        return fill("{}({}, over: {})", {random_.pick({"softmax", "log_softmax"}), make(dims, depth - 1), random_.pick(dims)});
      }
      case 10: {
        if (dims.empty()) return binary(dims, depth);
        Names less = dims;
        std::string d = random_.pick(dims);
        if (d == row_) return unary(dims, depth);
        less.erase(std::find(less.begin(), less.end(), d));
        std::string index = fill("index({}){}", {d, random_.pick({"", "", " // 2", " % 3", " // 41", " - 2"})});
        return fill("where({} {} {}, {}, 0.5)", {index, random_.pick({"<", ">=", "==", "!="}), std::to_string(random_.below(4)), make(dims, depth - 1)});
      }
      case 11: return fill("({}) ^ {}", {make(dims, depth - 1), random_.pick({"2", "3"})});
      case 12: return fill("stop_gradient({}) + ({})", {make(subset(dims), depth - 2), make(dims, depth - 1)});
      default: {  // the same question twice
        std::string question = fill("{} {} {}", {make(dims, depth - 2), random_.pick({"<", "<=", ">", ">="}), number()});
        std::string inner = fill("where({}, {}, {})", {question, make(dims, depth - 1), make(subset(dims), depth - 2)});
        std::string other = make(subset(dims), depth - 2);
        if (random_.chance(50)) std::swap(inner, other);
        return fmt::format("where({}{}, {}, {})", random_.chance(40) ? "not " : "", question, inner, other);
      }
    }
  }

  std::string number() { return random_.pick({"0", "1", "0.5", "0.1", "2", "0.25", "1.5", "3", "41", "(1 / 3)"}); }
  /// Reciprocals that round, that times the number give 1 or not, that leave the range of f32; large ones beside which values vanish.
  std::string divisor() { return random_.pick({"41", "47", "49", "3", "7", "0.1", "(1 / 3)", "-0.7", "1", "8", "255", "16777215", "16777217", "2147483648", "1.5e38"}); }
  std::string row_;  ///< name of the row dimension: never indexed or selected

 private:
  Names subset(const Names& dims) {
    Names s;
    for (const std::string& n : dims)
      if (random_.chance(60)) s.push_back(n);
    return s;
  }

  std::string leaf(const Names& dims) {
    std::vector<Variable> exact, part;
    for (const Variable& v : variables_) {
      if (!covers(dims, v.dims)) continue;
      part.push_back(v);
      if (v.dims.size() == dims.size()) exact.push_back(v);
    }
    if (!exact.empty()) return random_.pick(exact).text;
    // What a value lacks is spread.
    std::string text = part.empty() || random_.chance(10) ? number() : "";
    Names have;
    if (text.empty()) {
      const Variable& v = random_.pick(part);
      text = v.text;
      have = v.dims;
    }
    for (const std::string& n : dims)
      if (!has(have, n)) text = fmt::format("spread({}, over: {})", text, n);
    return text;
  }

  std::string unary(const Names& dims, int depth) {
    std::string x = make(dims, depth - 1);
    switch (random_.below(9)) {
      case 0: return fmt::format("-({})", x);
      case 1: return fmt::format("sqrt(({})^2 + 0.5)", x);
      case 2: return fmt::format("log(abs({}) + 0.5)", x);
      case 3: return fmt::format("exp(tanh({}))", x);
      case 5: return random_.chance(70) ? fmt::format("tanh({})", x) : fmt::format("({0} * uniform_like({0}))", x);
      case 4: return fmt::format("{}({})", random_.pick({"floor", "ceil", "round", "sign"}), x);
      case 6: {  // a window: along a dimension of the value, which stays
        const std::string d = dims.empty() ? "" : random_.pick(dims);
        if (d.empty() || d == row_) return fmt::format("-({})", x);
        const std::string_view move = random_.pick({"- 1", "+ 1", "- 2"}), outside = random_.pick({"0", "0.5", "-1"});
        return fmt::format("({})[{}: index({}) {}, outside: {}]", x, d, d, move, outside);
      }
      default:
        return fmt::format("{}({})", random_.pick({"tanh", "sigmoid", "sin", "cos", "erf", "abs", "relu", "gelu", "silu", "softplus", "softsign", "elu", "mish", "selu", "celu",
                                                   "relu6", "leaky_relu", "log_sigmoid", "hardtanh"}), x);
    }
  }

  std::string binary(const Names& dims, int depth) {
    const std::string whole = make(dims, depth - 1);
    std::string x = whole, y = random_.chance(20) ? number() : make(subset(dims), depth - 1);
    if (random_.chance(30)) std::swap(x, y);
    switch (random_.below(8)) {
      case 0: return fmt::format("({}) + ({})", x, y);
      case 1: return fmt::format("({}) - ({})", x, y);
      case 2: return fmt::format("({}) * ({})", x, y);
      case 3: return fmt::format("({}) / (abs({}) + 1)", x, y);
      case 4: return fmt::format("maximum({}, {})", x, y);
      case 5: return fmt::format("({}) / {}", whole, divisor());
      case 6: {
        std::string_view form = random_.pick({"({}) // {}", "({}) % {}", "floor(({}) / {})"});
        return fill(form, {whole, divisor()});
      }
      default: return fmt::format("minimum({}, {})", x, y);
    }
  }

  std::string more(const Names& dims) {
    Names rest;
    for (const std::string& n : dims_)
      if (!has(dims, n) && n != row_) rest.push_back(n);
    return rest.empty() ? "" : random_.pick(rest);
  }

  std::string reduction(const Names& dims, int depth) {
    std::string d = more(dims);
    if (d.empty()) return unary(dims, depth);
    return fill("{}({}, over: {})", {random_.pick({"sum", "mean", "max", "min", "logsumexp", "mean"}), make(plus(dims, d), depth - 1), d});
  }

  std::string contraction(const Names& dims, int depth) {
    std::string d = more(dims);
    if (d.empty()) return binary(dims, depth);
    Names left = subset(dims), right = subset(dims);
    for (const std::string& n : dims)
      if (!has(left, n) && !has(right, n)) (random_.chance(50) ? left : right).push_back(n);
    return fill("sum(({}) * ({}), over: {}) / 4", {make(plus(left, d), depth - 2), make(plus(right, d), depth - 2), d});
  }

  Random& random_;
  std::vector<Variable> variables_;
  Names dims_;
};

class ProgramGenerator {
 public:
  explicit ProgramGenerator(uint64_t seed) : random_(seed, "program") {}

  std::string make() {
    sequence_ = random_.chance(40);
    classes_ = random_.between(2, 6);
    tokens_ = sequence_ && random_.chance(50);
    dim("In", random_.pick({1, 2, 3, 5, 8, 9, 16, 17, 33, 41}));
    dim("Hidden", random_.pick({1, 3, 4, 7, 8, 12, 16, 24}));
    dim("T", random_.pick({1, 2, 3, 5, 8}));
    dim("Vocab", random_.between(2, 9));
    dim("Model", random_.pick({2, 4, 6, 8, 12}));
    for (int i = random_.below(3); i > 0; --i) add_function();
    for (int i = random_.below(3); i > 0; --i) add_layer();
    if (sequence_) add_attention();
    add_block();
    if (random_.chance(25)) add_optimizer();
    add_data();
    add_model();
    add_train();
    return text_;
  }

 private:
  template <class... A>
  void line(fmt::format_string<A...> f, A&&... a) {
    text_ += fmt::format(f, std::forward<A>(a)...) + "\n";
  }
  void dim(const std::string& name, int size) { line("dim {} = {}", name, size); }

  std::string activation() {
    std::vector<std::string> names{"relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus", "mish", "selu", "leaky_relu(slope: 0.1)", "gelu(approximate: tanh)", "hardtanh", "celu(alpha: 0.5)",
                                   "relu6", "softsign", "log_sigmoid", "elu(alpha: 0.7)"};
    names.insert(names.end(), functions_.begin(), functions_.end());
    return random_.pick(names);
  }

  void add_function() {
    std::string name = fmt::format("own{}", functions_.size());
    Expressions e(random_, {{"x", {}}}, {});
    line("fn {}(x[...]) -> [...] {{", name);
    if (random_.chance(50)) {
      line("  let a = {}", e.make({}, 2));
      e.variables().push_back({"a", {}});
    }
    if (random_.chance(20)) {
      line("  let y = x\n  repeat {} as i {{ update y = tanh(y) * 0.5 + i / 4 }}", random_.between(1, 3));
      e.variables().push_back({"y", {}});
    }
    // The result must depend on x's shape, whatever the expression does.
    line("  x * 0.5 + ({})\n}}", e.make({}, 3));
    functions_.push_back(name);
  }

  std::string initial() { return random_.pick({"~ normal(0.3)", "~ uniform(0.5)", "~ truncated_normal(0.4)", "= 0.5", "= 0", "~ uniform(-0.25, 0.75)"}); }

  // A layer over [N, T, C] or [N, C] with parameters over subsets of its dimensions.
  void add_layer() {
    std::string name = fmt::format("Own{}", layers_.size());
    Names own = sequence_ ? Names{"N", "S", "C"} : Names{"N", "C"};
    Names params = own;
    params.erase(params.begin());
    params.push_back("Out");
    line("layer {}(Out)(x[{}]) -> [{}, Out] {{", name, fmt::join(own, ", "), sequence_ ? "N, S" : "N");
    std::vector<Variable> variables{{"x", own}};
    line("  param weight[Out, C] {}", initial());
    variables.push_back({"weight", {"Out", "C"}});
    for (int i = random_.below(3); i > 0; --i) {
      Names dims;
      for (const std::string& n : params)
        if (n != "S" && random_.chance(50)) dims.push_back(n);
      line("  param p{}{} {}", i, dims.empty() ? "" : fmt::format("[{}]", fmt::join(dims, ", ")), dims.empty() ? "= 0.5" : initial());
      variables.push_back({fmt::format("p{}", i), dims});
    }
    Names all = own;
    all.push_back("Out");
    Expressions e(random_, variables, all);
    e.row_ = "N";
    for (int i = random_.below(3); i > 0; --i) {
      Names dims;
      for (const std::string& n : all)
        if (random_.chance(n == "N" ? 80 : 50)) dims.push_back(n);
      if (dims.size() > 3) dims.pop_back();
      line("  let v{} = {}", i, e.make(dims, 3));
      e.variables().push_back({fmt::format("v{}", i), dims});
    }
    Names result = sequence_ ? Names{"N", "S", "Out"} : Names{"N", "Out"};
    std::string rest;
    // Every parameter reaches the loss.
    for (size_t i = 2; i < variables.size(); ++i) rest += fmt::format(" + 0.1 * {}", variables[i].dims.empty() ? variables[i].text : fmt::format("mean({}^2)", variables[i].text));
    line("  sum(x * weight, over: C) + tanh({}){}\n}}", e.make(result, 3), rest);
    layers_.push_back(name);
  }

  void add_attention() {
    line("layer Attention(Heads)(x[B, T, C]) -> [B, T, C] where C % Heads == 0 {{");
    line("  dim D = C / Heads\n  dim S = T");
    line("  let q = (x |> query: Dense(C)) as [B, T, Heads, D]");
    line("  let k = (x |> key: Dense(C, bias: {})) as [B, S, Heads, D]", random_.pick({"true", "false"}));
    line("  let v = (x |> value: Dense(C)) as [B, S, Heads, D]");
    line("  let score = sum(q * k, over: D) / sqrt(D)");
    std::string scores = "score";
    if (random_.chance(60)) {
      line("  let past = where(index(S) <= index(T), score, -inf)");
      scores = "past";
    }
    line("  sum(softmax({}, over: S) * v, over: S) as [B, T, C] |> project: Dense(C)\n}}", scores);
  }

  void add_block() {
    line("layer Block()(x[..., C]) -> [..., C] {{");
    line("{}", fill("  let h = x |> norm: LayerNorm{} |> first: Dense({}) |> {}", {random_.pick({"()", "(eps: 1e-3)"}), random_.pick({"Hidden", "5", "2*C", "C"}), activation()}));
    line("  x + {} * (h |> second: Dense(C))\n}}", random_.pick({"0.5", "1", "0.1"}));
  }

  void add_optimizer() {
    line("optimizer own_rule(rate, beta = 0.75) {{");
    switch (random_.below(3)) {
      case 0:
        line("  state m = 0\n  let direction = sign(beta * m + (1 - beta) * grad)\n  update m = 0.9 * m + 0.1 * grad\n  update value = value - rate * (direction + 0.01 * value)");
        break;
      case 1:
        line("  state m = 0\n  state previous = 0\n  update m = beta * m + grad - previous\n  update previous = grad\n  update value = value - rate * m");
        break;
      default:
        line("  state average = 0\n  let old = value\n  update value = value - rate * grad\n  update average = beta * average + (1 - beta) * (value + old)");
        line("  update value = 0.9 * value + 0.1 * average");
    }
    line("}}");
    own_rule_ = true;
  }

  void add_data() {
    line("data rows {{");
    if (tokens_) {
      line("  tokens[T] : class(Vocab) = npy(\"tokens.npy\")");
    } else if (sequence_) {
      line("  x[T, In] : {} = npy(\"x.npy\")", random_.pick({"f32", "f32", "u8", "f64"}));
    } else {
      line("  x[In] : {} = npy(\"x.npy\")", random_.pick({"f32", "f32", "f32", "u8", "i32", "f64"}));
    }
    line("  label : class({}) = npy(\"label.npy\")", classes_);
    line("  y[{}] = npy(\"y.npy\")", classes_);
    if (random_.chance(40)) line("  test {}", random_.pick({"20%", "last 10%"}));
    line("}}");
  }

  std::string dense() { return fill("Dense({}{})", {random_.pick({"Hidden", "Hidden", "6", "3", "17", "1"}), random_.chance(20) ? ", bias: false" : ""}); }

  std::string norm() {
    std::string layer = random_.pick({"LayerNorm()", "LayerNorm(eps: 1e-3)", "RmsNorm", "RmsNorm(eps: 1e-2, affine: false)", "GroupNorm(1)", "BatchNorm1d", "BatchNorm1d(momentum: none, eps: 1e-3)",
                                      "BatchNorm1d(track: false, affine: false)"});
    couples_rows_ = couples_rows_ || layer.starts_with("Batch");
    return layer;
  }

  void stages(std::string& body) {
    for (int i = random_.between(0, 4); i > 0; --i) {
      switch (random_.below(8)) {
        case 6: body += fmt::format("\n    |> {}", random_.pick({"Dropout()", "Dropout(0.25)", "Dropout(rate: 0)", "dropout(0.1)", "GaussianNoise(0.1)", "StochasticDepth(0.3)"})); break;
        case 0: body += fill("\n    |> {}{}", {random_.chance(40) ? fmt::format("fc{}: ", i) : "", dense()}); break;
        case 1: body += fmt::format("\n    |> {}", activation()); break;
        case 2: body += fmt::format("\n    |> {}", norm()); break;
        case 3: body += fmt::format("\n    |> Block()"); break;
        case 4: body += layers_.empty() ? fill("\n    |> {} |> {}", {dense(), activation()}) : fill("\n    |> {}({})", {random_.pick(layers_), random_.pick({"Hidden", "5", "Model"})}); break;
        case 5: body += fmt::format("\n    |> stack({}, Block)", random_.between(1, 2)); break;
        default: body += fmt::format("\n    |> {}", activation());
      }
    }
  }

  void add_model() {
    int k = classes_;
    std::string body;
    if (tokens_) {
      line("model Net(tokens[B, T]: class(Vocab)) -> [B, {}] {{", k);
      body = "  let start = tokens |> token: Embedding(Vocab, Model)\n";
      if (random_.chance(60)) body += "  param position[T, Model] ~ normal(0.1)\n  let e = start + position\n  let h = e";
      else body += "  let h = start";
    } else {
      line("model Net(x[B, {}In]{}) -> [B, {}] {{", sequence_ ? "T, " : "", "", k);
      body = "  let h = x * 0.25";
    }
    if (sequence_) {
      if (!tokens_ || random_.chance(30)) body += "\n    |> Dense(Model)";
      for (int i = random_.between(1, 2); i > 0; --i) {
        if (random_.chance(60)) body += fmt::format("\n    |> attend{}: Attention({})", i, random_.pick({1, 2}));
        if (random_.chance(50)) body += "\n    |> Block()";
        if (random_.chance(50)) body += fmt::format("\n    |> {}", activation());
      }
      std::string last = random_.pick({"mean(h, over: T)", "max(h, over: T)", "h[T: 0]", "logsumexp(h, over: T)"});
      line("{}\n  {} |> {}Dense({})\n}}", body, last, random_.chance(30) ? "final: " : "", k);
    } else {
      stages(body);
      line("{}\n  h |> Dense({})\n}}", body, k);
    }
  }

  std::string rate() {
    return random_.pick({"0.1", "0.01", "0.05", "step_decay(0.1, every: 2)", "cosine(0.1, total: 20)", "warmup(0.1, steps: 4)", "cosine(0.1, total: 20, warmup: 3, final: 0.01)",
                         "exponential(0.1, by: 0.9)", "warmup(cosine(0.05, total: 9), steps: 3)", "constant(0.02)"});
  }

  std::string rule() {
    std::vector<std::string> rules{
        fmt::format("sgd(lr: {})", rate()),
        fill("sgd(lr: {}, momentum: 0.9{}{})", {rate(), random_.chance(40) ? ", nesterov: true" : "", random_.chance(30) ? ", decay: 0.01" : ""}),
        fmt::format("sgd(lr: {}, momentum: 0.8, dampening: 0.5)", rate()),
        fill("adam(lr: {}{})", {rate(), random_.chance(40) ? ", beta1: 0.8, decay: 0.01" : ""}),
        fmt::format("adam(eps: 1e-3)"),
        fill("adamw(lr: {}{})", {rate(), random_.chance(40) ? ", decay: 0.1, eps: 1e-4" : ", eps: 1e-3"}),
        fill("rmsprop(lr: {}, eps: 1e-2{}{})", {rate(), random_.chance(50) ? ", momentum: 0.5" : "", random_.chance(40) ? ", centered: true" : ""}),
        fill("adagrad(lr: {}, start: 0.1{})", {rate(), random_.chance(40) ? ", lr_decay: 0.1" : ""})};
    if (own_rule_) return fmt::format("own_rule(rate: {})", rate());
    return random_.pick(rules);
  }

  void add_train() {
    line("train {{\n  data rows, batch: {}", random_.pick({"4", couples_rows_ ? "3" : "1", "7", "16", "17"}));
    line("  let out = Net({})", tokens_ ? "tokens" : "x");
    std::string reduce = random_.chance(20) ? ", reduce: sum" : "";
    std::string loss = random_.pick({fmt::format("cross_entropy(out, label{})", reduce), fmt::format("cross_entropy(out, label, smoothing: 0.1)"), fmt::format("cross_entropy(out, softmax_target)"),
                                     fmt::format("mean_squared_error(out, y{})", reduce), fmt::format("mean_absolute_error(out, y)"), fmt::format("huber(out, y, delta: 0.5{})", reduce),
                                     fmt::format("hinge(out, label)"), fmt::format("hinge(out, y)"), fmt::format("kl_divergence(out, softmax_target{})", reduce), fmt::format("binary_cross_entropy(out, sigmoid(y))"),
                                     fmt::format("mean(cross_entropy(out, label, reduce: none)^2)"), fmt::format("cross_entropy(out, label) + 0.01 * mean(out^2)")});
    if (loss.find("softmax_target") != std::string::npos) {
      line("  let positive = exp(y)");
      line("  let softmax_target = positive / {}", fmt::format("{}.0", classes_));
    }
    line("  minimize {}", loss);
    std::string use = rule();
    if (random_.chance(20)) use += fmt::format(", {} for \"*.bias\"", random_.pick({"sgd(lr: 0.2)", "sgd(lr: 0.1, momentum: 0.5)"}));
    if (random_.chance(20)) use += ", clip_norm: 0.5";
    line("  using {}", use);
    line("  {}", random_.pick({"epochs 2", "steps 5"}));
    std::vector<std::string> reports{"accuracy(out, label)", "top_k(out, label, k: 2)", "perplexity(out, label)", "root_mean_squared_error(out, y)", "max_absolute_error(out, y)", "r2(out, y)",
                                     "precision(out, label)", "recall(out, label)", "f1(out, label)", "binary_accuracy(out, y)", "biggest: max(out)", "spread_out: mean((out - mean(out))^2)"};
    random_.shuffle(reports);
    reports.resize(size_t(random_.below(4)));
    if (!reports.empty()) line("  report {}", fmt::join(reports, ", "));
    line("  seed {}\n}}", random_.below(100));
  }

  Random random_;
  std::string text_;
  std::vector<std::string> functions_, layers_;
  bool sequence_ = false, tokens_ = false, own_rule_ = false;
  bool couples_rows_ = false;  ///< by batch statistics, which one row does not have
  int classes_ = 2;
};

}  // namespace

std::string generate_program(uint64_t seed) { return ProgramGenerator(seed).make(); }

}  // namespace nnc::fuzz
