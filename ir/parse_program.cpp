// Reads a program as print_program writes it. Lines belong to what stands above them and is indented less: a kernel's code to its name, a loop's to its
// `for`. A faulty line is reported, what is indented below it is passed over, and reading goes on. What a text does not say follows from what it says: names
// of fields, scalars, results and outputs from the buffers, sizes in bytes from the types, the target's registers and caches from its level. A program
// that could be read is verified, and each violated invariant is reported at the line that breaks it.
#include <fmt/format.h>

#include <charconv>
#include <map>

#include "base/check.h"
#include "ir/kernel_lines.h"
#include "ir/op_rules.h"
#include "ir/program_text.h"
#include "ir/text.h"
#include "ir/written_places.h"

namespace nnc {
namespace {

constexpr int64_t max_register_tile = 64, max_block = int64_t(1) << 24;
constexpr int64_t max_place = int64_t(1) << 62;

class ProgramParser : private KernelLineReader {
 public:
  ProgramParser(SourceMap& sources, FileId file, Diagnostics& diagnostics) : KernelLineReader(sources, file, diagnostics) {}

  std::optional<Program> run(bool verify) {
    if (!check_text()) return std::nullopt;
    try {
      parse_head();
      parse_parts();
    } catch (Fault) {
      return std::nullopt;
    } catch (TooLarge) {
      return std::nullopt;
    }
    if (faulty_) return std::nullopt;
    resolve_origins();
    name_slots();
    if (verify && !faulty_) report_violations();
    if (faulty_) return std::nullopt;
    return std::move(program_);
  }

 private:
  // --- lines ---

  /// At the first sign of the next line that holds something; false at the end of the text.
  bool next_line() {
    skip_blank_lines();
    size_t begin = at_;
    while (begin > 0 && text_[begin - 1] != '\n') --begin;
    indent_ = at_ - begin;
    return at_ < text_.size();
  }
  bool next_line_below(size_t indent) { return next_line() && indent_ > indent && !too_many_faults(); }
  /// After a fault in the part that begins at `begin`: what is left of the line, and all that is indented below the part's first. A line at whose beginning
  /// the fault was found, because another was expected there, stays.
  void skip_part(size_t indent, size_t begin) {
    size_t line = at_;
    while (line > begin && text_[line - 1] == ' ') --line;
    if (line <= begin || text_[line - 1] != '\n') skip_line();
    while (next_line() && indent_ > indent) skip_line();
  }

  // --- the program ---

  void parse_head() {
    skip_blank_lines();
    size_t begin = at_;
    if (!accept_word("program")) fail(Code::E0630, here(), "expected `program @name {`");
    program_.name = parse_name();
    head_ = since(begin);
    expect("{");
    end_line();
    next_line();
    expect_word("target");
    skip_spaces();
    begin = at_;
    while (is_word(peek()) || peek() == '-' || peek() == '.' || peek() == '+') ++at_;
    std::string cpu(text_.substr(begin, at_ - begin));
    if (cpu.empty()) fail(Code::E0630, here(), "expected a CPU, or `any`");
    skip_spaces();
    begin = at_;
    std::optional<VectorLevel> level = parse_vector_level(parse_word());
    if (!level) fail(Code::E0630, since(begin), "expected a level: portable, avx2 or avx512");
    program_.target = target_with_level(*level);
    if (cpu != "any") program_.target.cpu = std::move(cpu);
    expect(",");
    program_.rows = parse_integer(max_elements, "the number of rows");
    if (!accept_word("rows")) expect_word("row");
    expect_word("planned");
    if (accept_word("of")) program_.whole_rows = parse_integer(max_elements, "the number of rows of the batch");
    if (accept_word("in")) {
      expect_word("pieces");
      expect_word("of");
      program_.piece_rows = parse_integer(max_elements, "the number of rows of a piece");
    }
    end_line();
    next_line();
    expect_word("arena");
    program_.arena_bytes = parse_integer(max_place, "a number of bytes");
    expect_word("bytes");
    expect(",");
    expect_word("persistent");
    program_.persistent_bytes = parse_integer(max_place, "a number of bytes");
    expect_word("bytes");
    if (accept(",")) {
      expect_word("local");
      program_.local_bytes = parse_integer(max_place, "a number of bytes");
      expect_word("bytes");
    }
    end_line();
  }

