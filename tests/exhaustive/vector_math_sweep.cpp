// The bounds of the inline functions (codegen/vector_math_bounds.h) over the whole f32 range: every one of the 2^32 arguments of
// every function, on every vector level of this machine. Built on request:
//
//   ninja -C build vector_math_sweep && build/vector_math_sweep [--level avx512]... [--stride 1] [--threads N] [FUNCTION...]
//
// `std.FUNCTION` is an element-wise function of the standard library, `slope.FUNCTION` its gradient, through the passes and kernels that a program gets
// (std_functions.h); `std` and `slope` stand for all of them.
//
// Prints one line for each function and level: the largest error, where it is, the stated bound and whether it holds; exit status
// 1 if one does not. `pow.X` is X ^ y over all y, `pow_X` is x ^ X over all x, both with X at run time, for some X of different
// kinds.
//
// Method: the arguments go by in chunks, in the order of their bit patterns. The reference is the C library's in double, computed
// once for all levels; it is within 2^-28 ULP of a float, by which a bound may seem to be missed. Errors are then measured
// without branches, as bit patterns of non-negative doubles, whose order is that of integers; only a chunk with a new largest
// error is looked at again for the place. NaN for a number, a number for NaN and a zero of the wrong sign count as infinite
// errors.
#include <fmt/format.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/compilation.h"
#include "engine/graph_runner.h"
#include "engine/step.h"
#include "tests/exhaustive/std_functions.h"
#include "tests/run/vector_math_reference.h"

using namespace nnc;
using namespace nnc::test;

namespace {

constexpr int64_t chunk = 1 << 16;
constexpr double reference_error = 0x1p-28;

struct Subject {
  std::string name;
  Op op;
  double bound;
  std::function<double(double)> exact;
  double fixed = 0;  ///< pow: the operand that stays
  int varying = 0;   ///< which operand runs over all values
  bool two_operands = false;
  std::string code{};    ///< of std: the function as a program writes it
  double least = 0;      ///< an error of so many of the smallest subnormal number is none
  bool is_slope = false; ///< measured in ULP of the larger of 1 and the value, at finite arguments
};

/// f(x) or its slope as a program compiles it, x being held.
Program std_program(const Subject& s, VectorLevel level) {
  Compilation compilation(target_by_name(std::string(vector_level_name(level))));
  compilation.load_text("sweep.nn", "fn f(x[N]) { " + s.code + " }\n", {});
  ArgumentSpec x;
  x.name = "x";
  x.type = {DType::f32, {{chunk}}};
  x.dimension_names.resize(1);
  Graph graph = compilation.require(compilation.module->build_definition("f", {x}, {}, compilation.diagnostics)).graph;
  if (s.is_slope) {
    append_gradients(graph, std::vector<Output>(graph.outputs), "");
    graph.outputs.erase(graph.outputs.begin());
  }
  hold_inputs(graph);
  return make_program(std::move(graph), "sweep", 1, compilation.target);
}

std::vector<Subject> all_subjects() {
  std::vector<Subject> result;
  for (const MathReference& r : math_references)
    result.push_back({std::string(op_name(r.op)), r.op, math_bound(r.op).f32, r.exact_double});
  for (float y : {1.7f, -0.3f, 0.5f, 7.0f})
    result.push_back(
        {fmt::format("pow_{}", y), Op::pow, pow_bound_f32, [y](double x) { return std::pow(x, double(y)); }, y, 0, true});
  for (float x : {0.9f, 3.3f, -2.0f})
    result.push_back(
        {fmt::format("pow.{}", x), Op::pow, pow_bound_f32, [x](double y) { return std::pow(double(x), y); }, x, 1, true});
  for (const StdFunction& f : std_functions()) {
    std::string name = f.code.find(',') == std::string::npos ? f.code.substr(0, f.code.find('(')) : "gelu_tanh";
    result.push_back({"std." + name, Op::stop_gradient, f.bound, f.exact, 0, 0, false, f.code, f.least});
    result.push_back({"slope." + name, Op::stop_gradient, f.slope_bound, f.slope, 0, 0, false, f.code, 0, true});
  }
  return result;
}

/// How an error is measured: ULP at exponents from `lowest` on (its bits in a float), those of at most `forgiven` not at all.
struct Measure {
  int32_t lowest = 0x00800000;
  double forgiven = 0;
};

/// The error in ULP of each result, as the bits of a double.
inline int64_t error_bits(float got, double exact, Measure measure) {
  constexpr double top = 0x1p128, infinity = std::numeric_limits<double>::infinity();
  float rounded = float(exact);
  int32_t exponent = std::bit_cast<int32_t>(rounded) & 0x7f800000;
  exponent = exponent < measure.lowest ? measure.lowest : exponent > 0x7f000000 ? 0x7f000000 : exponent;
  double scale = std::bit_cast<double>((int64_t(1023 + 150) << 52) - (int64_t(exponent) << 29));  // 1 / ULP
  double g = double(got), r = exact;
  g = g > top ? top : g < -top ? -top : g;
  r = r > 1.0001 * top ? 1.0001 * top : r < -1.0001 * top ? -1.0001 * top : r;
  double distance = std::fabs(g - r);
  double error = distance <= measure.forgiven ? 0.0 : distance * scale;
  int32_t difference = std::bit_cast<int32_t>(got) ^ std::bit_cast<int32_t>(rounded);
  bool both_infinite = difference == 0 && exponent == 0x7f000000 && std::fabs(g) == top;
  error = both_infinite ? 0.0 : error;
  // A zero of the wrong sign, but of a slope, which is a sum.
  error = difference == std::numeric_limits<int32_t>::min() && measure.lowest == 0x00800000 ? infinity : error;
  bool got_nan = got != got, exact_nan = exact != exact;
  error = got_nan != exact_nan ? infinity : got_nan ? 0.0 : error;
  return std::bit_cast<int64_t>(error);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
int64_t
largest_error(const float* got, const double* exact, int64_t n, Measure measure) {
  int64_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    int64_t e = error_bits(got[i], exact[i], measure);
    largest = e > largest ? e : largest;
  }
  return largest;
}

template <class T>
struct Aligned {
  explicit Aligned(size_t n) : data(static_cast<T*>(std::aligned_alloc(64, (size_t(n) * sizeof(T) + 63) / 64 * 64))) {}
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
  T* data;
};

/// Compiled code for one level, called by one thread.
class Runner {
 public:
  Runner(const Subject& s, VectorLevel level)
      : program_(s.code.empty() ? math_program(level, s.op, DType::f32, chunk, s.two_operands).program : std_program(s, level)),
        arena_(size_t(program_.arena_bytes) + 64) {
    CompileOptions options;
    options.threads = 1;
    code_ = compile(program_, nullptr, options);
    team_.size = 1;
    context_.row_index = &row_;
    context_.rows = &rows_;
    context_.rows_capacity = 1;
    context_.team = &team_;
  }
  /// x and y are the operands (y null for one operand), z the result; all 64-byte aligned.
  void run(float* x, float* y, float* z) {
    uint8_t* out = reinterpret_cast<uint8_t*>(z);
    context_.persistent = reinterpret_cast<uint8_t*>(x);
    context_.arena = y ? reinterpret_cast<uint8_t*>(y) : arena_.data;
    context_.outputs = &out;
    code_->run()(&context_, 0, 1);
  }

