// A program as text, for people: buffers with their places, then every kernel as the loop nest it is, each instruction a line. Addresses are
// written as the sums they are computed from, in elements, with axis names.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ir/program.h"
#include "ir/text.h"

namespace nnc {
namespace {

std::string_view kind_name(BufferKind kind) {
  switch (kind) {
    case BufferKind::field: return "field";
    case BufferKind::persistent: return "persistent";
    case BufferKind::temporary: return "temporary";
    case BufferKind::scalars: return "scalar";
    case BufferKind::results: return "result";
    case BufferKind::output: return "output";
  }
  return "?";
}

std::string quantity(double value, std::string_view unit) {
  if (value >= 1e9) return fmt::format("{:.2f} G{}", value / 1e9, unit);
  if (value >= 1e6) return fmt::format("{:.2f} M{}", value / 1e6, unit);
  if (value >= 1e3) return fmt::format("{:.2f} k{}", value / 1e3, unit);
  return fmt::format("{:.0f} {}", value, unit);
}

class Printer {
 public:
  Printer(const Program& program, const SourceMap* sources) : program_(program), sources_(sources) {}

  std::string run() {
    line(0, "program {} {{", at_name(program_.name));
    line(1, "target {} {}, {} row{} planned", program_.target.cpu.empty() ? "any" : program_.target.cpu, vector_level_name(program_.target.level),
         program_.rows, program_.rows == 1 ? "" : "s");
    line(1, "arena {} bytes, persistent {} bytes", program_.arena_bytes, program_.persistent_bytes);
    out_ += "\n";
    for (const Buffer& buffer : program_.buffers) print_buffer(buffer);
    for (const Kernel& kernel : program_.kernels) print_kernel(kernel);
    out_ += "}\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void line(int depth, fmt::format_string<Args...> format, Args&&... args) {
    out_.append(size_t(depth) * 2, ' ');
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
    out_ += '\n';
  }

  void print_buffer(const Buffer& buffer) {
    std::string text = fmt::format("{} {} : {}", kind_name(buffer.kind), quote(buffer.name), to_string(Type{buffer.dtype, buffer.shape}));
    if (!buffer.order.empty()) text += fmt::format(" order [{}]", fmt::join(buffer.order, ", "));
    switch (buffer.kind) {
      case BufferKind::field: text += fmt::format(" field {}", buffer.field); break;
      case BufferKind::persistent:
      case BufferKind::temporary: text += fmt::format(" at {}, {} bytes", buffer.offset, buffer.bytes); break;
      case BufferKind::scalars:
      case BufferKind::results: text += fmt::format(" slot {}", buffer.offset / 4); break;
      case BufferKind::output: text += fmt::format(" slot {}", buffer.offset); break;
    }
    line(1, "{}", text);
  }

  std::string buffer_name(BufferId id) const { return id.value < program_.buffers.size() ? program_[id].name : "?"; }

  std::string axis_name(int axis) const {
    return axis >= 0 && size_t(axis) < axes_->size() ? (*axes_)[size_t(axis)].name : fmt::format("axis{}", axis);
  }

  std::string access_text(const Access& access) const {
    std::string row = access.row_axis >= 0 ? fmt::format("row({}), ", axis_name(access.row_axis)) : "", index;
    auto add = [&](const std::string& term) { index += (index.empty() ? "" : " + ") + term; };
    for (size_t i = 0; i < access.strides.size(); ++i) {
      if (access.strides[i] == 0) continue;
      add(access.strides[i] == 1 ? axis_name(int(i)) : fmt::format("{}*{}", access.strides[i], axis_name(int(i))));
    }
    if (access.index_value >= 0)
      add(access.index_stride == 1 ? fmt::format("v{}", access.index_value) : fmt::format("{}*v{}", access.index_stride, access.index_value));
    if (access.offset != 0 || index.empty()) add(fmt::format("{}", access.offset));
    return fmt::format("{}[{}{}]", buffer_name(access.buffer), row, index);
  }

  std::string values(const std::vector<int>& ids) const {
    std::string out;
    for (int id : ids) out += fmt::format("{}v{}", out.empty() ? "" : ", ", id);
    return out;
  }

