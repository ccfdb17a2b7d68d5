// Two directions of evaluation. With lanes across (m or n), vectors go into the panel as they are. Where only k is contiguous in
// memory, a square of rows by lanes of k is loaded and transposed in registers. The transpose is done on the loaded values,
// before any arithmetic: bytes move four to the place of one float. A panel's width is cut into parts, powers of two of at most a
// vector. The end of k needs no masks: the last chunk is moved back to end there and writes some values a second time; rows that
// do not exist are read as the last one that does. Where k is several axes, this is done for one run after the other of those last ones that the operand
// walks as one.
#include "codegen/contract_pack.h"

#include <algorithm>

#include "base/check.h"
#include "codegen/micro.h"

namespace nnc {
namespace {

struct Part {
  int offset, size;
};

std::vector<Part> cut_width(int width, int lanes) {
  std::vector<Part> parts;
  for (int offset = 0, size = lanes; offset < width; offset += size) {
    while (size > width - offset) size /= 2;
    parts.push_back({offset, size});
  }
  return parts;
}

bool is_leaf(const Instruction& i) {
  return i.kind == Instruction::Kind::load || i.kind == Instruction::Kind::axis_index || i.kind == Instruction::Kind::random;
}

bool varies_along(const Instruction& i, int axis) {
  if (i.kind == Instruction::Kind::axis_index) return i.axis == axis;
  return i.access.index_value >= 0 || i.access.row_axis == axis || i.access.strides[size_t(axis)] != 0;
}

/// The run of all that the code reads. Its stride says nothing.
AxisRun run_of(const std::vector<Instruction>& code, const JointAxes& k, int64_t rows) {
  AxisRun run;
  run.length = joint_extent(*k.axes, k.begin, k.end).at(rows);
  run.first = k.begin;
  auto shorten = [&](const AxisRun& own) {
    if (own.first > run.first) run = own;
  };
  AxisRun last;
  last.first = k.end - 1;
  last.length = (*k.axes)[last.first].extent.at(rows);
  for (const Instruction& i : code) {
    if (!is_leaf(i)) continue;
    if (i.kind == Instruction::Kind::axis_index) {
      if (i.axis >= int(k.begin) && i.axis < int(k.end)) shorten(last);
    } else {
      AxisRun own = run_of(i.access, k, rows);
      shorten(own.length == 0 ? last : own);
    }
  }
  return run;
}

/// How many loads are scattered when lanes run along `axis`.
int scattered_loads(const std::vector<Instruction>& code, int axis) {
  int count = 0;
  for (const Instruction& i : code)
    if (i.kind == Instruction::Kind::load && varies_along(i, axis))
      count += i.access.index_value >= 0 || i.access.row_axis == axis || i.access.strides[size_t(axis)] != 1;
  return count;
}

llvm::Value* as_floats(Emitter& e, Point& point, int value, int width) {
  return e.splat(e.cast(point.value(value), contraction_type), width);
}

class Packer {
 public:
  Packer(Emitter& e, const PackJob& job) : e_(e), job_(job), parts_(cut_width(job.width, e.lanes)), k_axis_(int(job.k_axes.end) - 1) {}

  void run() {
    auto& ir = e_.ir;
    const AxisRun run = run_of(job_.operand->code, job_.k_axes, e_.program.rows);
    for (size_t axis = job_.k_axes.begin; axis < job_.k_axes.end; ++axis) job_.index[axis] = e_.i64(0);
    panels_ = job_.panels;
    if (run.first == job_.k_axes.begin) return run_of_k();
    const JointAxes outer{job_.k_axes.axes, job_.k_axes.begin, run.first};
    llvm::Value *begin = job_.k_first, *end = ir.CreateAdd(begin, job_.k_count), *length = e_.i64(run.length);
    job_.k_max = std::min(job_.k_max, run.length);
    job_.k_min = 1;
    llvm::Value* last = ir.CreateAdd(ir.CreateUDiv(ir.CreateSub(end, e_.i64(1)), length), e_.i64(1));
    e_.loop(
        ir.CreateUDiv(begin, length), last, 1,
        [&](llvm::Value* number) {
          outer.set(e_, number, job_.index);
          llvm::Value *run_begin = ir.CreateMul(number, length), *run_end = ir.CreateAdd(run_begin, length);
          llvm::Value *from = ir.CreateSelect(ir.CreateICmpSGT(begin, run_begin), begin, run_begin), *to = e_.minimum_index(end, run_end);
          job_.k_first = ir.CreateSub(from, run_begin);
          job_.k_count = ir.CreateSub(to, from);
          llvm::Value* done = ir.CreateSub(from, begin);
          panels_ = e_.offset_pointer(job_.panels, ir.CreateMul(done, e_.i64(int64_t(job_.width) * contraction_bytes)));
          run_of_k();
        },
        true);
  }