  void parse_parts() {
    while (!too_many_faults()) {
      if (!next_line()) {
        report(Code::E0630, here(), fmt::format("the file ends inside program {}: expected `}}`", at_name(program_.name)));
        return;
      }
      size_t indent = indent_, begin = at_;
      try {
        if (accept("}")) {
          end_line();
          break;
        }
        parse_part();
      } catch (Fault) {
        NNC_CHECK(faulty_, "a line was given up without a message");
        skip_part(indent, begin);
      }
    }
    skip_blank_lines();
    if (at_ < text_.size() && !too_many_faults()) report(Code::E0630, here(), "expected the end of the file: it holds one program");
  }

  void parse_part() {
    size_t begin = at_, indent = indent_;
    count_line();
    std::string_view word = parse_word();
    if (word == "kernel") return parse_kernel();
    if (word == "region") return parse_region(indent, 1);
    if (word == slot_keyword) return parse_slot(begin);
    for (BufferKind kind : all_buffer_kinds)
      if (word == buffer_keyword(kind)) return parse_buffer_line(kind, begin);
    std::vector<std::string> words{"kernel", "region", std::string(slot_keyword)};
    for (BufferKind kind : all_buffer_kinds) words.emplace_back(buffer_keyword(kind));
    std::string hint = nearest(word, words);
    fail(Code::E0630, word.empty() ? here() : since(begin), "expected a buffer (field, persistent, temporary, scalar, result, literal, output, slot), kernel, region or `}`",
         hint.empty() ? "" : fmt::format("did you mean `{}`?", hint));
  }

  // --- buffers ---

  /// `"name" : type [order [axes]]`, of the buffer with number `id`, which is known from here on.
  Buffer parse_buffer_head(BufferId id) {
    Buffer b;
    b.name = parse_string();
    add_reference(b.name, id);  // also if the line is faulty, so that lines which use it are not reported for that
    expect(":");
    skip_spaces();
    size_t type_begin = at_;
    Type type = parse_type();
    if (type.shape.size() > max_axes) fail(Code::E0636, since(type_begin), fmt::format("a buffer has at most {} dimensions", max_axes));
    b.dtype = type.dtype;
    b.shape = std::move(type.shape);
    if (accept_word("order")) b.order = parse_order();
    return b;
  }

  /// The line is a buffer; `of_node`: its name may say of which node.
  void end_buffer(Buffer b, size_t begin, bool of_node) {
    if (of_node && is_node_name(b.name)) std::from_chars(b.name.data() + 1, b.name.data() + b.name.size(), b.node.value);
    buffer_spans_.push_back(since(begin));
    program_.buffers.push_back(std::move(b));
    end_line();
  }

  void parse_buffer_line(BufferKind kind, size_t begin) {
    const BufferId id{uint32_t(program_.buffers.size())};
    Buffer b = parse_buffer_head(id);
    b.kind = kind;
    PersistentPlace place{{b.name, {b.dtype, b.shape}, PersistentKind::parameter, {}}, id};
    switch (kind) {
      case BufferKind::field:
        expect_word("field");
        b.field = uint32_t(parse_integer(INT32_MAX, "a field's number"));
        break;
      case BufferKind::persistent:
      case BufferKind::temporary:
      case BufferKind::local:
        expect_word("at");
        b.offset = parse_signed("a place");
        expect(",");
        b.bytes = parse_integer(max_place, "a number of bytes");
        expect_word("bytes");
        if (kind == BufferKind::persistent && accept(",") && !parse_part(place, b)) {
          place.persistent.kind = parse_persistent_kind();
          if (accept(",") && !parse_part(place, b)) fail(Code::E0630, here(), "expected `from`, and which elements of a persistent these are");
        }
        break;
      case BufferKind::literal:
        expect_word("values");
        b.values = parse_numbers();
        for (size_t i = 0; i < b.values.size(); ++i) {
          require_exact(b.dtype, b.values[i], number_spans_[i]);
          b.values[i] = rounded_to(b.dtype, b.values[i]);
        }
        break;
      case BufferKind::scalars:
      case BufferKind::results:
      case BufferKind::output:
        expect_word("slot");
        b.offset = parse_integer(INT32_MAX, "a slot") * (kind == BufferKind::output ? 1 : scalar_bytes);
        break;
    }
    if (kind == BufferKind::persistent) program_.persistents.push_back(std::move(place));
    end_buffer(std::move(b), begin, kind == BufferKind::temporary || kind == BufferKind::local || kind == BufferKind::literal);
  }