 private:
  Program program_;
  Aligned<uint8_t> arena_;
  std::unique_ptr<CompiledProgram> code_;
  NncTeam team_{};
  NncContext context_{};
  int64_t row_ = 0, rows_ = 1;
};

struct Worst {
  double error = 0;
  uint32_t at = 0;
  float got = 0;
  double exact = 0;
};

struct Options {
  std::vector<VectorLevel> levels;
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  uint64_t stride = 1;
  std::vector<std::string> names;
};

std::vector<Worst> sweep(const Subject& subject, const Options& options) {
  uint64_t arguments = ((uint64_t(1) << 32) + options.stride - 1) / options.stride;
  uint64_t chunks = (arguments + chunk - 1) / chunk;
  const Measure measure{subject.is_slope ? 0x3f800000 : 0x00800000, subject.least * 0x1p-149};
  std::vector<Worst> result(options.levels.size());
  std::atomic<uint64_t> next{0};
  std::mutex lock;
  auto begin = std::chrono::steady_clock::now();
  double told = 0;
  auto work = [&] {
    std::vector<std::unique_ptr<Runner>> runners;
    for (VectorLevel level : options.levels) runners.push_back(std::make_unique<Runner>(subject, level));
    Aligned<float> varying(chunk), fixed(chunk), z(chunk);
    Aligned<double> exact(chunk);
    std::fill_n(fixed.data, chunk, float(subject.fixed));
    std::vector<Worst> mine(options.levels.size());
    for (uint64_t c = next++; c < chunks; c = next++) {
      auto bits = [&](int64_t i) {
        return uint32_t((c * chunk + uint64_t(i)) * options.stride);
      };  // wraps around in the last chunk
      for (int64_t i = 0; i < chunk; ++i) varying.data[i] = std::bit_cast<float>(bits(i));
      for (int64_t i = 0; i < chunk; ++i) exact.data[i] = subject.exact(double(varying.data[i]));
      for (size_t l = 0; l < runners.size(); ++l) {
        float* x = subject.varying == 0 ? varying.data : fixed.data;
        float* y = !subject.two_operands ? nullptr : subject.varying == 0 ? fixed.data : varying.data;
        runners[l]->run(x, y, z.data);
        if (subject.is_slope)
          for (int64_t i = 0; i < chunk; ++i)
            if (!std::isfinite(varying.data[i])) z.data[i] = 0, exact.data[i] = 0;
        int64_t largest = largest_error(z.data, exact.data, chunk, measure);
        if (std::bit_cast<double>(largest) <= mine[l].error) continue;
        for (int64_t i = 0; i < chunk; ++i)
          if (error_bits(z.data[i], exact.data[i], measure) == largest) {
            mine[l] = {std::bit_cast<double>(largest), bits(i), z.data[i], exact.data[i]};
            break;
          }
      }
      double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      std::lock_guard guard(lock);
      if (seconds < told + 10) continue;
      told = seconds;
      fmt::print(stderr, "{}: {:.0f} % after {:.0f} s\n", subject.name, 100.0 * double(c) / double(chunks), seconds);
    }
    std::lock_guard guard(lock);
    for (size_t l = 0; l < result.size(); ++l)
      if (mine[l].error > result[l].error || (mine[l].error == result[l].error && mine[l].at < result[l].at)) result[l] = mine[l];
  };
  std::vector<std::thread> others;
  for (unsigned t = 1; t < options.threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& t : others) t.join();
  return result;
}

[[noreturn]] void complain(const std::string& message) {
  fmt::print(stderr, "vector_math_sweep: {}\n", message);
  std::exit(2);
}

Options parse(int count, char** arguments) {
  Options options;
  auto value = [&](int& i) -> std::string {
    if (i + 1 >= count) complain(fmt::format("{} needs a value", arguments[i]));
    return arguments[++i];
  };
  auto number = [&](int& i) {
    std::string flag = arguments[i], text = value(i);
    char* end = nullptr;
    unsigned long v = std::strtoul(text.c_str(), &end, 10);
    if (*end || v == 0 || v > 1u << 30) complain(fmt::format("{} needs a number above 0, not `{}`", flag, text));
    return v;
  };
  for (int i = 1; i < count; ++i) {
    std::string a = arguments[i];
    if (a == "--threads") {
      options.threads = unsigned(number(i));
    } else if (a == "--stride") {
      options.stride = number(i);
    } else if (a == "--level") {
      std::string name = value(i);
      size_t before = options.levels.size();
      for (VectorLevel level : host_levels())
        if (vector_level_name(level) == name) options.levels.push_back(level);
      if (options.levels.size() == before) complain(fmt::format("this machine has no vector level `{}`", name));
    } else if (a.starts_with("-")) {
      complain(fmt::format("unknown option {}; there are --level, --stride, --threads and names of functions", a));
    } else {
      options.names.push_back(a);
    }
  }
  if (options.levels.empty()) options.levels = host_levels();
  return options;
}

}  // namespace

