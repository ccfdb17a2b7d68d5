// The data block: fields and their sources, splits, and the inputs that fields become.
#include "frontend/data_blocks.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/check.h"
#include "frontend/clause_options.h"

namespace nnc {

DataBlocks::DataBlocks(SymbolicEvaluator& eval) : eval_(eval), ctx_(eval.ctx), tensors_(eval.tensors) {}

std::optional<DataSource> DataBlocks::evaluate_source(const ast::Expr& e) {
  if (e.kind == ast::ExprKind::error) return std::nullopt;
  static const std::vector<std::pair<std::string, SourceKind>> kinds{{"csv", SourceKind::csv},
                                                                     {"idx", SourceKind::idx},
                                                                     {"npy", SourceKind::npy},
                                                                     {"npz", SourceKind::npz},
                                                                     {"safetensors", SourceKind::safetensors},
                                                                     {"text", SourceKind::text}};
  if (e.kind != ast::ExprKind::call || e.operands[0]->kind != ast::ExprKind::name) {
    ctx_.error(Code::E0206, e.span, "a field needs a source of data")
        .help.push_back(
            "write `csv(\"file.csv\", columns: 0..64)`, `idx(...)`, `npy(...)`, `npz(...)`, `safetensors(...)` or `text(...)`");
    return std::nullopt;
  }
  const std::string& name = e.operands[0]->text;
  auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.first == name; });
  if (kind == kinds.end()) {
    if (name == "cifar10" || name == "images") {
      ctx_.not_in_this_version(e.operands[0]->span, fmt::format("the source `{}` is", name));
      return std::nullopt;
    }
    std::vector<std::string> names;
    for (const auto& k : kinds) names.push_back(k.first);
    std::string similar = nearest(name, names);
    ctx_.error(Code::E0201, e.operands[0]->span,
               fmt::format("unknown source `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)))
        .help.push_back("sources are csv, idx, npy, npz, safetensors and text");
    return std::nullopt;
  }
  DataSource spec;
  spec.kind = kind->second;
  using S = SourceKind;
  bool has_key = spec.kind == S::npz || spec.kind == S::safetensors;
  std::string takes = has_key ? "one file and one key" : "one file";
  std::string_view only_option = has_key ? "key" : spec.kind == S::csv ? "columns" : spec.kind == S::text ? "context" : "";
  size_t texts = 0;  // those without a name: the file, then the key
  bool is_good = check_options_once(ctx_, e.arguments, name), is_empty = false;
  for (const ast::Argument& a : e.arguments) {
    std::string option = a.name ? a.name->text : "";
    if (option.empty() || (option == "key" && has_key)) {
      bool is_key = !option.empty() || texts > 0;
      if (a.value->kind != ast::ExprKind::string) {
        ctx_.error(Code::E0206, a.value->span, fmt::format("`{}` needs {} in quotes", name, is_key ? "a key" : "a file"));
        is_good = false;
      } else if (is_key && (!has_key || !spec.key.empty())) {
        if (is_good) ctx_.error(Code::E0204, a.span, fmt::format("`{}` takes {}", name, takes));
        is_good = false;
      } else if (is_key) {
        spec.key = a.value->text;
      } else {
        spec.path = a.value->text.starts_with('/') ? a.value->text : ctx_.frame->file->folder + a.value->text;
        is_empty = a.value->text.empty();
      }
      if (option.empty()) ++texts;
    } else if (option == "columns" && spec.kind == S::csv) {
      const ast::Expr& c = *a.value;
      if (c.kind == ast::ExprKind::range) {
        std::optional<int64_t> first = eval_.evaluate_integer(*c.operands[0], "a column", 0),
                               end = eval_.evaluate_integer(*c.operands[1], "the end of a range of columns", 0);
        is_good = is_good && first && end;
        if (first && end) {
          spec.has_range = true;
          spec.first_column = *first;
          spec.end_column = *end;
          if (*first >= *end) {
            ctx_.error(Code::E0304, c.span, fmt::format("this range of columns {}", *first > *end ? "runs backwards" : "is empty"))
                .help.push_back(fmt::format("`a..b` is from a to the one before b{}",
                                            *first > *end ? fmt::format(": write `{}..{}`", *end, *first) : ""));
            is_good = false;
          }
        }
        continue;
      }
      std::vector<const ast::Expr*> items;
      if (c.kind == ast::ExprKind::array || c.kind == ast::ExprKind::tuple) {
        for (const ast::ExprPtr& o : c.operands) items.push_back(o.get());
      } else {
        items.push_back(&c);
      }
      for (const ast::Expr* item : items) {
        if (item->kind == ast::ExprKind::string) {
          spec.column_names.push_back(item->text);
        } else if (std::optional<int64_t> index = eval_.evaluate_integer(*item, "a column", 0)) {
          spec.columns.push_back(*index);
        } else {
          is_good = false;
        }
      }
      if (!spec.columns.empty() && !spec.column_names.empty()) {
        ctx_.error(Code::E0206, c.span, "columns are given either by their places or by their names");
        is_good = false;
      }
    } else if (option == "context" && spec.kind == S::text) {
      std::optional<int64_t> n = eval_.evaluate_integer(*a.value, "`context`", 1);
      is_good = is_good && n;
      if (n) spec.context = *n;
    } else {
      Diagnostic& d = ctx_.error(Code::E0204, a.name->span, fmt::format("`{}` has no option `{}`", name, option));
      if (!only_option.empty()) d.help.push_back(fmt::format("it has `{}`", only_option));
      is_good = false;
    }
  }
  if (is_good && (texts == 0 || is_empty)) {
    ctx_.error(Code::E0202, e.span, fmt::format("`{}` needs a file", name))
        .help.push_back(fmt::format("write `{}(\"file\"{})`", name, has_key ? ", \"key\"" : ""));
    return std::nullopt;
  }
  if (is_good && spec.kind == S::text && spec.context == 0) {
    ctx_.error(Code::E0202, e.span, "`text` needs `context`").help.push_back("write `text(\"file.txt\", context: 64)`");
    return std::nullopt;
  }
  if (is_good && has_key && spec.key.empty()) {
    ctx_.error(Code::E0202, e.span, fmt::format("`{}` needs a key", name))
        .help.push_back(fmt::format("write `{}(\"file\", \"key\")`", name));
    return std::nullopt;
  }
  if (!is_good) return std::nullopt;
  return spec;
}

std::optional<SplitSpec> DataBlocks::evaluate_split(const ast::Split& split, const Global& block) {
  SplitSpec spec;
  spec.span = split.span;
  if (split.kind == ast::Split::Kind::from) {
    spec.kind = SplitSpec::Kind::from;
    spec.other = split.other.text;
    const Global* other = find(split.other.text, split.other.span);
    if (!other) return std::nullopt;
    if (other->data != block.data) return spec;
    ctx_.error(Code::E0309, split.span, fmt::format("`{}` would take the rows of `{}` that train", split.word.text, spec.other))
        .help.push_back(fmt::format("set a share of them aside, `{} 20%`, or name another data block", split.word.text));
    return std::nullopt;
  }
  spec.kind = split.kind == ast::Split::Kind::last ? SplitSpec::Kind::last : SplitSpec::Kind::random;
  NNC_CHECK(split.share, "a share that the parser left out");
  if (split.share->kind == ast::ExprKind::error) return std::nullopt;
  spec.fraction = split.share->number / 100;
  NNC_CHECK(spec.fraction > 0 && spec.fraction < 1, "a share that the parser let pass");
  return spec;
}

/// As many columns of a csv as a row has values, where the program says which they are.
void DataBlocks::check_column_count(const FieldSpec& f, const ast::Expr& source) {
  const DataSource& s = f.source;
  const int64_t chosen = s.has_range ? s.end_column - s.first_column : int64_t(s.column_names.empty() ? s.columns.size() : s.column_names.size());
  if (s.kind != SourceKind::csv || chosen <= 0) return;
  double values = 1;  // as a number that cannot overflow
  for (int64_t size : f.row_shape) values *= double(size);
  if (values == double(chosen)) return;
  Diagnostic& d = ctx_.error(Code::E0401, source.span,
                             fmt::format("{} column{} {} chosen, and `{}` is declared with {:.0f} value{} per row", chosen, chosen == 1 ? "" : "s",
                                         chosen == 1 ? "is" : "are", f.name, values, values == 1 ? "" : "s"));
  d.labels.push_back({f.span, f.row_shape.empty() ? "one value" : fmt::format("[{}]", fmt::join(f.row_shape, ", "))});
  if (f.row_shape.size() <= 1) d.help.push_back(chosen == 1 ? fmt::format("declare `{}` without dimensions, or choose more columns", f.name)
                                                            : fmt::format("declare `{}[{}]`, or choose other columns", f.name, chosen));
}

/// A field of a text is `context` characters, as classes. The first one's are those of the row, the second one's stand one further on.
void DataBlocks::check_text(const FieldSpec& f, const ast::Field& field, bool has_shape) {
  const Span source = field.source->span;
  if (f.classes == 0 && (!field.type || field.type->name.text != "class")) {
    Diagnostic& d = ctx_.error(Code::E0206, field.type ? field.type->span : f.span, fmt::format("the characters of a text are classes, and `{}` is {}", f.name, dtype_name(f.dtype)));
    d.labels.push_back({source, "a text"});
    d.help.push_back(fmt::format("write `{} : class(N)`, where N is the number of different characters", ctx_.program.sources->text(f.span)));
    return;
  }
  if (f.source.offset > 1) {
    if (f.source.offset == 2)
      ctx_.error(Code::E0206, f.span, fmt::format("`text` gives two fields, and `{}` is a third", f.name))
          .help.push_back("the first is a row's characters, the second those that are one further on");
    return;
  }
  if (!has_shape || f.row_shape == std::vector<int64_t>{f.source.context}) return;
  Diagnostic& d = ctx_.error(Code::E0401, f.span, fmt::format("`{}` is declared {}, but `context` is {}", f.name,
                                                              f.row_shape.empty() ? "without dimensions" : fmt::format("[{}]", fmt::join(f.row_shape, ", ")), f.source.context));
  d.labels.push_back({source, fmt::format("gives {} characters for each row", f.source.context)});
  d.help.push_back(f.row_shape.size() == 1 ? fmt::format("declare `{}[{}]`, or write `context: {}`", f.name, f.source.context, f.row_shape[0])
                                           : fmt::format("declare `{}[{}]`", f.name, f.source.context));
}

/// The rows of a text begin at its characters, which those of no other source do.
void DataBlocks::check_one_text(const DataSpec& spec, const ast::Data& data) {
  const ast::Field* text = nullptr;
  for (const ast::Field& field : data.fields)
    for (const ast::FieldName& name : field.names) {
      auto f = std::ranges::find(spec.fields, name.name.text, &FieldSpec::name);
      if (!text && f != spec.fields.end() && f->source.kind == SourceKind::text) text = &field;
    }
  if (!text) return;
  for (const ast::Field& field : data.fields) {
    if (&field == text || field.source->kind == ast::ExprKind::error) continue;
    Diagnostic& d = ctx_.error(Code::E0206, field.source->span, "a data block with a text has no other source");
    d.labels.push_back({text->source->span, "the rows begin at its characters"});
    d.help.push_back("declare both fields together, `tokens[N], next[N] : class(C) = text(...)`: the second is the characters one further on");
    return;
  }
}

// The scope of a data block: names and paths are those of the file that it stands in, whichever file uses it.
Frame DataBlocks::scope_of(const Global& block) {
  Frame frame;
  frame.file = block.file;
  FrameScope scope(ctx_, frame);
  eval_.bind_dimension("B", ctx_.rows, {});  // so that a field that has it is told why it cannot
  return frame;
}

DataSpec DataBlocks::evaluate(const Global& block) {
  const ast::Data& data = *block.data;
  Frame frame = scope_of(block);
  FrameScope scope(ctx_, frame);
  DataSpec spec;
  spec.name = data.name.text;
  spec.span = data.span;
  for (const ast::Field& field : data.fields) {
    std::optional<DataSource> source = evaluate_source(*field.source);
    DType dtype = DType::f32;
    int64_t classes = 0;
    bool has_type = true;
    if (field.type) {
      const std::string& type = field.type->name.text;
      if (type == "class") {
        dtype = DType::i32;
        if (!field.type->size)
          ctx_.error(Code::E0202, field.type->span, "`class` needs the number of classes").help.push_back("write `class(10)`");
        else if (std::optional<Dim> n = eval_.evaluate_dim(*field.type->size); n && n->extent.rows)
          ctx_.error(Code::E0113, field.type->span,
                     fmt::format("`{}` counts the rows of a batch, and is no number of classes", ctx_.dims.show(*n)));
        else if (n)
          classes = n->extent.size;
      } else if (!type.empty()) {
        std::optional<DType> known = ctx_.declared_type(*field.type);
        has_type = known.has_value();
        dtype = known.value_or(DType::f32);
      }
    }
    for (const ast::FieldName& name : field.names) {
      FieldSpec f;
      f.name = name.name.text;
      f.dtype = dtype;
      f.classes = classes;
      f.span = name.span.valid() ? name.span : name.name.span;
      for (const FieldSpec& other : spec.fields)
        if (other.name == f.name && !f.name.empty())
          ctx_.error(Code::E0205, name.name.span, fmt::format("two fields are called `{}`", f.name))
              .labels.push_back({other.span, "the first"});
      bool has_shape = true;
      if (name.dims) {
        std::optional<Dims> dims = eval_.evaluate_dims(*name.dims, false);
        has_shape = dims.has_value() && tensors_.check_rows(*dims, name.span);
        if (dims)
          for (const Dim& d : *dims) {
            f.row_shape.push_back(d.extent.size);
            f.dimension_names.push_back(d.named() ? ctx_.dims.show(d) : "");
          }
      }
      if (source) f.source = *source;
      if (source && source->kind == SourceKind::text) f.source.offset = int64_t(&name - field.names.data());
      if (source && has_shape) check_column_count(f, *field.source);
      if (source && source->kind == SourceKind::text && has_type) check_text(f, field, has_shape);
      if (has_shape && has_type) spec.fields.push_back(std::move(f));  // else nothing that reads it can be judged
    }
  }
  check_one_text(spec, data);
  for (const ast::Split& split : data.splits) {
    auto first =
        std::find_if(data.splits.begin(), data.splits.end(), [&](const ast::Split& s) { return s.word.text == split.word.text; });
    if (&*first != &split)
      ctx_.error(Code::E0205, split.span, fmt::format("`{}` is given twice", split.word.text))
          .labels.push_back({first->span, "the first"});
    if (std::optional<SplitSpec> s = evaluate_split(split, block)) {
      if (split.word.text == "valid")
        spec.valid = *s;
      else
        spec.test = *s;
    }
  }
  if (spec.test.kind != SplitSpec::Kind::from && spec.valid.kind != SplitSpec::Kind::from &&
      spec.test.fraction + spec.valid.fraction >= 1)
    ctx_.error(Code::E0304, spec.valid.span, "`test` and `valid` together leave no rows to train on");
  return spec;
}

// The data blocks that `test from` and `valid from` name.
void DataBlocks::read_split_data(const Global& block, TrainSpec& spec) {
  for (const SplitSpec* split : {&spec.data.test, &spec.data.valid}) {
    auto named = [&](const DataSpec& d) { return d.name == split->other; };
    if (split->kind != SplitSpec::Kind::from || std::ranges::any_of(spec.other_data, named)) continue;
    const DataSpec& other = spec.other_data.emplace_back(evaluate(*ctx_.program.find(*block.file, split->other)));
    check_same_fields(spec.data, other, *split);
    for (const SplitSpec* share : {&other.test, &other.valid}) {
      if (share->kind != SplitSpec::Kind::random && share->kind != SplitSpec::Kind::last) continue;
      std::string_view text = ctx_.program.sources->text(share->span);
      Diagnostic& d = ctx_.error(Code::E0309, split->span, fmt::format("all rows of `{}` are taken, though it sets some aside", other.name));
      d.labels.push_back({share->span, "this would have no effect"});
      d.help.push_back(fmt::format("take `{}` out of `{}`, or name a data block without it", text, other.name));
    }
  }
}

/// Rows of `other` stand for rows of `data`: all its fields are there, each of the same type and shape.
void DataBlocks::check_same_fields(const DataSpec& data, const DataSpec& other, const SplitSpec& split) {
  if (ctx_.has_errors()) return;  // what seems to be missing may be what could not be evaluated
  auto type = [](const FieldSpec& f) {
    std::string name = f.classes > 0 ? fmt::format("class({})", f.classes) : std::string(dtype_name(f.dtype));
    return f.row_shape.empty() ? name : fmt::format("{}[{}]", name, fmt::join(f.row_shape, ", "));
  };
  for (const FieldSpec& f : data.fields) {
    auto same = std::ranges::find(other.fields, f.name, &FieldSpec::name);
    const bool is_one_text = same != other.fields.end() && (same->source.kind == SourceKind::text) != (f.source.kind == SourceKind::text);
    if (is_one_text) {
      Diagnostic& d = ctx_.error(Code::E0309, split.span, fmt::format("one of `{}` and `{}` is a text, and the other is not", data.name, other.name));
      d.labels.push_back({f.span, fmt::format("a field of `{}`", data.name)});
      d.labels.push_back({same->span, fmt::format("that of `{}`", other.name)});
      d.help.push_back("characters get their numbers from the text that trains: let both be texts, or neither");
      return;
    }
    if (same != other.fields.end() && same->dtype == f.dtype && same->classes == f.classes && same->row_shape == f.row_shape) continue;
    bool is_missing = same == other.fields.end();
    Diagnostic& d = ctx_.error(
        Code::E0309, split.span,
        is_missing ? fmt::format("`{}` has no field `{}`", other.name, f.name)
                   : fmt::format("`{}` is {} in `{}`, but {} in `{}`", f.name, type(*same), other.name, type(f), data.name));
    d.labels.push_back({f.span, fmt::format("a field of `{}`", data.name)});
    if (!is_missing) d.labels.push_back({same->span, fmt::format("that of `{}`", other.name)});
    d.help.push_back(fmt::format("give `{}` every field of `{}`, with the same type and shape", other.name, data.name));
    return;
  }
}

// A data block by its name, or an error.
const Global* DataBlocks::find(std::string_view name, Span span) {
  const Global* g = ctx_.program.find(*ctx_.frame->file, name);
  if (g && g->data) return g;
  if (ctx_.frame->file->tree->has_errors) return nullptr;  // it may stand in what could not be read
  if (g) {
    ctx_.error(Code::E0206, span, fmt::format("`{}` is {}, not a data block", name, with_article(global_kind(*g))));
    return nullptr;
  }
  std::vector<std::string> names;
  for (const auto& [n, global] : ctx_.frame->file->globals)
    if (global.data) names.push_back(n);
  std::string similar = nearest(name, names);
  ctx_.error(Code::E0201, span,
             fmt::format("unknown data block `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
  return nullptr;
}

const Global* DataBlocks::find_of_train() {
  const ast::Stmt* clause = nullptr;
  for (const ast::StmtPtr& s : ctx_.program.main->train->statements)
    if (s->kind == ast::StmtKind::clause && s->name.text == "data") {
      if (clause) {
        ctx_.error(Code::E0303, s->span, "`train` has a second `data`").labels.push_back({clause->span, "the first"});
        continue;
      }
      clause = s.get();
    }
  bool is_partial = is_train_partial(ctx_.program);
  if (!clause) {
    if (is_partial) return nullptr;
    ctx_.error(Code::E0303, ctx_.program.main->train->keyword_span, "`train` names no data")
        .help.push_back("add a line such as `data NAME, batch: 32`");
    return nullptr;
  }
  if (clause->arguments.size() != 1 || clause->arguments[0].value->kind != ast::ExprKind::name) {
    if (!is_partial)
      ctx_.error(Code::E0303, clause->span, "`data` needs the name of one data block").help.push_back("write `data NAME, batch: 32`");
    return nullptr;
  }
  const ast::Expr& name = *clause->arguments[0].value;
  return find(name.text, name.span);
}

// Fields become inputs: a row of the batch each, with their own dimensions behind.
void DataBlocks::bind(const DataSpec& data) {
  const Global& block = *ctx_.program.find(*ctx_.program.main, data.name);
  Frame frame = scope_of(block);
  eval_.bind_dimension("B", ctx_.rows, data.span);
  for (const ast::Field& field : block.data->fields)
    for (const ast::FieldName& name : field.names) {
      auto spec =
          std::find_if(data.fields.begin(), data.fields.end(), [&](const FieldSpec& f) { return f.name == name.name.text; });
      if (spec == data.fields.end()) {
        ctx_.frame->bind(name.name.text, poison(), name.span);
        continue;
      }
      TensorValue t;
      t.dims = {{ctx_.rows, {1, true}, {}}};
      t.dtype = spec->dtype;
      t.is_class = spec->classes > 0;
      {
        FrameScope scope(ctx_, frame);
        Origin origin{spec->span, "declared"};
        if (name.dims) {
          std::optional<Dims> own = eval_.evaluate_dims(*name.dims, false);
          NNC_CHECK(own, spec->name);  // as when the field was declared
          for (Dim& d : *own) {
            if (!d.named() || !d.origin.span.valid()) d.origin = origin;
            t.dims.push_back(d);
          }
        }
        if (t.is_class && field.type && field.type->size)
          if (std::optional<Dim> n = eval_.evaluate_dim(*field.type->size))
            t.classes = {n->id, n->extent, {field.type->span, "declared"}};
      }
      t.span = spec->span;
      t.node = ctx_.builder(spec->span).input(spec->name, Type{spec->dtype, shape_of(t.dims)});
      ctx_.frame->bind(name.name.text, Value::of(t), name.name.span);
    }
}

void check_globals(const Program& program, Diagnostics& diagnostics) {
  SymbolicEvaluator eval(program, diagnostics, true);
  DataBlocks blocks(eval);
  Frame top;
  top.file = program.main;
  FrameScope scope(eval.ctx, top);
  for (const auto& [name, g] : program.main->globals) {
    if (g.file != program.main) continue;
    bool found = false;
    if (g.dim) eval.global_value(*program.main, name, g.span, found);
    if (g.data) blocks.evaluate(g);
  }
}

}  // namespace nnc