  void parse_slot(size_t begin) {
    const BufferId id{uint32_t(program_.buffers.size())};
    Buffer b = parse_buffer_head(id);
    expect_word("of");
    skip_spaces();
    size_t of_begin = at_;
    b.slot.of = parse_buffer();
    if (b.slot.of.value >= id.value) fail(Code::E0630, since(of_begin), "a slot is part of a buffer above it");
    if (program_[b.slot.of].slot.valid()) fail(Code::E0630, since(of_begin), fmt::format("{} is a slot itself: name the buffer of which it is a part", program_[b.slot.of].name));
    b.kind = program_[b.slot.of].kind;
    b.field = program_[b.slot.of].field;
    expect_word("first");
    b.slot.first = parse_integer(max_place, "a number of elements");
    if (accept(",")) {
      expect_word("per");
      expect_word("round");
      expect("[");
      do b.slot.per_round.push_back(parse_signed("a number of elements"));
      while (accept(","));
      expect("]");
      if (b.slot.per_round.size() > max_region_depth) fail(Code::E0636, since(of_begin), fmt::format("regions are nested at most {} deep", max_region_depth));
    }
    end_buffer(std::move(b), begin, true);
  }

  std::vector<int> parse_order() {
    std::vector<int> order;
    expect("[");
    do {
      order.push_back(int(parse_integer(int64_t(max_axes), "an axis")));
      if (order.size() > max_axes) fail(Code::E0636, here(), fmt::format("a buffer has at most {} dimensions", max_axes));
    } while (accept(","));
    expect("]");
    return order;
  }

  /// `from BEGIN of TYPE [order [axes]]`: the buffer has a part of a persistent of that type, as many elements as it has room for. False if nothing of the kind stands here.
  bool parse_part(PersistentPlace& place, const Buffer& b) {
    if (!accept_word("from")) return false;
    PersistentPart part;
    part.begin = parse_integer(max_place, "an element's number");
    part.end = part.begin + std::min(counted_bytes(b) / int64_t(byte_size(b.dtype)), max_place - 1);
    expect_word("of");
    skip_spaces();
    const size_t begin = at_;
    place.persistent.type = parse_type();
    if (place.persistent.type.shape.size() > max_axes) fail(Code::E0636, since(begin), fmt::format("a persistent has at most {} dimensions", max_axes));
    if (accept_word("order")) part.order = parse_order();
    place.part = std::move(part);
    return true;
  }

  PersistentKind parse_persistent_kind() {
    skip_spaces();
    size_t begin = at_;
    std::string_view word = parse_word();
    for (PersistentKind kind : {PersistentKind::parameter, PersistentKind::frozen, PersistentKind::state, PersistentKind::optimizer_state, PersistentKind::partial})
      if (word == persistent_keyword(kind)) return kind;
    fail(Code::E0630, word.empty() ? here() : since(begin), "expected param, frozen, state, optimizer_state or partial");
  }

  /// Sizes follow from types, and the names of what a step is given and gives from the buffers that stand for it.
  void name_slots() {
    std::map<BufferKind, std::map<int64_t, std::string>> named;
    for (Buffer& b : program_.buffers) {
      if (b.slot.valid()) {
        b.bytes = counted_bytes(b);
        b.offset = offset_of_slot(program_, b);
        continue;
      }
      const bool placed = b.kind == BufferKind::persistent || b.kind == BufferKind::temporary || b.kind == BufferKind::local;
      if (!placed) b.bytes = counted_bytes(b);
      bool scalar = b.kind == BufferKind::scalars || b.kind == BufferKind::results;
      if (placed || b.kind == BufferKind::literal) continue;
      named[b.kind].try_emplace(b.kind == BufferKind::field ? b.field : scalar ? scalar_slot(b) : b.offset, b.name);
    }
    auto list = [&](BufferKind kind, std::vector<std::string>& names) {
      names.resize(named[kind].size());  // a slot beyond them is a violation of P1
      for (const auto& [slot, name] : named[kind])
        if (slot < int64_t(names.size())) names[size_t(slot)] = name;
    };
    list(BufferKind::field, program_.fields);
    list(BufferKind::scalars, program_.scalars);
    list(BufferKind::results, program_.results);
    list(BufferKind::output, program_.outputs);
  }

