// Attention of the standard library: what its layers store, by PyTorch's names and shapes, and the form of the graph that they make. Values are held against PyTorch by
// tests/trajectories and tests/attention, by hand in tests/lit/language/attention_layers.nn.
#include <cmath>

#include <fmt/format.h>

#include "tests/unit/frontend_fixture.h"

namespace nnc::frontend_tests {
namespace {

/// "name[shape] ~ bound" of each parameter of a layer that is given x[2, 3, 8] and y[2, 4, width].
std::string parameters(const std::string& call, int64_t width = 8) {
  Loaded l = load("layer f(x[B, T, C], y[B, S, K]) { " + call + " }");
  INFO(call << "\n" << l.errors());
  REQUIRE(l.module);
  Diagnostics diagnostics;
  std::optional<BuiltGraph> built = l.module->build_definition("f", {argument("x", {2, 3, 8}), argument("y", {2, 4, width})}, {}, diagnostics);
  for (const Diagnostic& d : diagnostics.items()) UNSCOPED_INFO(d.message);
  REQUIRE(built);
  std::string text;
  for (const ParameterSpec& p : built->parameters) {
    text += (text.empty() ? "" : "; ") + p.persistent.name.substr(2) + "[";
    for (const Extent& e : p.persistent.type.shape) text += (text.back() == '[' ? "" : ", ") + std::to_string(e.size);
    text += p.initializer.kind == Initializer::Kind::uniform ? fmt::format("] {:.4f}", p.initializer.b) : "]";
  }
  return text;
}

}  // namespace

TEST_CASE("parameters of attention have PyTorch's names, shapes and bounds", "[frontend][std]") {
  // sqrt(6 / (8 + 24)), 1 / sqrt(8); sqrt(6 / (8 + 8)); sqrt(6 / (5 + 8)); sqrt(6 / (8 + 4)).
  CHECK(parameters("x |> m: MultiHeadAttention(2)") == "in_proj_bias[24]; in_proj_weight[24, 8] 0.4330; out_proj.weight[8, 8] 0.3536; out_proj.bias[8]");
  CHECK(parameters("x |> m: MultiHeadAttention(4, bias: false)") == "in_proj_weight[24, 8] 0.4330; out_proj.weight[8, 8] 0.3536");
  CHECK(parameters("x |> m: MultiHeadAttention(2, bias: false)(key: y)") == "in_proj_weight[24, 8] 0.4330; out_proj.weight[8, 8] 0.3536");
  CHECK(parameters("x |> m: MultiHeadAttention(2)(key: y)", 5) ==
        "in_proj_bias[24]; q_proj_weight[8, 8] 0.6124; k_proj_weight[8, 5] 0.6794; v_proj_weight[8, 5] 0.6794; out_proj.weight[8, 8] 0.3536; out_proj.bias[8]");
  CHECK(parameters("x |> m: MultiHeadAttention(4, kv_heads: 2)") ==
        "in_proj_bias[16]; q_proj_weight[8, 8] 0.6124; k_proj_weight[4, 8] 0.7071; v_proj_weight[4, 8] 0.7071; out_proj.weight[8, 8] 0.3536; out_proj.bias[8]");
}

TEST_CASE("parameters of transformer layers have PyTorch's names and shapes", "[frontend][std]") {
  // torch.nn.TransformerEncoderLayer(8, 2, 4).state_dict(), in the order in which they are used.
  CHECK(parameters("x |> m: TransformerEncoderLayer(2, hidden: 4)") ==
        "self_attn.in_proj_bias[24]; self_attn.in_proj_weight[24, 8] 0.4330; self_attn.out_proj.weight[8, 8] 0.3536; self_attn.out_proj.bias[8]; norm1.weight[8]; norm1.bias[8]; "
        "linear1.weight[4, 8] 0.3536; linear1.bias[4] 0.3536; linear2.weight[8, 4] 0.5000; linear2.bias[8] 0.5000; norm2.weight[8]; norm2.bias[8]");
  CHECK(parameters("x |> m: TransformerDecoderLayer(2, hidden: 4, bias: false, norm_first: true)(y)") ==
        "norm1.weight[8]; self_attn.in_proj_weight[24, 8] 0.4330; self_attn.out_proj.weight[8, 8] 0.3536; norm2.weight[8]; multihead_attn.in_proj_weight[24, 8] 0.4330; "
        "multihead_attn.out_proj.weight[8, 8] 0.3536; norm3.weight[8]; linear1.weight[4, 8] 0.3536; linear2.weight[8, 4] 0.5000");
  CHECK(parameters("x |> m: Positions(5)") == "weight[5, 8]");
}

// The form that user-written attention has: products of [rows, T, heads, S], one selection by the mask, softmax, products.
TEST_CASE("one selection stands between the products of attention and its softmax", "[frontend][std]") {
  auto selections = [](const std::string& options, const std::string& more) {
    Loaded l = load("fn f(q[B, T, Heads, D], k[B, S, Heads, D], there[B, S]) { attention(q, k, k" + options + more + ") }");
    INFO(l.errors());
    REQUIRE(l.module);
    Diagnostics diagnostics;
    std::optional<BuiltGraph> built = l.module->build_definition("f", {argument("q", {2, 3, 4, 5}), argument("k", {2, 6, 4, 5}), argument("there", {2, 6})}, {}, diagnostics);
    REQUIRE(built);
    int count = 0;
    for (const Node& n : built->graph.nodes())
      if (n.op == Op::select && n.type.elements(1) == 2 * 3 * 4 * 6) ++count;
    return count;
  };
  CHECK(selections("", "") == 0);
  CHECK(selections(", causal: true", "") == 1);
  CHECK(selections("", ", mask: there > 0") == 1);
  CHECK(selections(", causal: true", ", mask: there > 0") == 1);
}

}  // namespace nnc::frontend_tests
