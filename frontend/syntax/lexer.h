// Text to tokens. The lexer knows no keywords: what a word means depends on where it stands, and the parser decides that.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/diagnostics.h"
#include "base/source.h"

namespace nnc {

enum class TokenKind : uint8_t {
  end,       ///< of the file
  bad,       ///< a character that begins no token, already reported: the parser must not report it again
  bad_rest,  ///< the same, but the rest of the line is lost with it (a string without its closing quote)
  name,      ///< letters, digits and `_`, not beginning with a digit; `_` alone too
  number,    ///< 12, 1_000, 0.5, 1e-3
  string,    ///< with its quotes
  left_paren,
  right_paren,
  left_bracket,
  right_bracket,
  left_brace,
  right_brace,
  comma,
  colon,
  semicolon,
  tilde,
  arrow /* -> */,
  pipe /* |> */,
  dots /* .. */,
  ellipsis /* ... */,
  assign /* = */,
  plus,
  minus,
  star,
  slash,
  slash_slash,
  percent,
  caret,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
};

/// What a message calls a token of this kind: "`,`", "a name", "the end of the file".
std::string_view token_kind_name(TokenKind);

struct Token {
  TokenKind kind = TokenKind::end;
  bool newline_before = false;  ///< the first token of its line
  bool space_before = false;    ///< white space, a comment or the file's beginning before it
  bool space_after = false;
  uint32_t begin = 0, end = 0;  ///< bytes
};

struct TokenList {
  std::vector<Token> tokens;   ///< the last is of kind `end`
  std::vector<Span> comments;  ///< from `#` to before the line break, in order: for the formatter
  bool readable = true;        ///< false: not a text at all, or too large (reported); `tokens` then holds only `end`
};

/// Files beyond this many tokens are refused: each may become a tree node of some hundred bytes.
inline constexpr size_t max_tokens = 1'000'000;

/// Never throws. Reports E0001 to E0007.
TokenList tokenize(const SourceMap& sources, FileId file, Diagnostics& diagnostics);

/// The value of a string token: quotes taken off, escapes replaced (unknown ones, already reported, stand as written).
std::string string_value(std::string_view token_text);

/// The value of a number token that the lexer let through.
struct NumberValue {
  double number = 0;
  bool is_integer = false;  ///< without point and exponent
  int64_t integer = 0;
};
NumberValue number_value(std::string_view token_text);

}  // namespace nnc