int main(int count, char** arguments) {
  Options options = parse(count, arguments);
  std::vector<Subject> subjects = all_subjects(), chosen;
  for (const std::string& name : options.names) {
    size_t before = chosen.size();
    for (const Subject& s : subjects)
      if (s.name == name || (s.code.empty() && op_name(s.op) == name) || s.name.starts_with(name + ".")) chosen.push_back(s);
    if (chosen.size() == before) complain(fmt::format("no function `{}`", name));
  }
  if (options.names.empty()) chosen = subjects;
  bool all_hold = true;
  fmt::print("{} arguments each, {} threads\n", ((uint64_t(1) << 32) + options.stride - 1) / options.stride, options.threads);
  fmt::print("{:<18} {:<9} {:>9} {:>6}  {:<6} {}\n", "function", "level", "ULP", "bound", "holds", "where the error is largest");
  for (const Subject& subject : chosen) {
    std::vector<Worst> worst = sweep(subject, options);
    for (size_t l = 0; l < worst.size(); ++l) {
      bool holds = worst[l].error <= subject.bound + reference_error;
      all_hold &= holds;
      std::string place = worst[l].error == 0 ? "-"
                                              : fmt::format("{} (0x{:08x}): {} instead of {}", std::bit_cast<float>(worst[l].at),
                                                            worst[l].at, worst[l].got, worst[l].exact);
      fmt::print("{:<18} {:<9} {:>9.5f} {:>6}  {:<6} {}\n", subject.name, vector_level_name(options.levels[l]), worst[l].error,
                 subject.bound, holds ? "yes" : "NO", place);
    }
    std::fflush(stdout);
  }
  return all_hold ? 0 : 1;
}
