// A register tile that fits the registers, whole tiles in a block, a panel for each of the packed operands' tiles, and a place for what waits: the accumulators between
// blocks of k, and one for each level of the tree that joins chains.
#include "codegen/contract_plan.h"

#include <algorithm>
#include <bit>

#include "base/check.h"
#include "codegen/contract_pack.h"

namespace nnc {
namespace {

/// Most instructions that a whole tile's inline epilogue may come to, and the longest k with which it pays. One with functions takes long beside the way through memory.
constexpr int inline_epilogue_limit = 200;
constexpr int64_t inline_epilogue_k = 256;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace

// Within a piece all chains but the last are of one length.
int64_t ContractPlan::shortest_block() const {
  if (kc > order.chain) return kc;
  auto last_of = [&](int64_t length) { return length - (length - 1) / kc * kc; };
  const int64_t last_piece = (order.length - 1) % order.piece + 1;
  int64_t shortest = std::min(last_of(std::min(order.chain, order.length)), last_of((last_piece - 1) % order.chain + 1));
  if (order.length > order.piece) shortest = std::min(shortest, last_of((order.piece - 1) % order.chain + 1));
  return shortest;
}

ContractPlan plan_contract(const Program& program, const ContractKernel& kernel) {
  const Target& target = program.target;
  const int lanes = target.f32_lanes();
  ContractPlan p{};
  NNC_CHECK(kernel.m >= 1 && kernel.axes.size() > kernel.first_k(), "contraction with a wrong number of axes");
  p.m_axis = kernel.row_axis();
  p.n_axis = kernel.n_axis();
  p.outer_m = {&kernel.axes, kernel.first_m(), p.m_axis};
  p.k_axes = {&kernel.axes, kernel.first_k(), kernel.axes.size()};
  p.lines = p.outer_m.extent();
  p.m = kernel.axes[p.m_axis].extent;
  p.n = kernel.axes[p.n_axis].extent;
  p.k = p.k_axes.extent();
  p.planned_lines = std::max<int64_t>(1, p.lines.at(program.rows));
  p.planned_m = std::max<int64_t>(1, p.m.at(program.rows));
  p.planned_n = std::max<int64_t>(1, p.n.at(program.rows));
  p.planned_k = p.k.at(program.rows);

  // Accumulators, the vectors of b and one broadcast are in registers.
  const int accumulators = target.vector_registers >= 32 ? 24 : 12;
  p.nr = int(std::clamp<int64_t>(kernel.nr, 1, std::min<int64_t>(accumulators / 2 + 1, round_up(p.planned_n, lanes) / lanes)));
  const int most_rows = std::min(accumulators / p.nr, (target.vector_registers - 1 - p.nr) / p.nr);
  p.mr = int(std::clamp<int64_t>(kernel.mr, 1, std::min<int64_t>(most_rows, p.planned_m)));
  p.width = int64_t(p.nr) * lanes;
  for (const Instruction& i : kernel.epilogue)
    if (i.kind == Instruction::Kind::reduce) p.row_sums.push_back(i.id);
  p.row_order = row_order_of(kernel, program.planned());
  // A chain of rows is whole tiles, but for the last rows of all.
  auto whole_tiles = [&](int64_t count) { return count >= p.planned_m || count % p.mr == 0; };
  if (!p.row_sums.empty())
    while (!whole_tiles(p.row_order.chain) || !whole_tiles(p.row_order.piece)) --p.mr;
  p.mc = round_up(std::clamp<int64_t>(kernel.mc, 1, p.planned_m), p.mr);
  p.block_lines = p.mc < p.planned_m ? 1 : std::clamp<int64_t>(kernel.mc / p.planned_m, 1, p.planned_lines);
  p.nc = round_up(std::clamp<int64_t>(kernel.nc, 1, p.planned_n), p.width);
  p.order = sum_order_of(kernel, program.planned());
  p.kc = chain_block(p.order, std::max<int64_t>(kernel.kc, 1));
  p.split_k = p.kc < p.planned_k;
  p.block_chains = std::max<int64_t>(1, p.split_k ? p.kc / p.order.chain : p.order.chains(p.planned_k));
  const int levels = p.order.chain_levels() + p.order.piece_levels();
  p.inner_levels = p.split_k ? std::min(levels, int(std::bit_width(uint64_t(p.block_chains - 1)))) : levels;
  p.outer_levels = levels - p.inner_levels;
  p.pack_a = p.planned_k > 0 && (kernel.a.pack || !directly_readable(program, kernel, kernel.a));
  p.pack_b = p.planned_k > 0 && (kernel.b.pack || !directly_readable(program, kernel, kernel.b));
  const Limit &m_limit = kernel.axes[p.m_axis].limit, &n_limit = kernel.axes[p.n_axis].limit;
  p.ragged_rows = m_limit.step % p.mr != 0;
  p.ragged_columns = n_limit.step % p.width != 0;
  p.late_columns = p.ragged_columns && n_limit.from;
  p.rows_left = p.m.size % p.mr != 0 || p.ragged_rows;
  p.masked = !p.n.rows && p.n.size < p.width && !p.ragged_columns;
  p.columns_left = !p.masked && (p.n.size % p.width != 0 || p.ragged_columns);
  p.inline_epilogue = is_simple(kernel.epilogue) && int(kernel.epilogue.size()) * p.mr * p.nr <= inline_epilogue_limit && p.planned_k <= inline_epilogue_k &&
                      !(p.cuts() && p.parts());  // those are joined in memory
  // A draw is a call, and around a call no sum stays in a register: sums would be in memory all along the loop over k.
  p.calls_tiles = p.planned_k > 0 && std::any_of(kernel.epilogue.begin(), kernel.epilogue.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::random; });
  p.surplus_rows = p.planned_k == 0 || p.pack_a || ((p.m.rows || (p.ragged_rows && !m_limit.from)) && p.planned_m % p.mr == 0);
  int64_t lost_columns = p.n.rows ? 0 : (p.width - p.n.size % p.width) % p.width / lanes * lanes;
  p.surplus_columns = p.planned_k == 0 || (p.pack_b && lost_columns * 8 <= p.planned_n);

  auto reserve = [&](int64_t bytes) {
    int64_t at = p.scratch;
    p.scratch = round_up(p.scratch + bytes, 64);
    return at;
  };
  // Packing writes one vector to each panel in turn: panels a power of two apart would meet in a few sets of the first-level
  // cache.
  auto panel_bytes = [&](int64_t width) {
    int64_t bytes = round_up(width * p.kc * contraction_bytes, 64);
    return bytes % 512 == 0 ? bytes + 64 : bytes;
  };
  p.a_panel = panel_bytes(p.mr);
  p.b_panel = panel_bytes(p.width);
  p.c_tile = p.mr * p.width * contraction_bytes;
  if (p.pack_a) p.a_offset = reserve(p.block_lines * p.line_tiles() * p.a_panel);
  if (p.pack_b) p.b_offset = reserve(p.nc / p.width * p.b_panel);
  p.c_offset = reserve(p.split_k ? p.block_lines * p.line_tiles() * (p.nc / p.width) * p.tile_places() : p.c_tile);
  p.waiting_offset = reserve(p.inner_levels * p.c_tile);
  p.sums_bytes = int64_t(p.row_sums.size()) * p.block_lines * p.width * contraction_bytes;
  p.sums_offset = reserve((1 + p.row_order.chain_levels() + p.row_order.piece_levels()) * p.sums_bytes);
  return p;
}

}  // namespace nnc