  /// Of a buffer that is not placed; 0 where they cannot be counted, which the verifier reports.
  int64_t counted_bytes(const Buffer& b) const {
    int64_t bytes = int64_t(byte_size(b.dtype));
    bool fits = true;
    for (const Extent& e : b.shape) {
      int64_t size = e.size;
      if (e.rows) fits = !__builtin_mul_overflow(size, program_.rows, &size) && fits;
      fits = !__builtin_mul_overflow(bytes, size, &bytes) && fits;
    }
    return fits ? bytes : 0;
  }

  // --- regions and kernels ---

  std::string parse_plain_name(std::string_view what) {
    skip_spaces();
    size_t begin = at_;
    if (peek() == '"') return parse_string();
    while (is_word(peek()) || peek() == '.') ++at_;
    if (at_ == begin) fail(Code::E0630, here(), fmt::format("expected {} name", what));
    return std::string(text_.substr(begin, at_ - begin));
  }

  /// Kernels and regions that are indented further than the word `region`.
  void parse_region(size_t indent, size_t depth) {
    skip_spaces();
    size_t begin = at_;
    std::string name = parse_plain_name("a region's");
    if (accept_word("over")) {
      const ParallelDepth within(parallel_depth_);
      check_depth(parallel_depth_, begin);
      ParallelRegion region;
      region.axes = int(parse_integer(int64_t(max_axes), "a number of axes"));
      if (!accept_word("axes")) expect_word("axis");
      return parse_in_region(std::move(region), std::move(name), begin, indent, depth, program_.parallel_regions, parallel_places_);
    }
    if (parallel_depth_ > 0) fail(Code::E0630, since(begin), fmt::format("rounds of {} would run in rounds that are shared out to threads: a region over axes stands in a region of rounds, not around one", quote(name)));
    check_depth(depth, begin);
    Region region;
    region.rounds = parse_integer(max_elements, "a number of rounds");
    if (!accept_word("rounds")) expect_word("round");
    skip_blanks();  // what stands behind # is no comment
    if (peek() == ',') {
      ++at_;
      expect_word("reverse");
      region.reverse = true;
    }
    parse_in_region(std::move(region), std::move(name), begin, indent, depth, program_.regions, region_places_);
  }

  /// Of regions of one kind.
  void check_depth(size_t depth, size_t begin) {
    if (depth > max_region_depth) fail(Code::E0636, since(begin), fmt::format("regions are nested at most {} deep", max_region_depth));
  }

  /// While it lives, what is read stands in one parallel region more.
  struct ParallelDepth {
    explicit ParallelDepth(size_t& depth) : depth(depth) { ++depth; }
    ~ParallelDepth() { --depth; }
    size_t& depth;
  };

  /// Where regions of one kind are written.
  struct RegionPlaces {
    std::vector<Span> spans;                                ///< of each
    std::vector<std::pair<size_t, WrittenPlace>> origins;  ///< of those that name one
  };

  template <class AnyRegion>
  void parse_in_region(AnyRegion region, std::string name, size_t begin, size_t indent, size_t depth, std::vector<AnyRegion>& all, RegionPlaces& places) {
    Span span = since(begin);
    KernelRemarks remarks = parse_remarks();
    region.name = std::move(name);
    region.scope = std::move(remarks.scope);
    region.first = program_.kernels.size();
    const size_t number = all.size();
    if (remarks.origin) places.origins.emplace_back(number, *remarks.origin);
    all.push_back(std::move(region));
    places.spans.push_back(span);
    while (next_line_below(indent)) {
      size_t line = indent_, line_begin = at_;
      try {
        count_line();
        std::string_view word = parse_word();
        if (word == "kernel") {
          parse_kernel();
        } else if (word == "region") {
          parse_region(line, depth + 1);
        } else {
          fail(Code::E0630, word.empty() ? here() : since(line_begin), "expected a kernel or region: a region has nothing else");
        }
      } catch (Fault) {
        skip_part(line, line_begin);
      }
    }
    all[number].count = program_.kernels.size() - all[number].first;
  }

