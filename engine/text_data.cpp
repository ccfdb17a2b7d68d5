// Rows of a text overlap: row r of a field begins at character r, so that one array of numbers serves all rows of all fields. Which rows a part of the data has is a matter of
// characters, not of rows: parts are cut where no row of one would read a character of another.
#include "engine/text_data.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/check.h"
#include "base/diagnostics.h"
#include "runtime/data/file_bytes.h"

namespace nnc {
namespace {

constexpr const char* vocabulary_key = "nnc.vocabulary";

/// A fault of a text: at the field that asks for it, or in the file's own line.
[[noreturn]] void fail(Diagnostic d, const std::string& path, const Span& declared) {
  if (declared.valid() && d.place == path) {
    d.span = declared;
    d.place.clear();
    d.notes.push_back("the file is " + path);
  } else if (declared.valid() && d.place.starts_with(path)) {
    d.labels.push_back({declared, "read for this field"});
  }
  throw UserError(std::move(d));
}

[[noreturn]] void fail(const std::string& message, const std::string& path, const Span& declared, const std::string& help) {
  fail(UserError(Code::E0401, message, path, help).diagnostic(), path, declared);
}

const char* plural(int64_t n) { return n == 1 ? "" : "s"; }

/// A share that leaves a part without a row: its reports would be of nothing.
void require_part(const TextBlock& text, const std::string& block, const SplitSpec& s, const char* word, const std::vector<int64_t>& rows) {
  if (s.kind == SplitSpec::Kind::none || s.kind == SplitSpec::Kind::from || !rows.empty()) return;
  const int64_t characters = rows_of_share(s.fraction, text.characters);
  Diagnostic d;
  d.code = Code::E0509;
  d.span = s.span;
  d.message = fmt::format("`{} {:g}%` of the {} characters of `{}` is {}, and a row reads {}", word, s.fraction * 100, text.characters, block, characters, text.reach);
  const double percent = std::ceil(1000.0 * double(text.reach) / double(text.characters)) / 10;
  if (percent < 100) d.help.push_back(fmt::format("`{} {:g}%` is {} characters", word, percent, rows_of_share(percent / 100, text.characters)));
  throw UserError(std::move(d));
}

}  // namespace

bool is_text(const DataField& f) { return f.source.kind == SourceKind::text; }

TextBlock read_text_block(const std::vector<DataField>& fields, const std::vector<Span>& declared, const KnownVocabulary* known, const FileLoader& load) {
  NNC_CHECK(!fields.empty() && fields.size() == declared.size(), "a text without fields");
  const DataField& first = fields[0];
  const std::string& path = first.source.path;
  TextTokens tokens;
  try {
    tokens = read_text_tokens(path, known, load);
  } catch (const UserError& e) {
    fail(e.diagnostic(), path, declared[0]);
  } catch (const std::bad_alloc&) {
    throw UserError(Code::E0402, "the data does not fit into memory", path);
  }
  const int64_t size = int64_t(tokens.vocabulary.size());
  TextBlock text{{}, std::move(tokens.vocabulary), tokens.count, first.source.context, 0};
  for (size_t i = 0; i < fields.size(); ++i) {
    const DataField& f = fields[i];
    text.reach = std::max(text.reach, text.context + f.source.offset);
    if (f.classes == size) continue;
    const std::string whose = known ? fmt::format("{} has {} characters", known->owner, size) : fmt::format("`{}` has {} different character{}", file_name(path), size, plural(size));
    fail(fmt::format("{}, but `{}` is class({})", whose, f.name, f.classes), path, declared[i], fmt::format("declare it class({})", size));
  }
  if (text.characters < text.reach)
    fail(fmt::format("`{}` has {} character{}, and a row reads {}", file_name(path), text.characters, plural(text.characters), text.reach), path, declared[0],
         text.reach > text.context ? fmt::format("a row is {} characters, and one more to predict: give it a smaller `context`", text.context) : "give it a smaller `context`");
  for (const DataField& f : fields) text.fields.push_back(text_field(tokens, f, text.characters - text.reach + 1));
  return text;
}

DataSplit split_text(const TextBlock& text, const std::string& block, const SplitSpec& test, const SplitSpec& valid) {
  DataSplit split = split_rows_of_text(text.characters, text.context, text.reach, test, valid);
  require_part(text, block, test, "test", split.test);
  require_part(text, block, valid, "valid", split.valid);
  if (split.train.empty()) {
    const int64_t aside = rows_of_share(test.fraction, text.characters) + rows_of_share(valid.fraction, text.characters);
    throw UserError(Code::E0502, fmt::format("no rows are left to train on: {} of the {} characters of `{}` are set aside, and a row reads {}", aside, text.characters, block, text.reach));
  }
  return split;
}

std::optional<KnownVocabulary> recorded_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path) {
  const auto it = metadata.find(vocabulary_key);
  if (it == metadata.end()) return std::nullopt;
  std::optional<Vocabulary> vocabulary = vocabulary_from_json(it->second);
  if (!vocabulary)
    throw UserError(Code::E0405, fmt::format("{} is damaged: its `{}` is no list of characters in ascending order", path, vocabulary_key), path);
  return KnownVocabulary{std::move(*vocabulary), path};
}

void require_vocabulary(const std::map<std::string, std::string>& metadata, const std::string& path, const Vocabulary& of_text) {
  if (of_text.empty()) return;
  const std::optional<KnownVocabulary> known = recorded_vocabulary(metadata, path);
  if (!known) return;
  const std::string difference = describe_difference(known->characters, of_text, "in the weights", "in the text");
  if (difference.empty()) return;
  Diagnostic d;
  d.code = Code::E0518;
  d.place = path;
  d.message = fmt::format("{} was trained on other characters than this text has", path);
  d.notes.push_back(difference);
  d.help.push_back("begin with weights of the same vocabulary, or with none");
  throw UserError(std::move(d));
}

}  // namespace nnc