 private:
  /// What of the block lies along the last axis of k, which stands for all those of the run.
  void run_of_k() {
    const auto& code = job_.operand->code;
    bool along_k = scattered_loads(code, k_axis_) < scattered_loads(code, job_.across_axis);
    if (!along_k || job_.k_max < e_.lanes) return lanes_across();
    if (job_.k_min >= e_.lanes) return lanes_along_k();
    llvm::Value* enough = e_.ir.CreateICmpSGE(job_.k_count, e_.i64(e_.lanes));
    e_.when(e_.ir.CreateNot(enough), [&] { lanes_across(); });
    e_.when(enough, [&] { lanes_along_k(); });
  }

  void lanes_across() {
    auto& ir = e_.ir;
    llvm::Value* whole = ir.CreateUDiv(job_.count, e_.i64(job_.width));
    // Narrow panels: one vector is evaluated for several of them.
    const int group = parts_.size() == 1 && job_.width > 1 ? e_.lanes / job_.width : 1;
    e_.loop(e_.i64(0), job_.k_count, 1, [&](llvm::Value* k) {
      llvm::Value* row = e_.offset_pointer(panels_, ir.CreateMul(k, e_.i64(int64_t(job_.width) * contraction_bytes)));
      auto store_part = [&](llvm::Value* panel, llvm::Value* begin, Part part, llvm::Value* active) {
        Point point = point_at(ir.CreateAdd(job_.first, begin), ir.CreateAdd(job_.k_first, k));
        point.lane_axis = part.size > 1 ? job_.across_axis : -1;
        point.width = part.size;
        if (active && part.size > 1) {
          point.active = active;
          point.mask = e_.lane_mask(active, part.size);
        }
        if (!active) prefetch_ahead(point);
        e_.emit(job_.operand->code, point);
        llvm::Value* place =
            e_.offset_pointer(e_.offset_pointer(row, ir.CreateMul(panel, e_.i64(job_.panel_bytes))), int64_t(part.offset) * contraction_bytes);
        keep(as_floats(e_, point, job_.operand->value, part.size), place);
      };
      auto begin_of = [&](llvm::Value* panel, Part part) {
        return ir.CreateAdd(ir.CreateMul(panel, e_.i64(job_.width)), e_.i64(part.offset));
      };
      llvm::Value* ungrouped = e_.i64(0);
      if (group > 1 && job_.count_max >= e_.lanes) {
        ungrouped = ir.CreateMul(ir.CreateUDiv(whole, e_.i64(group)), e_.i64(group));
        e_.loop(e_.i64(0), ungrouped, group, [&](llvm::Value* panel) {
          Point point = point_at(ir.CreateAdd(job_.first, begin_of(panel, parts_[0])), ir.CreateAdd(job_.k_first, k));
          point.lane_axis = job_.across_axis;
          point.width = e_.lanes;
          e_.emit(job_.operand->code, point);
          llvm::Value* values = as_floats(e_, point, job_.operand->value, e_.lanes);
          llvm::Value* place = e_.offset_pointer(row, ir.CreateMul(panel, e_.i64(job_.panel_bytes)));
          for (int g = 0; g < group; ++g) {
            std::vector<int> pick;
            for (int l = 0; l < job_.width; ++l) pick.push_back(g * job_.width + l);
            keep(ir.CreateShuffleVector(values, pick), e_.offset_pointer(place, g * job_.panel_bytes));
          }
        });
      }
      e_.loop(ungrouped, whole, 1, [&](llvm::Value* panel) {
        for (Part part : parts_) store_part(panel, begin_of(panel, part), part, nullptr);
      });
      if (job_.whole_panels) return;
      for (Part part : parts_) {
        llvm::Value* begin = begin_of(whole, part);
        e_.when(ir.CreateICmpSLT(begin, job_.count),
                [&] { store_part(whole, begin, part, e_.minimum_index(e_.i64(part.size), ir.CreateSub(job_.count, begin))); });
      }
    });
  }