  void parse_kernel() {
    size_t indent = indent_;
    Kernel kernel;
    skip_spaces();
    size_t begin = at_;
    kernel.name = parse_plain_name("a kernel's");
    Span span = since(begin);
    KernelRemarks remarks = parse_remarks();
    kernel.scope = std::move(remarks.scope);
    kernel.parallel = remarks.parallel;
    kernel.barrier_before = remarks.barrier_before;
    kernel.flops = remarks.flops;
    kernel.bytes = remarks.bytes;
    if (remarks.origin) origins_.emplace_back(program_.kernels.size(), *remarks.origin);
    written_.clear();
    limits_.clear();
    in_contraction_ = next_line() && indent_ > indent && at_keyword("contract");
    if (in_contraction_) {
      if (remarks.serial) fail(Code::E0630, span, "a contraction is neither serial nor not: the word is for loops");
      kernel.body = parse_contract(indent);
    } else {
      MapKernel map = parse_map(indent);
      map.serial = remarks.serial.value_or(serial_by_nature(map, kernel.parallel));
      kernel.body = std::move(map);
    }
    if (next_line() && indent_ > indent && !too_many_faults()) fail(Code::E0630, here(), fmt::format("expected the end of kernel {}", kernel.name));
    settle_axes(kernel);
    std::vector<Span> spans;
    for (const Written& w : written_) spans.push_back(w.span);
    kernel_spans_.push_back(span);
    instruction_spans_.push_back(std::move(spans));
    program_.kernels.push_back(std::move(kernel));
  }

  // --- loops ---

  /// The lines below `indent`, each an instruction.
  void parse_code(size_t indent, std::vector<Instruction>& code) {
    while (next_line_below(indent)) {
      size_t line = indent_, begin = at_;
      try {
        if (at_keyword("for")) fail(Code::E0630, here(), "loops are two deep: the outer ones, and inner ones in them");
        parse_instruction(code);
      } catch (Fault) {
        skip_part(line, begin);
      }
    }
  }

  /// The lines below `indent`: instructions, and inner loops with theirs.
  void parse_blocks(size_t indent, std::vector<Block>& blocks) {
    while (next_line_below(indent)) {
      size_t line = indent_, begin = at_;
      try {
        if (at_keyword("for")) {
          set_inner(parse_loop());
          Block inner;
          inner.inner = true;
          parse_code(line, inner.code);
          blocks.push_back(std::move(inner));
          continue;
        }
        if (blocks.empty() || blocks.back().inner) blocks.push_back({});
        parse_instruction(blocks.back().code);
      } catch (Fault) {
        skip_part(line, begin);
      }
    }
  }

  void set_inner(Loop loop) {
    if (!inner_) {
      inner_ = std::move(loop);
      return;
    }
    bool same = inner_->vector == loop.vector && inner_->axes.size() == loop.axes.size();
    for (size_t i = 0; same && i < loop.axes.size(); ++i)
      same = inner_->axes[i].name == loop.axes[i].name && inner_->axes[i].extent == loop.axes[i].extent && inner_->axes[i].limit == loop.axes[i].limit;
    if (!same) fail(Code::E0637, loop.span, "the inner loops of a kernel run over the same axes");
  }

  MapKernel parse_map(size_t indent) {
    MapKernel map;
    std::optional<Loop> outer;
    inner_.reset();
    if (next_line_below(indent) && at_keyword("for")) {
      size_t line = indent_;
      Loop loop = parse_loop();
      std::vector<Block> below;
      parse_blocks(line, below);
      // It is the outer loop if there is nothing beside it, else the first of the inner ones.
      if (loop.inner || (next_line() && indent_ > indent)) {
        if (inner_) fail(Code::E0630, loop.span, "loops are two deep, and the outer one has all code of the kernel in it");
        inner_ = std::move(loop);
        map.blocks.push_back({true, below.empty() ? std::vector<Instruction>{} : std::move(below[0].code)});
      } else {
        outer = std::move(loop);
        map.blocks = std::move(below);
      }
    }
    if (!outer) parse_blocks(indent, map.blocks);
    if (outer) {
      map.axes = outer->axes;
      map.outer = int(map.axes.size());
      map.vector_axis = outer->vector;
    }
    if (inner_) {
      if (map.vector_axis >= 0 && inner_->vector >= 0) fail(Code::E0630, inner_->span, "a kernel has one vector axis, in the outer or in the inner loop");
      if (map.axes.size() + inner_->axes.size() > max_axes) fail(Code::E0636, inner_->span, fmt::format("a kernel has at most {} axes", max_axes));
      for (const Axis& axis : inner_->axes)
        for (const Axis& other : map.axes)
          if (axis.name == other.name) fail(Code::E0637, inner_->span, fmt::format("axis {} is declared twice", axis.name));
      if (inner_->vector >= 0) map.vector_axis = map.outer + inner_->vector;
      map.axes.insert(map.axes.end(), inner_->axes.begin(), inner_->axes.end());
    }
    return map;
  }

