// The author breaks lines, the formatter lays them out. Wrapping to a width would fight with those who break a formula where its parts are, so
// lines are neither joined nor split (but for the braces of a block that spans lines); everything else is decided here:
//  * spaces between two tokens follow from what they are to the parser (token_roles.h);
//  * a statement is indented by two columns per block, a line that continues it by two more;
//  * the columns of `data` and the words of `train` line up; so do comments at the ends of neighbouring lines;
//  * one blank line at most, none at either end of a block;
//  * what the author has lined up stays so: a token that stands, after two spaces or more, under a like one of the next line; a continuation
//    line that begins under an operand of the line it continues (or its operator hangs to the left of it).
// The last rule is what makes formatting idempotent without a canonical width: in a laid-out file such tokens stand in their column already.
// Columns and indentation depend on each other; they grow from the smallest layout until nothing changes.
// A formatter must not change meaning: the result is read again and compared with the file, token by token and tree by tree.
#include "frontend/syntax/format.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/check.h"
#include "frontend/syntax/ast_print.h"
#include "frontend/syntax/lexer.h"
#include "frontend/syntax/parser.h"
#include "frontend/syntax/token_roles.h"

namespace nnc {
namespace {

constexpr int unit = 2;            // columns of indentation
constexpr int max_width = 130;     // comments are not lined up beyond it
constexpr int anchor_reach = 100;  // lines that a continuation looks back
constexpr int max_rounds = 16;

/// A token, a comment, or a broken snippet that is left as it is.
struct Element {
  TokenKind kind = TokenKind::end;
  bool comment = false, verbatim = false;
  uint32_t begin = 0, end = 0;
  std::string_view text;
  // In the file.
  int breaks = 0;               // line breaks before it; 2: at least one blank line
  int column = 0, width = 0;    // of a verbatim one with several lines: the width of the last
  int gap = 0;                  // spaces before it, unless it begins a line
  int match = -1;               // bracket's partner
  bool multi_line = false;      // a brace of a block that spans lines
  bool field_sign = false;      // the `:` or `=` of a field of `data`
  // In the layout.
  int line = 0;
  int natural = 0, spaces = 0;  // before it, unless it begins a line
  int at = 0;
};

/// Where a line begins: so far right of another line, or under an element of an earlier one.
struct Indent {
  int line = -1, offset = 0;  // under an element: used if that is no further right than the line
  int under = -1, shift = 0;
};

struct Line {
  int first = 0, last = 0;  // elements
  bool blank_before = false;
  bool comment_only = false;
  bool follows_comment = false;  // a comment alone that goes on below the comment of the line before
  Indent rule;
  int indent = 0;
  int placed = 0;  // elements up to this one have their column
};

/// What is open while lines are classified.
struct Frame {
  int opener = -1;
  int line = -1;       // of the opener
  int base_line = -1;  // a block's content stands one unit right of this line
  int statement_line = -1, owner_line = -1;
  int if_element = -1;
  int previous = -1;  // last token of this frame
  bool fresh = true;  // the next token begins a statement
};

/// Tokens that belong in one column; a number's last digit may be what lines up.
struct Group {
  int column = 0;
  bool right = false;
  bool wanted = false;
  std::vector<int> members;
};

bool is_open(TokenKind k) { return k == TokenKind::left_paren || k == TokenKind::left_bracket || k == TokenKind::left_brace; }
bool is_close(TokenKind k) { return k == TokenKind::right_paren || k == TokenKind::right_bracket || k == TokenKind::right_brace; }

/// Columns that the text takes.
int columns(std::string_view text) {
  return int(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string_view without_trailing_space(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t\r") + 1);
}

class Formatter {
 public:
  Formatter(std::string_view text, const TokenList& list, const TokenRoles& roles) : text_(text), roles_(roles) {
    collect(list);
    measure();
    match_brackets();
    mark_fields();
  }

  std::string run() {
    if (elements_.empty()) return "";
    break_lines();
    for (size_t i = 1; i < elements_.size(); ++i) elements_[i].natural = space_between(int(i) - 1, int(i));
    classify();
    find_groups();
    lay_out();
    place_comments();
    return print();
  }

 private:
  std::string_view text_;
  const TokenRoles& roles_;
  std::vector<Element> elements_;
  std::vector<Line> lines_;
  std::vector<Group> field_groups_, groups_;
  std::vector<std::pair<int, int>> clause_spaces_;  // element after a clause's word, spaces before it

  bool is_name(const Element& e) const { return e.kind == TokenKind::name && roles_.names.count(e.begin) != 0; }
  bool is_keyword(const Element& e) const { return e.kind == TokenKind::name && roles_.names.count(e.begin) == 0; }
  bool is_word(int i, std::string_view word) const { return i >= 0 && is_keyword(elements_[i]) && elements_[i].text == word; }
  bool is_binary(const Element& e) const { return roles_.binary.count(e.begin) != 0; }
  bool is_unary(const Element& e) const { return roles_.unary.count(e.begin) != 0; }
  bool is_percent(const Element& e) const { return roles_.percents.count(e.begin) != 0; }
  bool begins_line(int i) const { return lines_[elements_[i].line].first == i; }

  // --- the file as elements ---

  void collect(const TokenList& list) {
    size_t c = 0, b = 0;
    std::vector<Span> broken = roles_.broken;
    std::sort(broken.begin(), broken.end(), [](const Span& x, const Span& y) { return x.begin < y.begin; });
    auto add = [&](TokenKind kind, bool comment, bool verbatim, uint32_t begin, uint32_t end) {
      Element e;
      e.kind = kind, e.comment = comment, e.verbatim = verbatim, e.begin = begin, e.end = end;
      e.text = text_.substr(begin, end - begin);
      if (comment) e.text = without_trailing_space(e.text);
      elements_.push_back(e);
    };
    uint32_t covered = 0;
    auto add_unless_covered = [&](TokenKind kind, bool comment, uint32_t begin, uint32_t end) {
      if (begin < covered) return;
      while (b < broken.size() && broken[b].begin < begin) ++b;
      if (b < broken.size() && broken[b].begin == begin) {
        covered = broken[b].end;
        add(TokenKind::right_brace, false, true, begin, covered);  // as a whole it ends like a block
      } else {
        add(kind, comment, false, begin, end);
      }
    };
    for (const Token& t : list.tokens) {
      for (; c < list.comments.size() && list.comments[c].begin < t.begin; ++c)
        add_unless_covered(TokenKind::end, true, list.comments[c].begin, list.comments[c].end);
      if (t.kind != TokenKind::end) add_unless_covered(t.kind, false, t.begin, t.end);
    }
    for (; c < list.comments.size(); ++c)
      add_unless_covered(TokenKind::end, true, list.comments[c].begin, list.comments[c].end);
  }

  void measure() {
    size_t at = text_.substr(0, 3) == "\xEF\xBB\xBF" ? 3 : 0;
    int column = 0, gap_begin = 0;
    for (Element& e : elements_) {
      int breaks = 0;
      for (; at < e.begin; ++at) {
        if (text_[at] == '\n')
          ++breaks, column = 0;
        else
          column = text_[at] == '\t' ? (column / 8 + 1) * 8 : column + 1;
      }
      e.breaks = std::min(breaks, 2);
      e.column = column;
      e.gap = breaks > 0 ? 0 : column - gap_begin;
      size_t last_line = e.verbatim ? e.text.rfind('\n') : std::string_view::npos;
      e.width = columns(last_line == std::string_view::npos ? e.text : e.text.substr(last_line + 1));
      column = last_line == std::string_view::npos ? column + e.width : e.width;
      at = e.end;
      gap_begin = column;
    }
  }

  void match_brackets() {
    std::vector<int> open;
    for (int i = 0; i < int(elements_.size()); ++i) {
      Element& e = elements_[i];
      // A break anywhere inside makes every block around it one that spans lines; a child tells its parent when it closes.
      if (e.breaks > 0 && !open.empty()) elements_[open.back()].multi_line = true;
      if (e.comment || e.verbatim) continue;
      if (is_open(e.kind)) open.push_back(i);
      if (!is_close(e.kind)) continue;
      NNC_CHECK(!open.empty(), "a bracket that was never opened in a file without syntax errors");
      int o = open.back();
      open.pop_back();
      e.match = o;
      elements_[o].match = i;
      e.multi_line = elements_[o].multi_line;
      if (e.multi_line && !open.empty()) elements_[open.back()].multi_line = true;
    }
  }

  void mark_fields() {
    for (size_t i = 0; i < elements_.size(); ++i) {
      if (elements_[i].kind != TokenKind::name || roles_.fields.count(elements_[i].begin) == 0) continue;
      for (size_t j = i; j < elements_.size(); ++j) {
        Element& e = elements_[j];
        if (is_open(e.kind) && e.match > 0) {
          j = size_t(e.match);
          continue;
        }
        if (e.kind == TokenKind::colon || e.kind == TokenKind::assign) e.field_sign = true;
        if (e.kind == TokenKind::assign) break;
      }
    }
  }

  // --- lines ---

  void break_lines() {
    for (int i = 0; i < int(elements_.size()); ++i) {
      Element& e = elements_[i];
      const Element* before = i > 0 ? &elements_[i - 1] : nullptr;
      bool after_open = before && !before->comment && is_open(before->kind);
      bool fresh = !before || e.breaks > 0 ||
                   (after_open && before->kind == TokenKind::left_brace && before->multi_line && !e.comment) ||
                   (e.kind == TokenKind::right_brace && !e.verbatim && e.multi_line);
      if (fresh) {
        Line line;
        line.first = i;
        line.comment_only = e.comment;
        line.blank_before = before && e.breaks > 1 && !after_open && !(is_close(e.kind) && !e.verbatim);
        lines_.push_back(line);
      }
      e.line = int(lines_.size()) - 1;
      lines_.back().last = i;
    }
  }

  // --- spaces ---

  static bool is_simple(const Element& e) {
    return e.kind == TokenKind::number || (e.kind == TokenKind::name && e.text[0] >= 'A' && e.text[0] <= 'Z');
  }
  /// The bracket at i opens the arguments or dimensions of what stands before it.
  bool is_applied(int i) const {
    TokenKind k = elements_[i].kind;
    if (i == 0 || (k != TokenKind::left_paren && k != TokenKind::left_bracket)) return false;
    const Element& before = elements_[i - 1];
    return is_name(before) || before.kind == TokenKind::right_paren || before.kind == TokenKind::right_bracket;
  }

  /// `x^2`, `4*C`: an operator that stands without spaces. A power does unless its exponent is a formula of its own; sums and products of
  /// dimensions do where the author wrote them so.
  bool is_tight(int i) const {
    const Element& e = elements_[i];
    if (!is_binary(e) || i == 0 || i + 1 == int(elements_.size()) || begins_line(i)) return false;
    const Element &before = elements_[i - 1], &after = elements_[i + 1];
    if (after.comment || begins_line(i + 1)) return false;
    if (e.kind == TokenKind::caret) {
      int exponent = is_unary(after) ? i + 2 : i + 1;
      if (exponent >= int(elements_.size())) return false;
      const Element& x = elements_[exponent];
      return (x.kind == TokenKind::number || x.kind == TokenKind::name) &&
             (exponent + 1 == int(elements_.size()) || begins_line(exponent + 1) || !is_applied(exponent + 1));
    }
    bool arithmetic = e.kind == TokenKind::plus || e.kind == TokenKind::minus || e.kind == TokenKind::star ||
                      e.kind == TokenKind::slash || e.kind == TokenKind::slash_slash || e.kind == TokenKind::percent;
    return arithmetic && e.gap == 0 && e.breaks == 0 && after.gap == 0 && after.breaks == 0 && is_simple(before) &&
           is_simple(after) && (before.kind == TokenKind::name || after.kind == TokenKind::name);
  }

  int space_between(int a, int b) const {
    const Element &left = elements_[a], &right = elements_[b];
    if (left.comment || right.comment) return unit;
    if (left.kind == TokenKind::left_paren || left.kind == TokenKind::left_bracket) return 0;
    if (right.kind == TokenKind::right_paren || right.kind == TokenKind::right_bracket) return 0;
    if (right.kind == TokenKind::comma || right.kind == TokenKind::semicolon) return 0;
    if (right.kind == TokenKind::colon) return right.field_sign ? 1 : 0;
    if (left.kind == TokenKind::comma || left.kind == TokenKind::colon || left.kind == TokenKind::semicolon) return 1;
    if (left.kind == TokenKind::dots || right.kind == TokenKind::dots) return 0;
    if (is_unary(left) || is_percent(right)) return 0;
    if (is_binary(left)) return is_tight(a) ? 0 : 1;
    if (is_binary(right)) return is_tight(b) ? 0 : 1;
    if (left.kind == TokenKind::left_brace && !left.verbatim && right.kind == TokenKind::right_brace && !right.verbatim) return 0;
    return is_applied(b) ? 0 : 1;
  }

  // --- indentation: what each line is to the statement it belongs to ---

  /// Whether something must still come after this token.
  bool is_unfinished(const Element& e) const {
    if (e.kind >= TokenKind::tilde && e.kind != TokenKind::ellipsis) return !is_percent(e);
    return e.kind == TokenKind::comma || e.kind == TokenKind::colon || is_keyword(e);
  }
  /// Whether a line that begins with this token goes on with the one before.
  bool is_continuation(const Element& e) const {
    if (e.verbatim) return true;
    if (is_binary(e) || e.kind == TokenKind::left_brace || e.kind == TokenKind::comma || e.kind == TokenKind::colon ||
        e.kind == TokenKind::semicolon)
      return true;
    if (e.kind >= TokenKind::tilde && !is_unary(e)) return true;
    if (!is_keyword(e)) return false;
    for (std::string_view word : {"else", "as", "where", "with", "in", "for", "from"})
      if (e.text == word) return true;
    return false;
  }
  bool begins_statement(const Frame& f, const Element& e) const {
    if (f.opener >= 0 && elements_[f.opener].kind != TokenKind::left_brace) return false;
    return f.fresh || (!is_unfinished(elements_[f.previous]) && !is_continuation(e));
  }

  void classify() {
    std::vector<Frame> frames(1);
    std::vector<int> waiting;  // comment lines that belong to the next line
    for (int l = 0; l < int(lines_.size()); ++l) {
      Line& line = lines_[l];
      if (line.comment_only) {
        waiting.push_back(l);
        continue;
      }
      const Frame& f = frames.back();
      const Element& first = elements_[line.first];
      bool closes = is_close(first.kind) && !first.verbatim;
      Indent own;
      if (closes)
        own = {first.kind == TokenKind::right_brace ? f.base_line : f.line, 0};
      else if (begins_statement(f, first))
        own = {f.base_line, f.opener < 0 ? 0 : unit};
      else
        own = continuation(f, line);
      line.rule = own;
      for (int w : waiting) lines_[w].rule = closes ? Indent{own.line, unit} : own;
      waiting.clear();
      for (int i = line.first; i <= line.last; ++i)
        if (!elements_[i].comment) advance(frames, i, l);
    }
    for (size_t l = 1; l < lines_.size(); ++l) {
      const Element& before = elements_[lines_[l - 1].last];
      bool trailing = !lines_[l - 1].comment_only || lines_[l - 1].follows_comment;
      lines_[l].follows_comment = lines_[l].comment_only && !lines_[l].blank_before && trailing && before.comment &&
                                  before.column == elements_[lines_[l].first].column;
    }
  }

  void advance(std::vector<Frame>& frames, int i, int l) {
    const Element& e = elements_[i];
    if (is_close(e.kind) && !e.verbatim) {
      frames.pop_back();
      frames.back().previous = i;
      return;
    }
    Frame& f = frames.back();
    if (begins_statement(f, e) && (f.fresh || begins_line(i))) {
      f.statement_line = f.owner_line = l;
      f.if_element = -1;
      f.fresh = false;
    }
    if (is_word(i, "if") || is_else(i) || is_word(i, "scan") || is_word(i, "repeat")) f.owner_line = l;
    if (is_word(i, "if") && !is_word(f.previous, "else")) f.if_element = i;
    if (e.kind == TokenKind::semicolon) f.fresh = true;
    f.previous = i;
    if (!is_open(e.kind)) return;
    Frame inner;
    inner.opener = i;
    inner.line = inner.owner_line = inner.statement_line = l;
    inner.base_line = f.owner_line;
    frames.push_back(inner);
  }

  /// That of an `if`, not of a condition: `where n > 0 else "there is none"`.
  bool is_else(int i) const {
    return is_word(i, "else") && !(i + 1 < int(elements_.size()) && elements_[i + 1].kind == TokenKind::string);
  }

  bool is_leading_operator(int i) const { return is_binary(elements_[i]) || elements_[i].kind == TokenKind::pipe; }

  /// Two columns right of the line that is continued, or where the author has lined it up.
  Indent continuation(const Frame& f, const Line& line) const {
    const Element& first = elements_[line.first];
    bool bracket = f.opener >= 0 && elements_[f.opener].kind != TokenKind::left_brace;
    int start = bracket ? f.line : f.statement_line;
    Indent plain{start, unit};
    if (is_else(line.first) && f.if_element >= 0 && begins_line(f.if_element)) return {elements_[f.if_element].line, 0};
    const Element& head = elements_[lines_[start].first];
    if (first.breaks == 0 || first.column == head.column + unit) return plain;
    if (is_else(line.first) && f.if_element >= 0) return {start, unit, f.if_element, 0};
    if (first.column <= head.column) return plain;
    // The operator at the beginning of the line and what it applies to.
    bool hangs = line.first < line.last && is_leading_operator(line.first) && !elements_[line.first + 1].comment;
    int hang = hangs && elements_[line.first + 1].gap <= 1 ? elements_[line.first + 1].column - first.column : 0;
    int natural_hang = first.width + 1;
    int self = first.line;
    for (int l = self - 1; l >= std::max(start, self - anchor_reach); --l) {
      if (lines_[l].comment_only) continue;
      for (int i = lines_[l].first; i <= lines_[l].last; ++i) {
        const Element& e = elements_[i];
        if (e.comment || (i == lines_[l].first && l == start)) continue;
        bool operand = begins_line(i) || is_unfinished(elements_[i - 1]) || is_open(elements_[i - 1].kind);
        if (e.column == first.column && (operand || e.kind == first.kind)) return {start, unit, i, 0};
        if (hang > 0 && e.column == first.column + hang && operand) return {start, unit, i, natural_hang};
      }
    }
    return plain;
  }

  // --- columns ---

  void find_groups() {
    find_field_groups();
    find_clauses();
    std::vector<int> left(elements_.size(), -1), right(elements_.size(), -1);
    for (size_t l = 1; l < lines_.size(); ++l) {
      const Line &above = lines_[l - 1], &line = lines_[l];
      if (line.blank_before || line.comment_only || above.comment_only) continue;
      int j = above.first + 1;
      for (int i = line.first + 1; i <= line.last; ++i) {
        if (!is_alignable(i)) continue;
        while (j <= above.last && elements_[j].column < elements_[i].column) ++j;
        if (j > above.last) break;
        if (elements_[j].column == elements_[i].column && is_alignable(j) && same_role(i, j)) join(left, i, j, false);
      }
      j = above.first + 1;
      for (int i = line.first + 1; i <= line.last; ++i) {
        if (elements_[i].kind != TokenKind::number || elements_[i].breaks > 0) continue;
        int end = elements_[i].column + elements_[i].width;
        while (j <= above.last && elements_[j].column + elements_[j].width < end) ++j;
        if (j > above.last) break;
        const Element& e = elements_[j];
        int a = sign_of(i), b = sign_of(j);
        if (e.kind == TokenKind::number && e.breaks == 0 && e.column + e.width == end && a > line.first && b > above.first)
          join(right, a, b, true);
      }
    }
    std::erase_if(groups_, [](const Group& g) { return !g.wanted || g.members.size() < 2; });
    std::stable_sort(groups_.begin(), groups_.end(), [](const Group& a, const Group& b) { return a.column < b.column; });
  }

  bool is_alignable(int i) const {
    const Element& e = elements_[i];
    return e.natural > 0 && e.breaks == 0 && !e.comment && !e.field_sign && !(begins_line(i - 1) && is_leading_operator(i - 1));
  }
  bool same_role(int i, int j) const {
    const Element &a = elements_[i], &b = elements_[j], &before_a = elements_[i - 1], &before_b = elements_[j - 1];
    return (a.kind == b.kind && a.kind != TokenKind::name) || (before_a.kind == before_b.kind && before_a.kind != TokenKind::name) ||
           (is_keyword(a) && is_keyword(b) && a.text == b.text) ||
           (is_keyword(before_a) && is_keyword(before_b) && before_a.text == before_b.text);
  }
  /// The element before which a number is padded: itself or its sign.
  int sign_of(int i) const { return i > 0 && is_unary(elements_[i - 1]) && elements_[i].gap == 0 ? i - 1 : i; }

  void join(std::vector<int>& group_of, int i, int j, bool right) {
    if (group_of[j] < 0) {
      group_of[j] = int(groups_.size());
      Group g;
      g.column = right ? end_of_number(j, true) : elements_[j].column;
      g.right = right;
      g.wanted = elements_[j].gap > std::max(elements_[j].natural, right ? 0 : 1);
      g.members.push_back(j);
      groups_.push_back(std::move(g));
    }
    group_of[i] = group_of[j];
    Group& g = groups_[group_of[j]];
    g.members.push_back(i);
    g.wanted = g.wanted || elements_[i].gap > std::max(elements_[i].natural, right ? 0 : 1);
  }
  /// Of the number that begins at this element, perhaps with a sign: its end in the file or in the layout.
  int end_of_number(int i, bool in_file) const {
    const Element& e = elements_[i];
    int width = e.kind == TokenKind::number ? e.width : e.width + elements_[i + 1].width;
    return (in_file ? e.column : e.at) + width;
  }

  void find_field_groups() {
    std::map<int, std::vector<int>> blocks;  // opening brace -> lines of fields
    std::vector<int> open;
    for (int l = 0; l < int(lines_.size()); ++l) {
      const Element& first = elements_[lines_[l].first];
      if (first.kind == TokenKind::name && roles_.fields.count(first.begin) && !open.empty()) blocks[open.back()].push_back(l);
      for (int i = lines_[l].first; i <= lines_[l].last; ++i) {
        const Element& e = elements_[i];
        if (e.comment || e.verbatim) continue;
        if (is_open(e.kind)) open.push_back(i);
        if (is_close(e.kind)) open.pop_back();
      }
    }
    for (auto& [brace, rows] : blocks) {
      Group colons, assigns;
      for (int l : rows)
        for (int i = lines_[l].first + 1; i <= lines_[l].last; ++i) {
          const Element& e = elements_[i];
          if (!e.field_sign) continue;
          (e.kind == TokenKind::colon ? colons : assigns).members.push_back(i);
          if (e.kind == TokenKind::assign) break;
        }
      field_groups_.push_back(std::move(colons));
      field_groups_.push_back(std::move(assigns));
    }
  }

  void find_clauses() {
    std::map<int, std::vector<int>> blocks;  // opening brace -> words of clauses
    std::vector<int> open;
    for (int i = 0; i < int(elements_.size()); ++i) {
      const Element& e = elements_[i];
      if (e.comment || e.verbatim) continue;
      if (e.kind == TokenKind::name && roles_.clauses.count(e.begin) && begins_line(i) && !open.empty() && i < lines_[e.line].last)
        blocks[open.back()].push_back(i);
      if (is_open(e.kind)) open.push_back(i);
      if (is_close(e.kind)) open.pop_back();
    }
    for (auto& [brace, words] : blocks) {
      int widest = 0;
      for (int w : words) widest = std::max(widest, elements_[w].width);
      for (int w : words)
        if (!elements_[w + 1].comment) clause_spaces_.push_back({w + 1, widest + 1 - elements_[w].width});
    }
  }

  // --- the layout ---

  /// The column of element i, which follows from those before it in its line.
  int place(int i) {
    Line& line = lines_[elements_[i].line];
    while (line.placed < i) {
      const Element& before = elements_[line.placed];
      bool lines = before.verbatim && before.text.find('\n') != std::string_view::npos;
      Element& e = elements_[++line.placed];
      e.at = (lines ? 0 : before.at) + before.width + e.spaces;
    }
    return elements_[i].at;
  }

  /// Brings the members into one column; false if they were.
  bool pad(const Group& group) {
    auto edge = [&](int m) { return place(m), group.right ? end_of_number(m, false) : elements_[m].at; };
    int target = 0;
    for (int m : group.members) target = std::max(target, edge(m));
    bool changed = false;
    for (int m : group.members) {
      int more = target - edge(m);
      if (more == 0) continue;
      elements_[m].spaces += more;
      elements_[m].at += more;
      lines_[elements_[m].line].placed = m;
      changed = true;
    }
    return changed;
  }

  void start_line(Line& line) {
    elements_[line.first].at = line.indent;
    line.placed = line.first;
    for (int i = line.first + 1; i <= line.last; ++i) elements_[i].spaces = elements_[i].natural;
  }

  /// Groups that cannot all be satisfied (two that cross, in lines with narrower gaps than the layout's) are given up.
  void pad_all() {
    for (;;) {
      for (Line& line : lines_) start_line(line);
      for (auto [element, spaces] : clause_spaces_) elements_[element].spaces = spaces;
      bool padded = true;
      std::vector<bool> restless;
      for (int pass = 0; padded && pass < max_rounds; ++pass) {
        padded = false;
        restless.assign(groups_.size(), false);
        for (const Group& g : field_groups_) padded |= pad(g);
        for (size_t g = 0; g < groups_.size(); ++g)
          if (pad(groups_[g])) padded = restless[g] = true;
      }
      if (!padded || groups_.empty()) return;
      if (std::find(restless.begin(), restless.end(), true) == restless.end()) restless.assign(groups_.size(), true);
      size_t g = 0;
      std::erase_if(groups_, [&](const Group&) { return restless[g++]; });
    }
  }

  void lay_out() {
    for (int round = 0; round < max_rounds; ++round) {
      bool changed = round == 0;
      for (Line& line : lines_) {
        const Indent& rule = line.rule;
        int base = rule.line >= 0 ? lines_[rule.line].indent : 0;
        int indent = base + rule.offset;
        if (rule.under >= 0 && elements_[rule.under].at - rule.shift > base) indent = elements_[rule.under].at - rule.shift;
        changed = changed || indent != line.indent;
        line.indent = indent;
        if (round > 0) continue;
        // The first round needs columns to hang lines from before any group is known.
        start_line(line);
        place(line.last);
      }
      if (!changed) return;
      pad_all();
      for (Line& line : lines_) place(line.last);
    }
  }

  // --- comments at the ends of lines ---

  bool has_trailing_comment(const Line& line) const { return !line.comment_only && elements_[line.last].comment; }

  int own_column(const Line& line) const {
    const Element &first = elements_[line.first], &code = elements_[line.last - 1], &comment = elements_[line.last];
    bool lines = code.verbatim && code.text.find('\n') != std::string_view::npos;
    int nearest = (lines ? 0 : code.at) + code.width + unit;
    bool in_column = comment.gap > unit && (first.breaks > 0 || line.first == 0);
    return in_column ? std::max(nearest, comment.column + line.indent - first.column) : nearest;
  }

  void place_comments() {
    for (size_t l = 0; l < lines_.size();) {
      if (!has_trailing_comment(lines_[l])) {
        ++l;
        continue;
      }
      // The lines of one column.
      std::vector<size_t> rows{l};
      for (size_t n = l + 1; n < lines_.size() && !lines_[n].blank_before; ++n) {
        bool edge = elements_[lines_[n - 1].last - 1].kind == TokenKind::left_brace ||
                    elements_[lines_[n].first].kind == TokenKind::right_brace;
        if (!lines_[n].follows_comment && (edge || !has_trailing_comment(lines_[n]))) break;
        rows.push_back(n);
      }
      int target = 0;
      for (size_t r : rows)
        if (!lines_[r].comment_only) target = std::max(target, own_column(lines_[r]));
      bool fits = true;
      for (size_t r : rows) {
        int width = elements_[lines_[r].last].width, own = lines_[r].comment_only ? 0 : own_column(lines_[r]);
        fits = fits && (target + width <= max_width || own + width > max_width);
      }
      int column = target;
      for (size_t r : rows) {
        Line& line = lines_[r];
        if (!line.comment_only && !fits) column = own_column(line);
        if (line.comment_only) line.indent = column;
        elements_[line.last].at = column;
      }
      l = rows.back() + 1;
    }
  }

  std::string print() const {
    std::string out;
    out.reserve(text_.size() + text_.size() / 8);
    for (const Line& line : lines_) {
      if (line.blank_before) out += '\n';
      out.append(size_t(line.indent), ' ');
      for (int i = line.first; i <= line.last; ++i) {
        const Element& e = elements_[i];
        if (i > line.first) {
          const Element& before = elements_[i - 1];
          bool lines = before.verbatim && before.text.find('\n') != std::string_view::npos;
          out.append(size_t(std::max(0, e.at - (lines ? 0 : before.at) - before.width)), ' ');
        }
        out += e.text;
      }
      out += '\n';
    }
    return out;
  }
};

/// Why the formatted text is not the same program; empty if it is.
std::string difference(const SourceMap& sources, FileId file, const TokenList& list, const std::string& tree, const std::string& result) {
  SourceMap again;
  FileId id = again.add(sources.path(file), result);
  Diagnostics diagnostics;
  TokenList after = tokenize(again, id, diagnostics);
  if (after.tokens.size() != list.tokens.size()) return fmt::format("{} tokens became {}", list.tokens.size(), after.tokens.size());
  auto text = [](const SourceMap& map, FileId f, uint32_t begin, uint32_t end) { return map.text(Span{f, begin, end}); };
  for (size_t i = 0; i < list.tokens.size(); ++i) {
    const Token &a = list.tokens[i], &b = after.tokens[i];
    if (a.kind != b.kind || text(sources, file, a.begin, a.end) != text(again, id, b.begin, b.end))
      return fmt::format("the token at {} changed", sources.describe({file, a.begin, a.end}));
  }
  if (after.comments.size() != list.comments.size()) return "the number of comments changed";
  for (size_t i = 0; i < list.comments.size(); ++i)
    if (without_trailing_space(sources.text(list.comments[i])) != without_trailing_space(again.text(after.comments[i])))
      return fmt::format("the comment at {} changed", sources.describe(list.comments[i]));
  if (list.tokens.size() == 1) return "";
  Diagnostics syntax;
  if (print_ast(*parse(again, id, syntax)) != tree || syntax.has_errors()) return "the syntax tree changed";
  return "";
}

}  // namespace

std::optional<std::string> format_source(const SourceMap& sources, FileId file, Diagnostics& diagnostics) {
  Diagnostics lexical;
  TokenList list = tokenize(sources, file, lexical);
  TokenRoles roles;
  std::string tree;
  bool only_comments = list.readable && list.tokens.size() == 1 && !lexical.has_errors();
  if (!only_comments) {
    Diagnostics syntax;
    std::unique_ptr<ast::File> parsed = parse(sources, file, syntax);
    for (const Diagnostic& d : syntax.items()) diagnostics.add(d);
    if (!parsed || parsed->has_errors || syntax.has_errors()) return std::nullopt;
    roles = token_roles(*parsed);
    tree = print_ast(*parsed);
  }
  std::string result = Formatter(sources.text(file), list, roles).run();
  std::string problem = difference(sources, file, list, tree, result);
  NNC_CHECK(problem.empty(), fmt::format("formatting {} would change it: {}; nothing was written", sources.path(file), problem));
  return result;
}

}  // namespace nnc
