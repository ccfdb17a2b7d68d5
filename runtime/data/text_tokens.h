// A text file as numbers: each character becomes its place in a vocabulary.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/table.h"

namespace nnc {

/// Characters, ascending by code point; a character's number is its place.
using Vocabulary = std::u32string;

/// A vocabulary that numbers have to count in, and whose it is, for messages: "`w.safetensors`".
struct KnownVocabulary {
  Vocabulary characters;
  std::string owner;
};

struct TextTokens {
  std::shared_ptr<const int32_t> numbers;  ///< 64 bytes past the last may be read
  int64_t count = 0;                       ///< characters
  Vocabulary vocabulary;                   ///< the known one, or the characters that the text holds
};

/// All characters of a UTF-8 file; a byte order mark at its beginning is none of them. UserError E0402, E0403 and E0405 as load_file, E0404 for what is no text, E0415 for a
/// character that the known vocabulary lacks, both with line and column.
TextTokens read_text_tokens(const std::string& path, const KnownVocabulary* known = nullptr, const FileLoader& load = load_file);

/// A field of which row r is the characters from r + source.offset on, source.context of them: nothing is copied. `rows`: how many there are.
FieldData text_field(const TextTokens&, const DataField&, int64_t rows);

/// The numbers of the characters of a text that stands in memory, `name` in messages. UserError E0404 for what is no UTF-8, E0415 for a character that the vocabulary lacks, with its place among the characters.
std::vector<int32_t> number_characters(std::string_view text, const KnownVocabulary&, const std::string& name);

/// UTF-8.
std::string encode_character(char32_t);

/// The characters, neighbours by code point joined: "U+000A, ` `, `!`, `a` to `z`".
std::string show_characters(const Vocabulary&);

/// A character as messages show it: `e`, `é` (U+00E9), U+000A.
std::string show_character(char32_t);

/// A JSON array of strings of one character each, and back; nothing if it is none, or not ascending.
std::string vocabulary_as_json(const Vocabulary&);
std::optional<Vocabulary> vocabulary_from_json(const std::string&);

/// In what two vocabularies differ, as a sentence: "65 characters in the checkpoint, 66 now: `é` (U+00E9) is new". Empty if they are the same. `then` says where the first is.
std::string describe_difference(const Vocabulary& first, const Vocabulary& second, std::string_view then, std::string_view now);

}  // namespace nnc