  // --- contractions ---

  ContractKernel parse_contract(size_t indent) {
    ContractKernel c;
    size_t line = indent_;
    expect_word("contract");
    skip_spaces();
    size_t begin = at_;
    std::vector<int> parts;
    do {
      const size_t before = c.axes.size();
      c.axes = parse_axes(std::move(c.axes));
      parts.push_back(int(c.axes.size() - before));
    } while (accept(";"));
    if (parts.size() < 3 || parts.size() > 4 || parts[parts.size() - 2] != 1)
      fail(Code::E0630, since(begin), "a contraction has the axes of m, one of n and those of k, and may have before them those of its batch: `b < 4; m < 8; n < 16; k < 3, l < 5`");
    c.batch = parts.size() == 4 ? parts[0] : 0;
    c.m = parts[parts.size() - 3];
    expect(":");
    expect_word("tile");
    c.mr = int(parse_integer(max_register_tile, "the number of a tile's rows"));
    expect_word("x");
    c.nr = int(parse_integer(max_register_tile, "the number of a tile's vectors"));
    expect_word("vectors");
    expect(",");
    expect_word("blocks");
    c.mc = parse_integer(max_block, "a block");
    expect_word("x");
    c.nc = parse_integer(max_block, "a block");
    expect_word("x");
    c.kc = parse_integer(max_block, "a block");
    end_line();
    const ContractAxes names = contract_axes(c);
    c.a = parse_operand(line, fmt::format("a[{}]", names.a));
    c.b = parse_operand(line, fmt::format("b[{}]", names.b));
    size_t head = begin_section(line, "for each " + names.epilogue);
    expect(":");
    end_line();
    parse_code(head, c.epilogue);
    if (next_line() && indent_ > indent && at_keyword("after")) {
      head = begin_section(line, fmt::format("after all {}, for each {}", names.rows, names.after_rows));
      expect(":");
      end_line();
      parse_code(head, c.after_rows);
    }
    if (next_line() && indent_ > indent) fail(Code::E0630, here(), "expected the end of the contraction");
    return c;
  }

  /// Takes `text`, which begins the next line below `indent`; spaces in it are as one likes. The line's own indentation.
  size_t begin_section(size_t indent, const std::string& text) {
    if (!next_line() || indent_ <= indent) fail(Code::E0630, here(), fmt::format("expected `{}`", text));
    size_t line = indent_, begin = at_;
    for (char c : text)
      if (c != ' ' && !accept(std::string_view(&c, 1))) fail(Code::E0630, since(begin), fmt::format("expected `{}`", text));
    return line;
  }

  Operand parse_operand(size_t indent, const std::string& head) {
    Operand operand;
    size_t line = begin_section(indent, head);
    expect("=");
    operand.value = parse_value();
    if (accept(",")) {
      expect_word("packed");
      operand.pack = true;
    }
    expect(":");
    end_line();
    parse_code(line, operand.code);
    return operand;
  }

  // --- what names mean, once a kernel has been read ---

