// The data block becomes requests to the readers; every field is read once, and the rows are split by the seed of the run.

#include "engine/data.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/bindings.h"
#include "engine/index_bounds.h"
#include "engine/text_data.h"

namespace nnc {

namespace {

/// What stands in the place of a field's source: `--data FIELD=PATH`, of the block that trains, or `--data BLOCK.FIELD=PATH`; an array of the host's likewise.
struct Replacement {
  const DataSpec* block;
  std::string field;
  DataSource source;  ///< a file's kind is not known yet
};

std::string meant_or_list(const std::string& name, const std::vector<std::string>& names, std::string_view list) {
  std::string near = nearest(name, names);
  return near.empty() ? fmt::format("{} {}", list, fmt::join(names, ", ")) : fmt::format("did you mean `{}`?", near);
}

/// The field that is called FIELD or BLOCK.FIELD. `given_by`: how messages call what names it, and where that stands.
Replacement find_field(const TrainSpec& train, const std::string& name, const char* given_by, const char* place) {
  Replacement r{&train.data, name, {}};
  if (size_t dot = name.find('.'); dot != std::string::npos) {
    std::string block = name.substr(0, dot);
    r.field = name.substr(dot + 1);
    std::vector<const DataSpec*> blocks{&train.data};
    std::vector<std::string> names{train.data.name};
    for (const DataSpec& other : train.other_data) blocks.push_back(&other), names.push_back(other.name);
    auto it = std::ranges::find(names, block);
    if (it == names.end())
      throw UserError(Code::E0601, fmt::format("{}: the run reads no data block `{}`", given_by, block), place, meant_or_list(block, names, "it reads"));
    r.block = blocks[size_t(it - names.begin())];
  }
  std::vector<std::string> names;
  for (const FieldSpec& f : r.block->fields) names.push_back(f.name);
  if (std::ranges::find(names, r.field) == names.end())
    throw UserError(Code::E0601, fmt::format("{}: the data block `{}` has no field `{}`", given_by, r.block->name, r.field), place,
                    meant_or_list(r.field, names, "its fields are"));
  return r;
}

std::vector<Replacement> find_replacements(const TrainSpec& train, const DataReplacements& given) {
  constexpr const char* command_line = "the command line";
  std::vector<Replacement> found;
  auto add = [&](Replacement r, const char* given_by, const char* place) {
    for (const Replacement& other : found)
      if (other.block == r.block && other.field == r.field)
        throw UserError(Code::E0601, fmt::format("{}: the field `{}` of `{}` is given twice, as {} and {}", given_by, r.field, r.block->name, other.source.path,
                                                 r.source.path), place);
    found.push_back(std::move(r));
  };
  for (const std::string& text : given.files) {
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size())
      throw UserError(Code::E0601, fmt::format("`--data {}` has no path", text), command_line, "write `--data FIELD=PATH`");
    Replacement r = find_field(train, text.substr(0, equals), "`--data`", command_line);
    r.source.path = text.substr(equals + 1);
    add(std::move(r), "`--data`", command_line);
  }
  for (const DataReplacements::Array& array : given.arrays) {
    Replacement r = find_field(train, array.field, "an array", "the host program");
    r.source.kind = SourceKind::memory;
    r.source.path = "memory";
    r.source.array = array.values;
    add(std::move(r), "an array", "the host program");
  }
  return found;
}

/// The fields of a block from their files. What does not fit is a fault of the file or of the field that asks for it: where it is in no certain line of the
/// file, the message points at the field, else it shows the field beside it.
std::vector<FieldData> read_declared(const std::vector<DataField>& fields, const std::vector<Span>& declared, const FileLoader& load) {
  try {
    return read_fields(fields, load);
  } catch (const UserError& e) {
    if (e.diagnostic().span.valid() || fields.size() != declared.size()) throw;
    Diagnostic d = e.diagnostic();
    for (size_t i = 0; i < fields.size(); ++i) {
      const std::string& path = fields[i].source.path;
      if (!declared[i].valid() || !d.place.starts_with(path)) continue;
      try {
        read_fields({&fields[i], 1}, load);
      } catch (const UserError& own) {
        if (own.diagnostic().message != d.message) continue;
        if (d.place == path) {
          d.span = declared[i];
          d.place.clear();
          d.notes.push_back("the file is " + path);
        } else {
          d.labels.push_back({declared[i], "read for this field"});
        }
        break;
      }
    }
    throw UserError(std::move(d));
  }
}

/// Requests to the readers, and where each field is declared: an invalid place if something else stands for its source.
struct Requests {
  std::vector<DataField> fields;
  std::vector<Span> declared;
};

/// Fields of one text count its characters: what replaces the text of one of them replaces it for all. Nothing else may stand beside it.
void settle_texts(Requests& requests) {
  auto text = std::ranges::find_if(requests.fields, is_text);
  if (text == requests.fields.end()) return;
  for (size_t i = 0; i < requests.fields.size(); ++i)
    if (is_text(requests.fields[i]) && !requests.declared[i].valid()) text = requests.fields.begin() + long(i);
  const std::string path = text->source.path, name = text->name;
  const bool is_given = !requests.declared[size_t(text - requests.fields.begin())].valid();
  for (size_t i = 0; i < requests.fields.size(); ++i) {
    DataField& f = requests.fields[i];
    Span& declared = requests.declared[i];
    if (!is_text(f))
      throw UserError(Code::E0601, fmt::format("`{}` is read from a text and `{}` is not, so their rows are not the same", name, f.name), f.source.path, "give a file for each of them");
    if (!declared.valid() && f.source.path != path)
      throw UserError(Code::E0601, fmt::format("`{}` and `{}` are of one text, and are given two: {} and {}", f.name, name, f.source.path, path), "the command line",
                      fmt::format("`--data {}={}` alone is for both", f.name, f.source.path));
    if (!is_given) continue;
    f.source.path = path;
    declared = Span{};
  }
}

struct Block {
  std::vector<FieldData> fields;
  std::optional<TextBlock> text;  ///< without its fields
};

/// `like`: the names of the fields in their order.
Block read_block(const DataSpec& data, const DataSpec& like, const std::vector<Replacement>& replacements, const KnownVocabulary* known, const FileLoader& load) {
  Requests requests;
  for (const FieldSpec& f : like.fields) {
    const FieldSpec& own = *std::ranges::find(data.fields, f.name, &FieldSpec::name);
    auto r = std::ranges::find_if(replacements, [&](const Replacement& other) { return other.block->name == data.name && other.field == f.name; });
    requests.fields.push_back(own);
    requests.declared.push_back(r == replacements.end() ? own.span : Span{});
    if (r == replacements.end()) continue;
    DataSource& source = requests.fields.back().source;
    if (r->source.kind == SourceKind::memory) {
      source = r->source;
      continue;
    }
    source.path = r->source.path;
    source.kind = guess_source_kind(r->source.path, own.source.kind);
  }
  settle_texts(requests);
  Block block;
  if (requests.fields.empty() || !is_text(requests.fields[0])) {
    block.fields = read_declared(requests.fields, requests.declared, load);
  } else {
    block.text = read_text_block(requests.fields, requests.declared, known, load);
    block.fields = std::move(block.text->fields);
  }
  return block;
}

// A share that set no row aside: its reports would be of nothing.
void check_split(const SplitSpec& s, const char* word, const std::vector<int64_t>& set_aside, int64_t rows) {
  bool is_share = s.kind == SplitSpec::Kind::random || s.kind == SplitSpec::Kind::last;
  if (!is_share || rows == 0 || !set_aside.empty()) return;
  const char* last = s.kind == SplitSpec::Kind::last ? "last " : "";
  Diagnostic d;
  d.code = Code::E0509;
  d.span = s.span;
  d.message = fmt::format("`{} {}{:g}%` of {} row{} sets none aside", word, last, s.fraction * 100, rows, rows == 1 ? "" : "s");
  if (rows > 1) {
    double scale = 1;  // of percents, written with as few digits as there may be
    while (scale * 100 / double(rows) < 1) scale *= 10;
    double percent = std::ceil(scale * 100 / double(rows)) / scale;
    d.help.push_back(fmt::format("`{} {}{:g}%` sets {} aside", word, last, percent, rows_of_share(percent / 100, rows)));
  }
  throw UserError(d);
}

}  // namespace

