// A program as text: buffers with their places, then every kernel as the loop nest it is, each instruction a line. Addresses are
// written as the sums they are computed from, in elements, with axis names. What follows from the rest is left out, so that what a kernel usually is stays
// short; parse_program.cpp puts it back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "ir/program_regions.h"
#include "ir/program_text.h"
#include "ir/text.h"

namespace nnc {

std::string_view buffer_keyword(BufferKind kind) {
  switch (kind) {
    case BufferKind::field: return "field";
    case BufferKind::persistent: return "persistent";
    case BufferKind::temporary: return "temporary";
    case BufferKind::local: return "local";
    case BufferKind::scalars: return "scalar";
    case BufferKind::results: return "result";
    case BufferKind::literal: return "literal";
    case BufferKind::output: return "output";
  }
  return "?";
}

bool is_value_name(std::string_view name) {
  return name.size() > 1 && name[0] == 'v' && std::all_of(name.begin() + 1, name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool is_node_name(std::string_view name) {
  size_t end = 1;
  while (end < name.size() && name[end] >= '0' && name[end] <= '9') ++end;
  if (end == 1 || name[0] != '%') return false;
  return end == name.size() || (name[end] == '.' && is_plain_name(name.substr(end + 1)));
}

std::vector<std::string> written_axis_names(const std::vector<Axis>& axes) {
  std::set<std::string> taken;
  std::vector<std::string> names;
  for (size_t i = 0; i < axes.size(); ++i) {
    std::string name = axes[i].name;
    bool word = is_plain_name(name) && name.find('.') == std::string::npos && !(name[0] >= '0' && name[0] <= '9');
    if (!word || is_value_name(name) || taken.count(name)) name = fmt::format("axis{}", i);
    while (!taken.insert(name).second) name += '_';
    names.push_back(std::move(name));
  }
  return names;
}

ContractAxes contract_axes(const ContractKernel& contract) {
  const std::vector<std::string> names = written_axis_names(contract.axes);
  const std::pair batch{size_t(0), contract.first_m()}, m{contract.first_m(), contract.n_axis()}, n{contract.n_axis(), contract.first_k()},
      k{contract.first_k(), contract.axes.size()}, lines{contract.first_m(), contract.row_axis()};
  auto list = [&](auto... ranges) {
    std::string out;
    for (auto [begin, end] : {ranges...})
      for (size_t i = begin; i < end; ++i) out += (out.empty() ? "" : ", ") + names[i];
    return out;
  };
  return {list(batch, m, k), list(batch, k, n), list(batch, m, n), list(batch, lines, n), names[contract.row_axis()]};
}

std::string quantity_text(double value, std::string_view unit) {
  if (value >= 1e9) return fmt::format("{:.2f} G{}", value / 1e9, unit);
  if (value >= 1e6) return fmt::format("{:.2f} M{}", value / 1e6, unit);
  if (value >= 1e3) return fmt::format("{:.2f} k{}", value / 1e3, unit);
  return fmt::format("{:.0f} {}", value, unit);
}

bool serial_by_nature(const MapKernel& map, bool parallel) {
  if (parallel) return false;
  if (map.outer == 0) return true;
  for (const Block& block : map.blocks)
    for (const Instruction& i : block.code)
      if (i.kind == Instruction::Kind::store_add || i.kind == Instruction::Kind::link || (i.kind == Instruction::Kind::store && i.access.index_value >= 0)) return true;
  return false;
}

bool lone_inner_loop(const MapKernel& map) {
  bool found = false;
  for (const Block& block : map.blocks) {
    if (!block.inner && block.code.empty()) continue;
    if (!block.inner || found) return false;
    found = true;
  }
  return found && map.outer == 0;
}

namespace {

class Printer {
 public:
  Printer(const Program& program, const SourceMap* sources) : program_(program), sources_(sources) {
    for (const PersistentPlace& place : program.persistents) places_[place.buffer] = &place;
    std::map<std::string_view, int> times;
    for (const Buffer& buffer : program.buffers) {
      int time = ++times[buffer.name];
      std::string name = is_plain_name(buffer.name) || is_node_name(buffer.name) ? buffer.name : quote(buffer.name);
      references_.push_back(time == 1 ? name : fmt::format("{}@{}", name, time));
    }
  }

  std::string run() {
    line(0, "program {} {{", at_name(program_.name));
    std::string share;
    if (program_.whole_rows > 0) share += fmt::format(" of {}", program_.whole_rows);
    if (program_.piece_rows > 0) share += fmt::format(" in pieces of {}", program_.piece_rows);
    line(1, "target {} {}, {} row{} planned{}", program_.target.cpu.empty() ? "any" : program_.target.cpu, vector_level_name(program_.target.level),
         program_.rows, program_.rows == 1 ? "" : "s", share);
    line(1, "arena {} bytes, persistent {} bytes{}", program_.arena_bytes, program_.persistent_bytes, program_.local_bytes > 0 ? fmt::format(", local {} bytes", program_.local_bytes) : "");
    out_ += "\n";
    for (uint32_t i = 0; i < program_.buffers.size(); ++i) print_buffer(BufferId{i});
    size_t next = 0, next_parallel = 0;
    std::vector<size_t> ends;  // of the regions around, outermost first
    for (size_t k = 0; k < program_.kernels.size(); ++k) {
      while (!ends.empty() && ends.back() <= k) ends.pop_back();
      auto print_beginning = [&](const auto& regions, size_t& number) {
        for (; number < regions.size() && regions[number].first == k; ++number) {
          indent_ = ends.size();
          print_region(regions[number]);
          ends.push_back(k + regions[number].count);
        }
      };
      print_beginning(program_.regions, next);
      print_beginning(program_.parallel_regions, next_parallel);  // these stand within those
      indent_ = ends.size();
      print_kernel(program_.kernels[k]);
    }
    indent_ = 0;
    out_ += "}\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void line(int depth, fmt::format_string<Args...> format, Args&&... args) {
    out_.append((size_t(depth) + indent_) * 2, ' ');
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
    out_ += '\n';
  }

  void print_buffer(BufferId id) {
    const Buffer& buffer = program_[id];
    std::string_view keyword = buffer.slot.valid() ? slot_keyword : buffer_keyword(buffer.kind);
    std::string text = fmt::format("{} {} : {}", keyword, quote(buffer.name), to_string(Type{buffer.dtype, buffer.shape}));
    if (!buffer.order.empty()) text += fmt::format(" order [{}]", fmt::join(buffer.order, ", "));
    if (buffer.slot.valid()) {
      text += fmt::format(" of {} first {}", buffer_name(buffer.slot.of), buffer.slot.first);
      if (!buffer.slot.per_round.empty()) text += fmt::format(", per round [{}]", fmt::join(buffer.slot.per_round, ", "));
      return line(1, "{}", text);
    }
    switch (buffer.kind) {
      case BufferKind::field: text += fmt::format(" field {}", buffer.field); break;
      case BufferKind::persistent:
      case BufferKind::local:
      case BufferKind::temporary: text += fmt::format(" at {}, {} bytes", buffer.offset, buffer.bytes); break;
      case BufferKind::scalars:
      case BufferKind::results: text += fmt::format(" slot {}", scalar_slot(buffer)); break;
      case BufferKind::literal: text += " values " + numbers_text(buffer.values, buffer.dtype); break;
      case BufferKind::output: text += fmt::format(" slot {}", buffer.offset); break;
    }
    if (auto it = places_.find(id); it != places_.end()) {
      const PersistentPlace& place = *it->second;
      if (place.persistent.kind != PersistentKind::parameter) text += fmt::format(", {}", persistent_keyword(place.persistent.kind));
      if (place.part) {
        text += fmt::format(", from {} of {}", place.part->begin, to_string(place.persistent.type));
        if (!place.part->order.empty()) text += fmt::format(" order [{}]", fmt::join(place.part->order, ", "));
      }
    }
    line(1, "{}", text);
  }

  std::string buffer_name(BufferId id) const { return id.value < references_.size() ? references_[id.value] : "?"; }

  std::string axis_name(int axis) const {
    return axis >= 0 && size_t(axis) < axis_names_.size() ? axis_names_[size_t(axis)] : fmt::format("axis{}", axis);
  }

  std::string access_text(const Access& access) const { return buffer_name(access.buffer) + place_text(access); }

  std::string place_text(const Access& access) const {
    std::string row = access.row_axis >= 0 ? fmt::format("row({}), ", axis_name(access.row_axis)) : "", index;
    auto add = [&](const std::string& term) { index += (index.empty() ? "" : " + ") + term; };
    for (size_t i = 0; i < access.strides.size(); ++i) {
      if (access.strides[i] == 0) continue;
      add(access.strides[i] == 1 ? axis_name(int(i)) : fmt::format("{}*{}", access.strides[i], axis_name(int(i))));
    }
    if (access.index_value >= 0)
      add(access.index_stride == 1 ? fmt::format("v{}", access.index_value) : fmt::format("{}*v{}", access.index_stride, access.index_value));
    if (access.offset != 0 || index.empty()) add(fmt::format("{}", access.offset));
    return fmt::format("[{}{}]", row, index);
  }

  /// Bits of a NaN's sign reach the memory that it is stored to.
  static std::string constant_text(Number number, DType type) { return std::isnan(number) && std::signbit(number) ? "-nan" : number_text(number, type); }

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
      case Kind::constant: return line(depth, "{}constant {} : {}{}", define, constant_text(i.number, i.dtype), type, origin);
      case Kind::axis_index: return line(depth, "{}index of {} : {}{}", define, axis_name(i.axis), type, origin);
      case Kind::compute: return line(depth, "{}{}({}) : {}{}", define, op_name(i.op), values(i.operands), type, origin);
      case Kind::reduce:
        return line(depth, "{}{}({}) over the {} : {}{}", define, op_name(i.op), values(i.operands), in_contraction_ ? "rows" : "inner loop", type, origin);
      case Kind::accumulator: return line(depth, "{}sum over k of a * b : {}{}", define, type, origin);
      case Kind::guard: return line(depth, "where 0 <= {} < {}{}", place_text(i.access), i.extent.size, origin);
      case Kind::link: return line(depth, "{} links {} of {}{}", access_text(i.access), values(i.operands), i.extent.size, origin);
      case Kind::linked: return line(depth, "where {} links {}{}", access_text(i.access), axis_name(i.axis), origin);
      case Kind::touched:
        return line(depth, "skip {} unless {} links it or {}{}", axis_name(i.axis), buffer_name(i.access.buffer), values(i.operands), origin);
      case Kind::random: return line(depth, "{}random {} {} : {}{}", define, quote(i.site), place_text(i.access), type, origin);
      case Kind::extent: return line(depth, "{}extent {} : {}{}", define, to_string(i.extent), type, origin);
    }
  }

  void print_code(const std::vector<Instruction>& code, int depth) {
    for (const Instruction& i : code) print_instruction(i, depth);
  }

  std::string loop_text(size_t begin, size_t end) const {
    std::string out;
    for (size_t i = begin; i < end && i < axes_->size(); ++i)
      out += fmt::format("{}{} < {}{}{}", out.empty() ? "" : ", ", axis_names_[i], to_string((*axes_)[i].extent),
                         (*axes_)[i].together == 1 ? "" : fmt::format(" by {}", (*axes_)[i].together), limit_text((*axes_)[i].limit));
    return out;
  }

  std::string limit_text(const Limit& limit) const {
    if (limit == Limit{}) return "";
    const std::string first = fmt::format("{}*{}", limit.step, axis_name(limit.axis));
    return limit.from ? " from " + first : fmt::format(" below {} + {}", first, limit.step);
  }

  void set_axes(const std::vector<Axis>& axes, bool in_contraction) {
    axes_ = &axes;
    in_contraction_ = in_contraction;
    axis_names_ = written_axis_names(axes);
  }

  void print_map(const MapKernel& map) {
    set_axes(map.axes, false);
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
      std::string notes = lone_inner_loop(map) ? "inner" : "";
      if (map.vector_axis >= map.outer) notes += fmt::format("{}vector along {}", notes.empty() ? "" : ", ", axis_name(map.vector_axis));
      line(depth, "for {}{}:", loop_text(outer, map.axes.size()), notes.empty() ? "" : fmt::format("  ({})", notes));
      print_code(block.code, depth + 1);
    }
  }

  void print_operand(const Operand& operand, std::string_view name, std::string_view indices) {
    line(3, "{}[{}] = v{}{}:", name, indices, operand.value, operand.pack ? ", packed" : "");
    print_code(operand.code, 4);
  }

  void print_contract(const ContractKernel& contract) {
    set_axes(contract.axes, true);
    const ContractAxes names = contract_axes(contract);
    const size_t m = contract.first_m(), n = contract.n_axis(), k = contract.first_k();
    line(2, "contract {}{}{}; {}; {}: tile {} x {} vectors, blocks {} x {} x {}", loop_text(0, m), m > 0 ? "; " : "", loop_text(m, n), loop_text(n, k),
         loop_text(k, contract.axes.size()), contract.mr, contract.nr, contract.mc, contract.nc, contract.kc);
    print_operand(contract.a, "a", names.a);
    print_operand(contract.b, "b", names.b);
    line(3, "for each {}:", names.epilogue);
    print_code(contract.epilogue, 4);
    if (contract.after_rows.empty()) return;
    line(3, "after all {}, for each {}:", names.rows, names.after_rows);
    print_code(contract.after_rows, 4);
  }

  /// As it is where it cannot be mistaken for the next remark.
  static std::string remark_text(const std::string& text) {
    bool plain = !text.empty() && text.front() != ' ' && text.back() != ' ';
    for (char c : text) plain = plain && c != ',' && c != '"' && static_cast<unsigned char>(c) >= 32 && c != 127;
    return plain ? text : quote(text);
  }

  std::string origin_text(Span span) const {
    return fmt::format("from {}:{}", remark_text(sources_->path(span.file)), sources_->position(span.file, span.begin).line);
  }

  void print_kernel(const Kernel& kernel) {
    out_ += "\n";
    std::string about;
    auto add = [&](const std::string& part) {
      if (!part.empty()) about += (about.empty() ? "" : ", ") + part;
    };
    if (sources_ && kernel.span.valid()) add(origin_text(kernel.span));
    if (!kernel.scope.empty()) add("scope " + remark_text(kernel.scope));
    add(kernel.parallel ? "parallel" : "one thread");
    const MapKernel* map = std::get_if<MapKernel>(&kernel.body);
    if (map && map->serial != serial_by_nature(*map, kernel.parallel)) add(map->serial ? "serial" : "not serial");
    add(kernel.barrier_before ? "after a barrier" : "");
    if (kernel.flops > 0) add(quantity_text(kernel.flops, "FLOP"));
    if (kernel.bytes > 0) add(quantity_text(kernel.bytes, "B"));
    line(1, "kernel {}  # {}", is_plain_name(kernel.name) ? kernel.name : quote(kernel.name), about);
    if (map)
      print_map(*map);
    else
      print_contract(std::get<ContractKernel>(kernel.body));
  }

  void print_region(const Region& region) {
    print_region_line(region, fmt::format("{} round{}{}", region.rounds, region.rounds == 1 ? "" : "s", region.reverse ? ", reverse" : ""));
  }
  void print_region(const ParallelRegion& region) {
    print_region_line(region, fmt::format("over {} {}", region.axes, region.axes == 1 ? "axis" : "axes"));
  }

  template <class AnyRegion>
  void print_region_line(const AnyRegion& region, const std::string& what) {
    out_ += "\n";
    std::string about = sources_ && region.span.valid() ? origin_text(region.span) : "";
    if (!region.scope.empty()) about += (about.empty() ? "" : ", ") + ("scope " + remark_text(region.scope));
    line(1, "region {} {}{}", is_plain_name(region.name) ? region.name : quote(region.name), what, about.empty() ? "" : "  # " + about);
  }

  const Program& program_;
  const SourceMap* sources_;
  size_t indent_ = 0;  ///< regions around the lines at hand
  std::map<BufferId, const PersistentPlace*> places_;
  std::vector<std::string> references_;  ///< by buffer: its name, @2 behind the second of that name
  const std::vector<Axis>* axes_ = nullptr;
  std::vector<std::string> axis_names_;
  bool in_contraction_ = false;
  std::string out_;
};

}  // namespace

std::string print_program(const Program& program, const SourceMap* sources) { return Printer(program, sources).run(); }

}  // namespace nnc