  void settle_axes(Kernel& kernel) {
    std::vector<Axis>* axes = nullptr;
    std::vector<std::vector<Instruction>*> lists;
    if (auto* map = std::get_if<MapKernel>(&kernel.body)) {
      axes = &map->axes;
      for (Block& b : map->blocks) lists.push_back(&b.code);
    } else {
      auto& c = std::get<ContractKernel>(kernel.body);
      axes = &c.axes;
      lists = {&c.a.code, &c.b.code, &c.epilogue, &c.after_rows};
    }
    std::map<std::string_view, int> numbers;
    for (size_t i = 0; i < axes->size(); ++i) numbers[(*axes)[i].name] = int(i);
    auto find = [&](const Term& term) {
      if (!term.span.valid()) return -1;
      auto it = numbers.find(term.axis);
      if (it != numbers.end()) return it->second;
      if (too_many_faults()) return -1;
      std::vector<std::string> names;
      for (const Axis& axis : *axes) names.push_back(axis.name);
      std::string hint = nearest(term.axis, names);
      Diagnostic& d = report(Code::E0637, term.span, fmt::format("kernel {} has no axis {}", kernel.name, term.axis));
      if (!hint.empty()) d.help.push_back(fmt::format("did you mean {}?", hint));
      return -1;
    };
    for (const WrittenLimit& written : limits_) {
      Limit& limit = (*axes)[size_t(numbers.at(written.axis))].limit;
      const int by = find(written.by);
      if (limit.axis >= 0 && by != limit.axis) report(Code::E0637, written.by.span, "the inner loops of a kernel run over the same axes");
      limit.axis = by;
    }
    size_t number = 0;
    for (std::vector<Instruction>* list : lists)
      for (Instruction& i : *list) {
        const Written& w = written_[number++];
        if (w.index.span.valid()) i.axis = find(w.index);
        if (!has_place(i)) continue;
        i.access.row_axis = find(w.row);
        i.access.strides.assign(axes->size(), 0);
        for (const Term& term : w.terms) {
          int axis = find(term);
          if (axis < 0) continue;
          int64_t& stride = i.access.strides[size_t(axis)];
          if (__builtin_add_overflow(stride, term.stride, &stride)) report(Code::E0636, term.span, "the stride does not fit 64 bits");
        }
      }
  }

  void resolve_origins() {
    std::vector<std::pair<const WrittenPlace*, Span*>> all;
    for (auto& [kernel, place] : origins_) all.emplace_back(&place, &program_.kernels[kernel].span);
    for (auto& [region, place] : region_places_.origins) all.emplace_back(&place, &program_.regions[region].span);
    for (auto& [region, place] : parallel_places_.origins) all.emplace_back(&place, &program_.parallel_regions[region].span);
    if (const WrittenPlace* far = resolve_places(sources_, all, text_.size()))
      report(Code::E0636, far->written, fmt::format("the locations in {} reach too far", quote(far->path)));
  }

  void report_violations() {
    for (const ProgramFault& fault : find_faults(program_)) {
      Span span = head_;
      if (fault.buffer != ProgramFault::none) span = buffer_spans_[fault.buffer];
      if (fault.region != ProgramFault::none) span = region_places_.spans[fault.region];
      if (fault.parallel != ProgramFault::none) span = parallel_places_.spans[fault.parallel];
      if (fault.kernel != ProgramFault::none) span = kernel_spans_[fault.kernel];
      if (fault.instruction != ProgramFault::none) span = instruction_spans_[fault.kernel][fault.instruction];
      report(Code::E0639, span, fault.text);
    }
  }

  Program program_;
  Span head_;
  size_t indent_ = 0;                                       ///< of the line at hand
  std::optional<Loop> inner_;                               ///< the kernel's inner loop
  std::vector<std::pair<size_t, WrittenPlace>> origins_;    ///< by kernel
  RegionPlaces region_places_, parallel_places_;
  size_t parallel_depth_ = 0;                               ///< parallel regions around what is read
  std::vector<Span> buffer_spans_, kernel_spans_;
  std::vector<std::vector<Span>> instruction_spans_;        ///< by kernel, in the order of for_each_instruction
};

}  // namespace

bool is_program_text(std::string_view text) {
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\r\n", at)) != std::string_view::npos && text[at] == '#') at = text.find('\n', at);
  constexpr std::string_view word = "program";
  return at != std::string_view::npos && text.substr(at, word.size()) == word && (at + word.size() == text.size() || !is_word(text[at + word.size()]));
}

std::optional<Program> parse_program(SourceMap& sources, FileId file, Diagnostics& diagnostics, bool verify) {
  return ProgramParser(sources, file, diagnostics).run(verify);
}

}  // namespace nnc