  void print_instruction(const Instruction& i, int depth) {
    using Kind = Instruction::Kind;
    std::string define = i.id >= 0 ? fmt::format("v{} = ", i.id) : "", type{dtype_name(i.dtype)};
    std::string origin = i.node.valid() ? fmt::format("  # %{}", i.node.value) : "";
    switch (i.kind) {
      case Kind::load: return line(depth, "{}load {} : {}{}", define, access_text(i.access), type, origin);
      case Kind::store: return line(depth, "{} <- {} : {}{}", access_text(i.access), values(i.operands), type, origin);
      case Kind::store_add: return line(depth, "{} += {} : {}{}", access_text(i.access), values(i.operands), type, origin);
      case Kind::constant: return line(depth, "{}constant {} : {}{}", define, number_text(i.number), type, origin);
      case Kind::axis_index: return line(depth, "{}index of {} : {}{}", define, axis_name(i.axis), type, origin);
      case Kind::compute: return line(depth, "{}{}({}) : {}{}", define, op_name(i.op), values(i.operands), type, origin);
      case Kind::reduce: return line(depth, "{}{}({}) over the inner loop : {}{}", define, op_name(i.op), values(i.operands), type, origin);
      case Kind::accumulator: return line(depth, "{}sum over k of a * b : {}{}", define, type, origin);
      case Kind::extent: return line(depth, "{}extent {} : {}{}", define, to_string(i.extent), type, origin);
    }
  }

  void print_code(const std::vector<Instruction>& code, int depth) {
    for (const Instruction& i : code) print_instruction(i, depth);
  }

  std::string loop_text(size_t begin, size_t end) const {
    std::string out;
    for (size_t i = begin; i < end && i < axes_->size(); ++i)
      out += fmt::format("{}{} < {}", out.empty() ? "" : ", ", (*axes_)[i].name, to_string((*axes_)[i].extent));
    return out;
  }

  void print_map(const MapKernel& map) {
    axes_ = &map.axes;
    size_t outer = size_t(map.outer);
    int depth = 2;
    if (outer > 0) {
      bool vector = map.vector_axis >= 0 && map.vector_axis < map.outer;
      line(depth++, "for {}{}:", loop_text(0, outer), vector ? fmt::format("  (vector along {})", axis_name(map.vector_axis)) : "");
    }
    for (const Block& block : map.blocks) {
      if (!block.inner) {
        print_code(block.code, depth);
        continue;
      }
      bool vector = map.vector_axis >= map.outer;
      line(depth, "for {}{}:", loop_text(outer, map.axes.size()), vector ? fmt::format("  (vector along {})", axis_name(map.vector_axis)) : "");
      print_code(block.code, depth + 1);
    }
  }

  void print_operand(const Operand& operand, std::string_view name, std::string_view indices) {
    line(3, "{}[{}] = v{}{}:", name, indices, operand.value, operand.pack ? ", packed" : "");
    print_code(operand.code, 4);
  }

  void print_contract(const ContractKernel& contract) {
    axes_ = &contract.axes;
    size_t batch = size_t(contract.batch);
    line(2, "contract {}: tile {} x {} vectors, blocks {} x {} x {}", loop_text(0, contract.axes.size()), contract.mr, contract.nr, contract.mc,
         contract.nc, contract.kc);
    std::string prefix;
    for (size_t i = 0; i < batch; ++i) prefix += axis_name(int(i)) + ", ";
    std::string m = axis_name(int(batch)), n = axis_name(int(batch) + 1), k = axis_name(int(batch) + 2);
    print_operand(contract.a, "a", prefix + m + ", " + k);
    print_operand(contract.b, "b", prefix + k + ", " + n);
    line(3, "for each {}{}, {}:", prefix, m, n);
    print_code(contract.epilogue, 4);
  }

  void print_kernel(const Kernel& kernel) {
    out_ += "\n";
    std::string about;
    auto add = [&](const std::string& part) {
      if (!part.empty()) about += (about.empty() ? "" : ", ") + part;
    };
    if (sources_ && kernel.span.valid()) add("from " + sources_->describe_line(kernel.span));
    if (!kernel.scope.empty()) add("scope " + kernel.scope);
    add(kernel.parallel ? "parallel" : "one thread");
    add(kernel.barrier_before ? "after a barrier" : "");
    if (kernel.flops > 0) add(quantity(kernel.flops, "FLOP"));
    if (kernel.bytes > 0) add(quantity(kernel.bytes, "B"));
    line(1, "kernel {}  # {}", kernel.name, about);
    if (const MapKernel* map = std::get_if<MapKernel>(&kernel.body))
      print_map(*map);
    else
      print_contract(std::get<ContractKernel>(kernel.body));
  }

  const Program& program_;
  const SourceMap* sources_;
  const std::vector<Axis>* axes_ = nullptr;
  std::string out_;
};

}  // namespace

std::string print_program(const Program& program, const SourceMap* sources) { return Printer(program, sources).run(); }

}  // namespace nnc