RunData load_data(const TrainSpec& train, const DataReplacements& replacements, uint64_t seed, const KnownVocabulary* known, const FileLoader& load) {
  RunData data;
  const DataSpec& spec = train.data;
  std::vector<Replacement> replaced = find_replacements(train, replacements);
  Block block = read_block(spec, spec, replaced, known, load);
  data.fields = std::move(block.fields);
  for (const FieldSpec& f : spec.fields) data.names.push_back(f.name);
  data.rows = data.fields.empty() ? 0 : data.fields[0].rows;
  std::optional<KnownVocabulary> own;
  if (block.text) {
    data.split = split_text(*block.text, spec.name, spec.test, spec.valid);
    data.vocabulary = std::move(block.text->vocabulary);
    own = known ? *known : KnownVocabulary{data.vocabulary, fmt::format("`{}`, which trains", spec.name)};
  } else {
    data.split = split_rows_of_data(data.rows, spec.test, spec.valid, seed);
    check_split(spec.test, "test", data.split.test, data.rows);
    check_split(spec.valid, "valid", data.split.valid, data.rows);
  }
  auto take_all_of = [&](const SplitSpec& split, std::vector<FieldData>& fields, std::vector<int64_t>& rows) {
    if (split.kind != SplitSpec::Kind::from) return;
    Block other = read_block(*std::ranges::find(train.other_data, split.other, &DataSpec::name), spec, replaced, own ? &*own : nullptr, load);
    fields = std::move(other.fields);
    if (other.text) {
      rows = rows_of_text(0, other.text->characters, other.text->context, other.text->reach);
      return;
    }
    rows.resize(size_t(fields.empty() ? 0 : fields[0].rows));
    std::iota(rows.begin(), rows.end(), int64_t{0});
  };
  take_all_of(spec.test, data.test_fields, data.split.test);
  take_all_of(spec.valid, data.valid_fields, data.split.valid);
  return data;
}

const std::vector<int64_t>& RunData::rows_of(Part part) const {
  return part == Part::train ? split.train : part == Part::test ? split.test : split.valid;
}

void RunData::check(const Graph& graph) const {
  for (const std::vector<FieldData>* part : {&fields, &test_fields, &valid_fields})
    if (!part->empty()) check_indices(graph, *part, names);
}

void RunData::bind(StepRunner& runner, Part part) const {
  const std::vector<FieldData>& other = part == Part::test ? test_fields : valid_fields;
  const std::vector<FieldData>& from = part == Part::train || other.empty() ? fields : other;
  bind_fields(runner, from, names);
}

}  // namespace nnc