  void lanes_along_k() {
    auto& ir = e_.ir;
    // Eight rows at a time: a stage less than sixteen, and half the code.
    parts_ = cut_width(job_.width, std::min(e_.lanes, 8));
    llvm::Value* end = ir.CreateUDiv(ir.CreateAdd(job_.count, e_.i64(job_.width - 1)), e_.i64(job_.width));
    bool equal_parts = std::all_of(parts_.begin(), parts_.end(), [&](Part p) { return p.size == parts_[0].size; });
    e_.loop(e_.i64(0), end, 1, [&](llvm::Value* panel) {
      llvm::Value* begin = ir.CreateMul(panel, e_.i64(job_.width));
      llvm::Value* place = e_.offset_pointer(panels_, ir.CreateMul(panel, e_.i64(job_.panel_bytes)));
      auto part_at = [&](llvm::Value* offset, int size) {
        llvm::Value* row = ir.CreateAdd(begin, offset);
        auto body = [&] { transpose_part(row, size, e_.offset_pointer(place, ir.CreateMul(offset, e_.i64(contraction_bytes)))); };
        if (job_.whole_panels || parts_.size() == 1)
          body();
        else
          e_.when(ir.CreateICmpSLT(row, job_.count), body);
      };
      if (equal_parts && parts_.size() > 1) {
        e_.loop(
            e_.i64(0), e_.i64(job_.width), parts_[0].size, [&](llvm::Value* offset) { part_at(offset, parts_[0].size); }, true);
      } else {
        for (Part part : parts_) part_at(e_.i64(part.offset), part.size);
      }
    });
  }

  /// Rows row .. row + size - 1 of the block, all of k, to `place`.
  void transpose_part(llvm::Value* row, int size, llvm::Value* place) {
    auto& ir = e_.ir;
    const auto& code = job_.operand->code;
    const int lanes = e_.lanes;
    llvm::Value* last_row = ir.CreateSub(job_.count, e_.i64(1));
    std::vector<llvm::Value*> rows;
    for (int r = 0; r < size; ++r) {
      llvm::Value* at = ir.CreateAdd(row, e_.i64(r));
      rows.push_back(ir.CreateAdd(job_.first, job_.whole_panels ? at : e_.minimum_index(at, last_row)));
    }
    bool indexed = std::any_of(code.begin(), code.end(), [](const Instruction& i) {
      return i.kind == Instruction::Kind::load && i.access.index_value >= 0;
    });
    llvm::Value* last_chunk = ir.CreateSub(job_.k_count, e_.i64(lanes));
    e_.loop(e_.i64(0), job_.k_count, lanes, [&](llvm::Value* chunk) {
      llvm::Value* k = e_.minimum_index(chunk, last_chunk);
      llvm::Value* k_index = ir.CreateAdd(job_.k_first, k);
      std::vector<llvm::Value*> result;
      if (indexed) {
        for (llvm::Value* r : rows) {
          Point point = lanes_at(r, k_index);
          e_.emit(code, point);
          result.push_back(as_floats(e_, point, job_.operand->value, lanes));
        }
        result = emit_transpose(e_, result);
      } else {
        std::vector<Point> points(static_cast<size_t>(size), lanes_at(rows[0], k_index));
        for (const Instruction& i : code) {
          if (!is_leaf(i)) continue;
          bool constant = !varies_along(i, job_.across_axis) && !varies_along(i, k_axis_);
          std::vector<llvm::Value*> loaded;
          for (llvm::Value* r : rows) {
            if (constant && !loaded.empty()) break;
            Point point = lanes_at(r, k_index);
            e_.emit(i, point);
            loaded.push_back(constant ? point.value(i.id) : e_.splat(point.value(i.id), lanes));
          }
          if (!constant) loaded = emit_transpose(e_, loaded);
          for (size_t r = 0; r < points.size(); ++r) points[r].value(i.id) = loaded[constant ? 0 : r];
        }
        for (Point& point : points) {
          for (const Instruction& i : code)
            if (!is_leaf(i)) e_.emit(i, point);
          result.push_back(as_floats(e_, point, job_.operand->value, lanes));
        }
      }
      // result, one after the other: [lanes of k][size]
      llvm::Value* target = e_.offset_pointer(place, ir.CreateMul(k, e_.i64(int64_t(job_.width) * contraction_bytes)));
      for (int r = 0; r < size; ++r) {
        if (size == job_.width) {
          keep(result[size_t(r)], e_.offset_pointer(target, int64_t(r) * lanes * contraction_bytes));
          continue;
        }
        for (int j = 0; j < lanes / size; ++j) {
          llvm::Value* piece = result[size_t(r)];
          if (size == 1) {
            piece = ir.CreateExtractElement(piece, uint64_t(j));
          } else if (size < lanes) {
            std::vector<int> pick;
            for (int l = 0; l < size; ++l) pick.push_back(j * size + l);
            piece = ir.CreateShuffleVector(piece, pick);
          }
          int64_t k_offset = int64_t(r) * (lanes / size) + j;
          keep(piece, e_.offset_pointer(target, k_offset * job_.width * contraction_bytes));
        }
      }
    });
  }

