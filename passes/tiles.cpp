// The register tile: per step of k it costs rows * vectors FMAs, rows broadcasts and `vectors` loads, so big and square is good;
// chains beyond latency times ports (8 on machines with two 512-bit FMA ports) are needed at least; rows and columns that fill no
// tile are lost. All tiles that fit are scored by an estimate of cycles, edges included. Blocks: a panel of a (mr x kc) should
// stay in the first-level cache while a panel of b (kc x nr vectors) passes through it; the packed block of a and the
// accumulators of a piece stay in the second-level cache (K. Goto, R. van de Geijn, 2008; measured blocks are near 256).
// Pieces: enough of them that a team of threads can share a kernel that is worth it, cut where packing is not repeated.
#include "passes/tiles.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ir/sum_order.h"

namespace nnc {
namespace {

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
int64_t blocks(int64_t value, int64_t step) { return (value + step - 1) / step; }

/// Cycles for all tiles of a contraction with one step of k, in units of one FMA of a vector.
double tile_cost(const TileRequest& r, const Target& target, int mr, int nr) {
  const int lanes = target.f32_lanes();
  // A panel of b that the first-level cache does not hold comes from the second at some 20 bytes a cycle.
  const int64_t vector_bytes = lanes * contraction_bytes;
  // Measured at 256 bits; for 512 the model is the one that was measured there.
  const bool narrow = lanes < 16;
  const bool streams = narrow && std::min<int64_t>(r.k, 512) * nr * vector_bytes > target.l1_bytes / 2;
  auto step = [&](int rows, int vectors) {
    int chains = rows * vectors;
    double fma = std::max(chains, 8);                // latency of the chains is not hidden below eight
    double load = 0.5 * (rows + (narrow ? 1 : 2) * vectors) + 0.5;  // broadcasts and loads of b, which take twice as long at 512 bits; loop
    double few = chains < 10 ? (narrow ? 0.12 : 0.06) * fma : 0;
    double stream = streams ? double(vectors * vector_bytes) / 20 * 2 : 0;
    double crowded = narrow && 2 * load > 0.95 * fma ? 0.2 * fma : 0;  // loads that come late are not caught up with
    return std::max({fma, 2 * load, stream}) + few + crowded + 0.1 * load + 0.3 * stream;
  };
  int64_t width = int64_t(nr) * lanes;
  int64_t whole_columns = r.n / width, rest_vectors = blocks(r.n % width, lanes);
  double cost = 0;
  // A tile at the edge is a call, and its sums wait in memory for the epilogue; where the number of rows is not known, it has one row.
  auto column = [&](int vectors) {
    double sum = double(r.m / mr) * (step(mr, vectors) + (8 + mr * vectors) / double(r.k));
    int64_t left = r.m % mr;
    if (left > 0) sum += r.m_rows ? double(left) * step(1, vectors) : 1.2 * step(int(left), vectors);
    if (left > 0) sum += (40 + 4 * double(left) * vectors) / double(r.k);
    return sum;
  };
  cost += double(whole_columns) * column(nr);
  if (rest_vectors > 0) cost += column(int(rest_vectors)) * (whole_columns > 0 ? 1.1 : 1.0);
  return cost;
}

}  // namespace

TileChoice choose_tiles(const Target& target, const TileRequest& r) {
  TileChoice choice;
  const int lanes = target.f32_lanes();
  // Accumulators, the vectors of b and one broadcast; 24 accumulators at most, with more LLVM spills.
  auto fits = [&](int mr, int nr) { return mr * nr <= 24 && mr * nr + nr + 1 <= target.vector_registers; };
  const int64_t m = std::max<int64_t>(r.m, 1), n = std::max<int64_t>(r.n, 1), k = std::max<int64_t>(r.k, 1);
  TileRequest request = r;
  request.m = r.m_step > 0 ? std::min(m, r.m_step) : m;
  request.n = r.n_step > 0 ? std::min(n, r.n_step) : n;
  request.k = k;

  // Register tile.
  double best = 0;
  for (int nr = 1; nr <= std::min<int64_t>(8, blocks(n, lanes)); ++nr)
    for (int mr = 1; mr <= std::min<int64_t>(m, 16) && fits(mr, nr); ++mr) {
      if (r.row_chain % mr != 0) continue;  // a tile ends with a chain
      double cost = tile_cost(request, target, mr, nr);
      if ((mr & (mr - 1)) != 0 && !(r.a.readable && r.a.across_stride != 1))
        cost *= 1.01;                                         // panels pack best with a power of two
      if (mr * nr > 16 && (m < 64 || k < 128)) cost *= 1.03;  // starting and ending a large tile is not hidden
      if (best == 0 || cost < best * 0.999) {
        best = cost;
        choice.mr = mr;
        choice.nr = nr;
      }
    }
  const int64_t width = int64_t(choice.nr) * lanes;

  // Blocks of k: as few and as even as possible. With vectors of a whole line a tile keeps up with a panel of b that comes from the second-level cache; where that
  // holds all of b, one block spares the sums between blocks their way through memory, and b is packed once for all pieces.
  const bool whole_lines = lanes >= 16;
  const int64_t most_k = target.l1_bytes >= (48 << 10) ? 384 : 256;
  const bool l2_holds_all = (m * k + k * n) * contraction_bytes <= target.l2_bytes / 2;
  const bool l2_holds_b = whole_lines && k <= 2048 && k * n * contraction_bytes <= target.l2_bytes / 2;
  if (k <= most_k * 2 || l2_holds_all || l2_holds_b)
    choice.kc = k;
  else
    choice.kc = round_up(blocks(k, blocks(k, most_k)), 16);

  // Packing. In place costs nothing but strides: elements far apart, and most of all multiples of 1 KB apart, meet in few sets of
  // the cache and in as many pages as there are rows, so blocks of some size are packed: b, of which each step of k reads a line, from 1 KB on,
  // from 512 bytes on where k is long and many rows of tiles read what is packed. Vectors of a whole line bear more: what they take of a row of b are lines, which
  // are fetched ahead, and a tile has more sums for each element of a. So blocks stay where they are unless rows are pages apart, or many rows of tiles read them.
  // Several axes of m: neighbouring lines read most of the same elements, and a panel would hold them once for each (for each tap of a convolution).
  auto far = [&](int64_t stride, int64_t bytes) { return stride * contraction_bytes >= bytes; };
  const int64_t b_reads = r.lines * blocks(m, choice.mr);
  choice.pack_a = !r.a.readable || (!r.a.guarded && r.lines == 1 && (far(r.a.across_stride, whole_lines ? 4096 : 2048) || far(r.a.k_stride, 2048)) && choice.mr > 2 && m * k >= 16384);
  auto pays = [&](int64_t reads, int64_t stride_bytes, int64_t elements) { return b_reads >= reads && far(r.b.k_stride, stride_bytes) && k * n >= elements; };
  choice.pack_b = !r.b.readable || (whole_lines ? pays(4, 4096, 16384) || pays(8, 1024, 16384) : pays(4, 1024, 16384) || pays(20, 512, 65536)) ||
                  (target.level == VectorLevel::portable && n % lanes != 0 && b_reads >= 2);

  // Blocks of m and n: the packed block of a in half of the second-level cache.
  const int64_t a_rows = std::max<int64_t>(choice.mr, target.l2_bytes / 4 / (choice.kc * contraction_bytes));
  choice.mc =
      std::min(round_up(m, choice.mr), std::max<int64_t>(choice.mr, std::min<int64_t>(a_rows, 256) / choice.mr * choice.mr));
  choice.nc = std::min(round_up(n, width), std::max(width, int64_t(512) / width * width));

  choice.mc = round_up(blocks(m, blocks(m, choice.mc)), choice.mr);  // even pieces
  choice.nc = round_up(blocks(n, blocks(n, choice.nc)), width);

  // Pieces for a team, where a kernel lasts some microseconds: about eight, cut along the axis whose operand would not be packed
  // again.
  const double work = 2.0 * double(m) * double(r.lines) * double(n) * double(k) * double(r.batch);
  const int64_t wanted = work >= 4e6 ? 8 : work >= 4e5 ? 4 : work >= 1e5 ? 2 : 1;
  if (r.lines > 1 && choice.mc >= m) {
    // Whole lines, of which a cut reads few once more: more pieces, so that a team ends together. A piece that goes over a long sum reads all of both operands: fewer of
    // them, so that each computes more than it waits for memory.
    const bool long_sum = k * n * contraction_bytes > target.l2_bytes;
    const int64_t most = work >= 6e7 ? 32 : work >= 1.5e7 ? 16 : wanted;
    const int64_t columns = r.batch * blocks(n, choice.nc), pieces = blocks(long_sum ? std::min<int64_t>(most, 8) : most, columns);
    const int64_t most_rows = choice.pack_a || choice.kc < k ? std::max<int64_t>(m, a_rows) : 4096;
    choice.mc = m * std::clamp<int64_t>(std::min(most_rows / m, blocks(r.lines, pieces)), 1, r.lines);
    return choice;
  }
  if (r.row_sums) choice.mc = round_up(m, choice.mr);
  auto pieces = [&] { return r.batch * r.lines * blocks(m, choice.mc) * blocks(n, choice.nc); };
  while (pieces() < wanted) {
    const bool can_m = choice.mc > choice.mr && !r.row_sums, can_n = choice.nc > width;
    if (!can_m && !can_n) break;
    // What a cut would pack once more.
    const int64_t again_m = choice.pack_b ? k * n : 0, again_n = choice.pack_a ? m * k : 0;
    if (can_m && (!can_n || again_m <= again_n))
      choice.mc = round_up(blocks(choice.mc, 2), choice.mr);
    else
      choice.nc = round_up(blocks(choice.nc, 2), width);
  }
  return choice;
}

TileRequest tile_request(const Program& program, const ContractKernel& kernel) {
  TileRequest r;
  const size_t m = kernel.row_axis(), n = kernel.n_axis(), k = kernel.axes.size() - 1;
  auto size = [&](size_t axis, bool& rows) {
    rows = kernel.axes[axis].extent.rows;
    return kernel.axes[axis].extent.at(program.rows);
  };
  r.m = size(m, r.m_rows);
  r.n = size(n, r.n_rows);
  r.m_step = kernel.axes[m].limit.step;
  r.n_step = kernel.axes[n].limit.step;
  r.k_run = size(k, r.k_rows);
  const Extent terms = joint_extent(kernel.axes, kernel.first_k(), kernel.axes.size());
  r.k = terms.at(program.rows);
  r.k_rows = terms.rows;
  r.lines = joint_extent(kernel.axes, kernel.first_m(), m).at(program.rows);
  for (size_t axis = 0; axis < kernel.first_m(); ++axis) r.batch *= kernel.axes[axis].extent.at(program.rows);
  r.epilogue = int(kernel.epilogue.size());
  r.row_sums = std::any_of(kernel.epilogue.begin(), kernel.epilogue.end(), [](const Instruction& i) { return i.kind == Instruction::Kind::reduce; });
  if (const SumOrder order = row_order_of(kernel, program.planned()); r.row_sums && order.cuts()) r.row_chain = order.per_piece > 1 ? std::gcd(order.chain, order.piece) : order.piece;
  auto layout = [&](const Operand& operand, size_t across, bool lanes_across) {
    OperandLayout l;
    for (const Instruction& i : operand.code) {
      if (i.kind != Instruction::Kind::load) continue;
      l.across_stride = i.access.strides[across];
      l.k_stride = i.access.strides[k];
      bool rows_apart = i.access.row_axis >= int(m);
      l.guarded = operand.code[0].kind == Instruction::Kind::guard;
      l.readable = (operand.code.size() == 1 || l.guarded) && i.id == operand.value && i.dtype == contraction_type && !rows_apart &&
                   i.access.index_value < 0 &&
                   (!lanes_across || l.across_stride == 1 || kernel.axes[across].extent == Extent{1, false});
      break;
    }
    return l;
  };
  r.a = layout(kernel.a, m, false);
  r.b = layout(kernel.b, n, true);
  return r;
}

void choose_tiles(const Program& program, ContractKernel& kernel) {
  TileChoice choice = choose_tiles(program.target, tile_request(program, kernel));
  kernel.mr = choice.mr;
  kernel.nr = choice.nr;
  kernel.mc = choice.mc;
  kernel.nc = choice.nc;
  kernel.kc = chain_block(sum_order_of(kernel, program.planned()), choice.kc);
  kernel.a.pack = choice.pack_a;
  kernel.b.pack = choice.pack_b;
}

}  // namespace nnc