  /// Rows of memory that are far apart are invisible to the hardware's prefetchers: ask for the vector some steps of k ahead.
  /// (Not for fields, whose rows are looked up; an address beyond the end does no harm.)
  void prefetch_ahead(const Point& at) {
    constexpr int64_t far_bytes = 1024, steps = 6;
    for (const Instruction& i : job_.operand->code) {
      if (i.kind != Instruction::Kind::load || i.access.row_axis >= 0 || i.access.index_value >= 0) continue;
      int64_t step_bytes = i.access.strides[size_t(k_axis_)] * int64_t(byte_size(i.dtype));
      if (step_bytes < far_bytes) continue;
      Point point = at;
      llvm::Value* address = e_.offset_pointer(e_.address(i.access, point), step_bytes * steps);
      e_.ir.CreateIntrinsic(llvm::Intrinsic::prefetch, {e_.ir.getPtrTy()},
                            {address, e_.ir.getInt32(0), e_.ir.getInt32(3), e_.ir.getInt32(1)});
    }
  }

  void keep(llvm::Value* value, llvm::Value* place) {
    e_.annotate(e_.ir.CreateAlignedStore(value, place, llvm::Align(contraction_bytes)), BufferId{});
  }

  Point point_at(llvm::Value* across, llvm::Value* k) {
    Point point;
    point.index = job_.index;
    point.index[size_t(job_.across_axis)] = across;
    point.index[size_t(k_axis_)] = k;
    return point;
  }

  Point lanes_at(llvm::Value* across, llvm::Value* k) {
    Point point = point_at(across, k);
    point.lane_axis = k_axis_;
    point.width = e_.lanes;
    return point;
  }

  Emitter& e_;
  PackJob job_;  ///< its k: of the run at hand
  std::vector<Part> parts_;
  int k_axis_;
  llvm::Value* panels_ = nullptr;  ///< where the run at hand goes to in the first panel
};

}  // namespace

void emit_pack(Emitter& e, const PackJob& job) { Packer(e, job).run(); }

bool gathers_rows(const Operand& operand, int across_axis) {
  return std::any_of(operand.code.begin(), operand.code.end(), [&](const Instruction& i) {
    return i.kind == Instruction::Kind::load && i.access.row_axis == across_axis && i.access.index_value < 0;
  });
}

void emit_prefetch_rows(Emitter& e, const PackJob& job, llvm::Value* first, llvm::Value* end) {
  constexpr int64_t line = 64;
  const size_t k_axis = job.k_axes.end - 1;
  e.loop(first, end, 1, [&](llvm::Value* row) {
    for (const Instruction& i : job.operand->code) {
      if (i.kind != Instruction::Kind::load || i.access.row_axis != job.across_axis || i.access.index_value >= 0) continue;
      Point point;
      point.index = job.index;
      point.index[size_t(job.across_axis)] = row;
      for (size_t axis = job.k_axes.begin; axis < job.k_axes.end; ++axis) point.index[axis] = e.i64(0);
      point.index[k_axis] = job.k_first;
      llvm::Value* address = e.address(i.access, point);
      int64_t step_bytes = i.access.strides[k_axis] * int64_t(byte_size(i.dtype));
      llvm::Value* bytes = e.ir.CreateMul(job.k_count, e.i64(step_bytes));
      e.loop(e.i64(0), bytes, line, [&](llvm::Value* at) {
        e.ir.CreateIntrinsic(llvm::Intrinsic::prefetch, {e.ir.getPtrTy()},
                             {e.offset_pointer(address, at), e.ir.getInt32(0), e.ir.getInt32(2), e.ir.getInt32(1)});
      });
    }
  });
}

bool directly_readable(const Program& program, const ContractKernel& kernel, const Operand& operand) {
  const Instruction& i = operand.code.back();
  if (std::any_of(operand.code.begin(), operand.code.end() - 1, [](const Instruction& other) { return other.kind != Instruction::Kind::guard; })) return false;
  if (i.kind != Instruction::Kind::load || i.id != operand.value || i.dtype != contraction_type || i.access.index_value >= 0)
    return false;
  if (i.access.row_axis >= int(kernel.row_axis())) return false;
  if (program[i.access.buffer].dtype != contraction_type) return false;
  const size_t n = kernel.n_axis();
  bool reads_n = &operand == &kernel.b;
  return !reads_n || i.access.strides[n] == 1 || kernel.axes[n].extent == Extent{1, false};
}

}  // namespace nnc
