// The data and train blocks: what a run needs beside graphs (TrainSpec), and the forward graph with loss and reports.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/check.h"
#include "frontend/lowering.h"

namespace nnc {

namespace {

/// Whether parts of the train block could not be read: what it seems to lack may stand there.
bool is_train_partial(const SourceFile& file) {
  return std::any_of(file.tree->items.begin(), file.tree->items.end(), [&](const ast::Item& item) {
    return std::get_if<ast::Train>(&item.node) == file.train && item.has_errors;
  });
}

}  // namespace

// --- data ---

std::optional<SourceSpec> Lowering::evaluate_source(const ast::Expr& e) {
  if (e.kind == ast::ExprKind::error) return std::nullopt;
  static const std::vector<std::pair<std::string, SourceSpec::Kind>> kinds{{"csv", SourceSpec::Kind::csv},
                                                                           {"idx", SourceSpec::Kind::idx},
                                                                           {"npy", SourceSpec::Kind::npy},
                                                                           {"npz", SourceSpec::Kind::npz},
                                                                           {"safetensors", SourceSpec::Kind::safetensors},
                                                                           {"text", SourceSpec::Kind::text}};
  if (e.kind != ast::ExprKind::call || e.operands[0]->kind != ast::ExprKind::name) {
    error(Code::E0206, e.span, "a field needs a source of data")
        .help.push_back(
            "write `csv(\"file.csv\", columns: 0..64)`, `idx(...)`, `npy(...)`, `npz(...)`, `safetensors(...)` or `text(...)`");
    return std::nullopt;
  }
  const std::string& name = e.operands[0]->text;
  auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const auto& k) { return k.first == name; });
  if (kind == kinds.end()) {
    if (name == "cifar10" || name == "images") {
      not_in_this_version(e.operands[0]->span, fmt::format("the source `{}` is", name));
      return std::nullopt;
    }
    std::vector<std::string> names;
    for (const auto& k : kinds) names.push_back(k.first);
    std::string similar = nearest(name, names);
    error(Code::E0201, e.operands[0]->span,
          fmt::format("unknown source `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)))
        .help.push_back("sources are csv, idx, npy, npz, safetensors and text");
    return std::nullopt;
  }
  SourceSpec spec;
  spec.kind = kind->second;
  using S = SourceSpec::Kind;
  bool has_key = spec.kind == S::npz || spec.kind == S::safetensors;
  std::string takes = has_key ? "one file and one key" : "one file";
  std::string_view only_option = has_key ? "key" : spec.kind == S::csv ? "columns" : spec.kind == S::text ? "context" : "";
  size_t texts = 0;  // those without a name: the file, then the key
  bool is_good = check_options_once(e.arguments, name), is_empty = false;
  for (const ast::Argument& a : e.arguments) {
    std::string option = a.name ? a.name->text : "";
    if (option.empty() || (option == "key" && has_key)) {
      bool is_key = !option.empty() || texts > 0;
      if (a.value->kind != ast::ExprKind::string) {
        error(Code::E0206, a.value->span, fmt::format("`{}` needs {} in quotes", name, is_key ? "a key" : "a file"));
        is_good = false;
      } else if (is_key && (!has_key || !spec.key.empty())) {
        if (is_good) error(Code::E0204, a.span, fmt::format("`{}` takes {}", name, takes));
        is_good = false;
      } else if (is_key) {
        spec.key = a.value->text;
      } else {
        spec.path = a.value->text.starts_with('/') ? a.value->text : frame_->file->folder + a.value->text;
        is_empty = a.value->text.empty();
      }
      if (option.empty()) ++texts;
    } else if (option == "columns" && spec.kind == S::csv) {
      const ast::Expr& c = *a.value;
      if (c.kind == ast::ExprKind::range) {
        std::optional<int64_t> first = evaluate_integer(*c.operands[0], "a column", 0),
                               end = evaluate_integer(*c.operands[1], "the end of a range of columns", 0);
        is_good = is_good && first && end;
        if (first && end) {
          spec.has_range = true;
          spec.first_column = *first;
          spec.end_column = *end;
          if (*first >= *end) {
            error(Code::E0304, c.span, fmt::format("this range of columns {}", *first > *end ? "runs backwards" : "is empty"))
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
        } else if (std::optional<int64_t> index = evaluate_integer(*item, "a column", 0)) {
          spec.columns.push_back(*index);
        } else {
          is_good = false;
        }
      }
      if (!spec.columns.empty() && !spec.column_names.empty()) {
        error(Code::E0206, c.span, "columns are given either by their places or by their names");
        is_good = false;
      }
    } else if (option == "context" && spec.kind == S::text) {
      std::optional<int64_t> n = evaluate_integer(*a.value, "`context`", 1);
      is_good = is_good && n;
      if (n) spec.context = *n;
    } else {
      Diagnostic& d = error(Code::E0204, a.name->span, fmt::format("`{}` has no option `{}`", name, option));
      if (!only_option.empty()) d.help.push_back(fmt::format("it has `{}`", only_option));
      is_good = false;
    }
  }
  if (is_good && (texts == 0 || is_empty)) {
    error(Code::E0202, e.span, fmt::format("`{}` needs a file", name))
        .help.push_back(fmt::format("write `{}(\"file\"{})`", name, has_key ? ", \"key\"" : ""));
    return std::nullopt;
  }
  if (is_good && spec.kind == S::text && spec.context == 0) {
    error(Code::E0202, e.span, "`text` needs `context`").help.push_back("write `text(\"file.txt\", context: 64)`");
    return std::nullopt;
  }
  if (is_good && has_key && spec.key.empty()) {
    error(Code::E0202, e.span, fmt::format("`{}` needs a key", name))
        .help.push_back(fmt::format("write `{}(\"file\", \"key\")`", name));
    return std::nullopt;
  }
  if (!is_good) return std::nullopt;
  return spec;
}

std::optional<SplitSpec> Lowering::evaluate_split(const ast::Split& split) {
  SplitSpec spec;
  spec.span = split.span;
  if (split.kind == ast::Split::Kind::from) {
    spec.kind = SplitSpec::Kind::from;
    spec.other = split.other.text;
    if (!find_data_block(split.other.text, split.other.span)) return std::nullopt;
    return spec;
  }
  spec.kind = split.kind == ast::Split::Kind::last ? SplitSpec::Kind::last : SplitSpec::Kind::random;
  NNC_CHECK(split.share, "a share that the parser left out");
  if (split.share->kind == ast::ExprKind::error) return std::nullopt;
  spec.fraction = split.share->number / 100;
  NNC_CHECK(spec.fraction > 0 && spec.fraction < 1, "a share that the parser let pass");
  return spec;
}

DataSpec Lowering::evaluate_data(const ast::Data& data) {
  DataSpec spec;
  spec.name = data.name.text;
  spec.span = data.span;
  for (const ast::Field& field : data.fields) {
    std::optional<SourceSpec> source = evaluate_source(*field.source);
    DType dtype = DType::f32;
    int64_t classes = 0;
    if (field.type) {
      const std::string& type = field.type->name.text;
      if (type == "class") {
        dtype = DType::i32;
        if (!field.type->size)
          error(Code::E0202, field.type->span, "`class` needs the number of classes").help.push_back("write `class(10)`");
        else if (std::optional<Dim> n = evaluate_dim(*field.type->size); n && n->extent.rows)
          error(Code::E0113, field.type->span,
                fmt::format("`{}` counts the rows of a batch, and is no number of classes", dims_.show(*n)));
        else if (n)
          classes = n->extent.size;
      } else if (!type.empty()) {
        dtype = declared_type(*field.type).value_or(DType::f32);
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
          error(Code::E0205, name.name.span, fmt::format("two fields are called `{}`", f.name))
              .labels.push_back({other.span, "the first"});
      bool has_shape = true;
      if (name.dims) {
        std::optional<Dims> dims = evaluate_dims(*name.dims, false);
        has_shape = dims.has_value() && check_rows(*dims, name.span);
        if (dims)
          for (const Dim& d : *dims) {
            f.shape.push_back(d.extent.size);
            f.dimension_names.push_back(d.named() ? dims_.show(d) : "");
          }
      }
      if (source) f.source = *source;
      if (has_shape) spec.fields.push_back(std::move(f));
    }
  }
  for (const ast::Split& split : data.splits) {
    auto first =
        std::find_if(data.splits.begin(), data.splits.end(), [&](const ast::Split& s) { return s.word.text == split.word.text; });
    if (&*first != &split)
      error(Code::E0205, split.span, fmt::format("`{}` is given twice", split.word.text))
          .labels.push_back({first->span, "the first"});
    if (std::optional<SplitSpec> s = evaluate_split(split)) {
      if (split.word.text == "valid")
        spec.valid = *s;
      else
        spec.test = *s;
    }
  }
  if (spec.test.kind != SplitSpec::Kind::from && spec.valid.kind != SplitSpec::Kind::from &&
      spec.test.fraction + spec.valid.fraction >= 1)
    error(Code::E0304, spec.valid.span, "`test` and `valid` together leave no rows to train on");
  return spec;
}

// A data block by its name, or an error.
const ast::Data* Lowering::find_data_block(std::string_view name, Span span) {
  const Global* g = program_.find(*frame_->file, name);
  if (g && g->data) return g->data;
  if (frame_->file->tree->has_errors) return nullptr;  // it may stand in what could not be read
  if (g) {
    error(Code::E0206, span, fmt::format("`{}` is {}, not a data block", name, with_article(global_kind(*g))));
    return nullptr;
  }
  std::vector<std::string> names;
  for (const auto& [n, global] : frame_->file->globals)
    if (global.data) names.push_back(n);
  std::string similar = nearest(name, names);
  error(Code::E0201, span,
        fmt::format("unknown data block `{}`{}", name, similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
  return nullptr;
}

const ast::Data* Lowering::find_data() {
  const ast::Stmt* clause = nullptr;
  for (const ast::StmtPtr& s : program_.main->train->statements)
    if (s->kind == ast::StmtKind::clause && s->name.text == "data") {
      if (clause) {
        error(Code::E0303, s->span, "`train` has a second `data`").labels.push_back({clause->span, "the first"});
        continue;
      }
      clause = s.get();
    }
  bool is_partial = is_train_partial(*program_.main);
  if (!clause) {
    if (is_partial) return nullptr;
    error(Code::E0303, program_.main->train->keyword_span, "`train` names no data")
        .help.push_back("add a line such as `data NAME, batch: 32`");
    return nullptr;
  }
  if (clause->arguments.size() != 1 || clause->arguments[0].value->kind != ast::ExprKind::name) {
    if (!is_partial)
      error(Code::E0303, clause->span, "`data` needs the name of one data block").help.push_back("write `data NAME, batch: 32`");
    return nullptr;
  }
  const ast::Expr& name = *clause->arguments[0].value;
  return find_data_block(name.text, name.span);
}

// Fields become inputs: a row of the batch each, with their own dimensions behind.
void Lowering::bind_data(const DataSpec& data) {
  const Global* g = program_.find(*program_.main, data.name);
  bind_dimension("B", rows_, data.span);
  for (const ast::Field& field : g->data->fields)
    for (const ast::FieldName& name : field.names) {
      auto spec =
          std::find_if(data.fields.begin(), data.fields.end(), [&](const FieldSpec& f) { return f.name == name.name.text; });
      if (spec == data.fields.end()) {
        bind(name.name.text, poison(), name.span);
        continue;
      }
      TensorValue t;
      t.dims = {{rows_, {1, true}, {}}};
      Origin origin{spec->span, "declared"};
      if (name.dims) {
        std::optional<Dims> own = evaluate_dims(*name.dims, false);
        NNC_CHECK(own, spec->name);  // as when the field was declared
        for (Dim& d : *own) {
          if (!d.named() || !d.origin.span.valid()) d.origin = origin;
          t.dims.push_back(d);
        }
      }
      t.dtype = spec->dtype;
      t.is_class = spec->classes > 0;
      if (t.is_class && field.type && field.type->size)
        if (std::optional<Dim> n = evaluate_dim(*field.type->size))
          t.classes = {n->id, n->extent, {field.type->span, "declared"}};
      t.span = spec->span;
      t.node = builder(spec->span).input(spec->name, Type{spec->dtype, shape_of(t.dims)});
      bind(name.name.text, Value::of(t), name.name.span);
    }
}

// --- options ---

/// Whether no option stands twice; each that does is reported where it comes again.
bool Lowering::check_options_once(const std::vector<ast::Argument>& options, std::string_view of) {
  bool is_good = true;
  for (auto a = options.begin(); a != options.end(); ++a) {
    if (!a->name) continue;
    auto first =
        std::find_if(options.begin(), a, [&](const ast::Argument& o) { return o.name && o.name->text == a->name->text; });
    if (first == a) continue;
    error(Code::E0204, a->span, fmt::format("`{}` of `{}` is given twice", a->name->text, of))
        .labels.push_back({first->span, "the first"});
    is_good = false;
  }
  return is_good;
}

Value Lowering::evaluate_override(const std::string& text, Span) {
  if (text == "true" || text == "false") return Value::of_bool(text == "true");
  if (text == "all" || text == "none" || text == "same") return Value::of_text(ValueKind::symbol, text);
  char* end = nullptr;
  double number = std::strtod(text.c_str(), &end);
  NNC_CHECK(!text.empty() && end == text.c_str() + text.size(), "an override that check_overrides let pass: " + text);
  if (std::floor(number) == number && std::abs(number) < 1e15 && text.find_first_of(".eE") == std::string::npos)
    return Value::of_size(int64_t(number));
  return Value::of_number(number);
}

Value Lowering::option_value(const ast::Argument& a, const std::string& path) {
  if (const std::string* text = program_.override_of(path)) return evaluate_override(*text, a.value->span);
  return evaluate(*a.value);
}

TrainSpec Lowering::evaluate_train_spec() {
  TrainSpec spec;
  const ast::Train& train = *program_.main->train;
  spec.span = train.keyword_span;
  Frame frame;
  frame.file = program_.main;
  frame.id = next_frame_++;
  FrameScope scope(*this, frame);
  bind_dimension("B", rows_, train.keyword_span);
  const ast::Data* data = find_data();
  if (data) {
    spec.data = evaluate_data(*data);
    for (const SplitSpec* split : {&spec.data.test, &spec.data.valid})
      if (split->kind == SplitSpec::Kind::from) {
        const Global* other = program_.find(*program_.main, split->other);
        if (std::none_of(spec.other_data.begin(), spec.other_data.end(),
                         [&](const DataSpec& d) { return d.name == split->other; }))
          spec.other_data.push_back(evaluate_data(*other->data));
      }
  }
  auto count = [&](const Value& v, Span span, std::string_view what, int64_t least) -> std::optional<int64_t> {
    if (is_poison(v)) return std::nullopt;
    constexpr int64_t most = 1'000'000'000'000;
    std::optional<int64_t> n = integer_of(v);
    if (n && *n >= least && *n <= most) return n;
    if (v.is(ValueKind::number) && v.number > double(most))  // also one that is no size any more
      error(Code::E0304, span, fmt::format("{} must be at most {}", what, most));
    else
      error(Code::E0304, span, fmt::format("{} must be a whole number, at least {}", what, least));
    return std::nullopt;
  };
  std::map<std::string, Span> seen;
  bool has_using = false, has_minimize = false;
  for (const ast::StmtPtr& statement : train.statements) {
    const ast::Stmt& s = *statement;
    if (s.kind == ast::StmtKind::dim) execute(s);
    if (s.kind != ast::StmtKind::clause) continue;
    const std::string& word = s.name.text;
    if (word == "epochs" || word == "steps" || word == "seed" || word == "save") {
      if (auto [it, is_new] = seen.emplace(word == "steps" ? "epochs" : word, s.span); !is_new) {
        error(
            Code::E0303, s.span,
            word == "epochs" || word == "steps" ? "`train` has a second length" : fmt::format("`train` has a second `{}`", word))
            .labels.push_back({it->second, "the first"});
        continue;
      }
    }
    auto option = [&](std::string_view name) -> const ast::Argument* {
      const ast::Argument* found = nullptr;
      for (const ast::Argument& a : s.options)
        if (a.name->text == name) found = &a;
      return found;
    };
    auto allow = [&](std::initializer_list<std::string_view> names) {
      check_options_once(s.options, word);
      for (const ast::Argument& a : s.options) {
        if (std::find(names.begin(), names.end(), a.name->text) != names.end()) continue;
        std::string similar = nearest(a.name->text, std::vector<std::string>(names.begin(), names.end()));
        Diagnostic& d = error(Code::E0204, a.name->span,
                              fmt::format("`{}` has no option `{}`{}", word, a.name->text,
                                          similar.empty() ? "" : fmt::format("; a similar one is `{}`", similar)));
        if (word == "using")
          d.help.push_back("it has `clip_norm`; hyperparameters stand in the optimizer's brackets: `sgd(lr: 0.01)`");
        else if (similar.empty() && names.size() > 0)
          d.help.push_back(fmt::format("it has `{}`", *names.begin()));
      }
    };
    auto single = [&](int64_t least) -> std::optional<int64_t> {
      if (s.arguments.size() != 1) {
        error(Code::E0303, s.span, fmt::format("`{}` needs one number", word));
        return std::nullopt;
      }
      return count(option_value(s.arguments[0], word), s.arguments[0].value->span, fmt::format("`{}`", word), least);
    };
    if (word == "data") {
      allow({"batch"});
      if (const ast::Argument* batch = option("batch")) {
        Value v = option_value(*batch, "data.batch");
        if (v.is(ValueKind::symbol) && v.text == "all")
          spec.batch = 0;
        else if (std::optional<int64_t> n = count(v, batch->value->span, "`batch`", 1))
          spec.batch = *n;
      }
    } else if (word == "minimize") {
      has_minimize = true;
      allow({});
    } else if (word == "using") {
      has_using = true;
      allow({"clip_norm"});
      if (const ast::Argument* clip = option("clip_norm")) {
        Value v = option_value(*clip, "using.clip_norm");
        std::optional<double> x = number_of(v);
        if (x && *x > 0)
          spec.clip_norm = *x;
        else if (!is_poison(v) && !(v.is(ValueKind::symbol) && v.text == "none"))
          error(Code::E0304, clip->value->span, "`clip_norm` must be a number above 0 or `none`");
      }
    } else if (word == "epochs") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.epochs = *n;
    } else if (word == "steps") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.steps = *n;
    } else if (word == "seed") {
      allow({});
      if (std::optional<int64_t> n = single(0)) spec.seed = uint64_t(*n);
    } else if (word == "save") {
      allow({"every"});
      for (const ast::Argument& a : s.arguments)
        if (a.value->kind != ast::ExprKind::error)
          error(Code::E0303, a.value->span, "`save` takes no file").help.push_back("write `save every: 250`; `--out FILE.safetensors` names the file");
      if (const ast::Argument* every = option("every"))
        if (std::optional<int64_t> n = count(option_value(*every, "save.every"), every->value->span, "`every`", 1))
          spec.save_every = *n;
    } else if (word == "report") {
      allow({"every"});
      if (const ast::Argument* every = option("every"))
        if (std::optional<int64_t> n = count(option_value(*every, "report.every"), every->value->span, "`every`", 1))
          spec.report_every = *n;
    }
  }
  // What is not written may still be set.
  auto set = [&](std::string_view path, int64_t least) -> std::optional<int64_t> {
    const std::string* text = program_.override_of(path);
    if (!text) return std::nullopt;
    return count(evaluate_override(*text, spec.span), spec.span, fmt::format("`{}`", path), least);
  };
  if (const std::string* batch = program_.override_of("data.batch"); batch && *batch == "all")
    spec.batch = 0;
  else if (std::optional<int64_t> n = set("data.batch", 1))
    spec.batch = *n;
  if (std::optional<int64_t> n = set("seed", 0)) spec.seed = uint64_t(*n);
  if (std::optional<int64_t> n = set("save.every", 1)) spec.save_every = *n;
  if (std::optional<int64_t> n = set("epochs", 0)) {
    spec.epochs = *n;
    spec.steps = 0;
  } else if (std::optional<int64_t> m = set("steps", 0)) {
    spec.steps = *m;
    spec.epochs = 0;
  }
  if (const std::string* clip = program_.override_of("using.clip_norm")) {
    spec.clip_norm = number_of(evaluate_override(*clip, spec.span));  // or `none`
  }
  if (is_train_partial(*program_.main)) return spec;
  if (!has_minimize)
    error(Code::E0303, train.keyword_span, "`train` has nothing to minimize")
        .help.push_back("add a line such as `minimize cross_entropy(Net(image), label)`");
  if (!has_using)
    error(Code::E0303, train.keyword_span, "`train` has no optimizer").help.push_back("add a line such as `using sgd(lr: 0.01)`");
  if (!seen.count("epochs") && !program_.override_of("epochs") && !program_.override_of("steps"))
    error(Code::E0303, train.keyword_span, "`train` does not say how long")
        .help.push_back("add a line such as `epochs 10` or `steps 1000`");
  return spec;
}

// --- the forward graph ---

std::optional<BuiltGraph> Lowering::build_train(const TrainSpec& spec) {
  size_t errors_before = diagnostics_->items().size();
  const ast::Train& train = *program_.main->train;
  if (is_train_partial(*program_.main)) return std::nullopt;  // what misses may be what the rest is about
  Frame frame;
  frame.file = program_.main;
  frame.id = next_frame_++;
  FrameScope scope(*this, frame);
  if (spec.data.name.empty()) return std::nullopt;
  bind_data(spec.data);
  graph_.name = options_.training ? "train" : "eval";
  std::optional<TensorValue> loss;
  Span loss_span;
  bool failed = false;
  std::vector<std::pair<std::string, TensorValue>> reports;
  std::map<std::string, Span> report_names;
  for (const ast::StmtPtr& statement : train.statements) {
    const ast::Stmt& s = *statement;
    if (s.kind != ast::StmtKind::clause) {
      execute(s);
      continue;
    }
    if (s.name.text == "minimize") {
      for (const ast::Argument& a : s.arguments) {
        Value v = evaluate(*a.value);
        std::optional<TensorValue> t = as_tensor(v, a.value->span);
        if (!t) {
          failed = true;
          continue;
        }
        if (!t->dims.empty()) {
          Diagnostic& d =
              error(Code::E0301, a.value->span, fmt::format("the loss must be a single number, found {}", dims_.show(t->dims)));
          d.help.push_back("wrap it in `mean(...)`");
          failed = true;
          continue;
        }
        TensorValue term = to_float(*t, a.value->span);
        loss = loss ? binary(Op::add, *loss, term, join(loss_span, a.value->span)) : term;
        loss_span = join(loss_span, a.value->span);
      }
    } else if (s.name.text == "report") {
      for (const ast::Argument& a : s.arguments) {
        Value v = evaluate(*a.value);
        std::string name;
        const ast::Expr* e = a.value.get();
        if (a.name)
          name = a.name->text;
        else if (e->kind == ast::ExprKind::name)
          name = e->text;
        else if (e->kind == ast::ExprKind::call && e->operands[0]->kind == ast::ExprKind::name)
          name = e->operands[0]->text;
        else if (e->kind == ast::ExprKind::pipe && e->stages.back().callee->kind == ast::ExprKind::name)
          name = e->stages.back().callee->text;
        else if (e->kind == ast::ExprKind::pipe && e->stages.back().callee->kind == ast::ExprKind::call &&
                 e->stages.back().callee->operands[0]->kind == ast::ExprKind::name)
          name = e->stages.back().callee->operands[0]->text;
        std::optional<TensorValue> t = as_tensor(v, a.value->span);
        if (!t) continue;
        if (name.empty()) {
          error(Code::E0305, a.value->span, "this report has no name").help.push_back("write `report name: ...`");
          continue;
        }
        static const std::set<std::string> taken{"epoch", "loss", "rate", "seconds", "step", "test"};
        if (taken.count(name)) {
          Diagnostic& d = error(Code::E0305, a.span, fmt::format("a report cannot be called `{}`", name));
          d.notes.push_back(fmt::format("`--log` and `--json` have keys of their own called {}", fmt::join(taken, ", ")));
          if (name == "loss") d.notes.push_back("what is minimized is reported as `loss` in any case");
          d.help.push_back(a.name ? "choose another name" : "give it a name of its own: `report name: ...`");
          continue;
        }
        if (auto [it, is_new] = report_names.emplace(name, a.span); !is_new) {
          error(Code::E0305, a.span, fmt::format("two reports are called `{}`", name))
              .help.push_back("give one another name: `report name: ...`");
          continue;
        }
        if (row_axis(t->dims) >= 0) {
          error(Code::E0305, a.value->span,
                fmt::format("a report cannot have a value for every row, found {}", dims_.show(t->dims)))
              .help.push_back("wrap it in `mean(...)`");
          continue;
        }
        reports.push_back({name, to_float(*t, a.value->span)});
      }
    }
  }
  if (!loss || failed || diagnostics_->items().size() != errors_before) return std::nullopt;
  graph_.outputs.push_back({"loss", loss->node});
  for (const auto& [name, t] : reports) graph_.outputs.push_back({name, t.node});
  finish_graph();
  if (options_.training) check_gradient_paths(loss->node);
  if (diagnostics_->items().size() != errors_before) return std::nullopt;
  BuiltGraph built = take_built();
  for (const FieldSpec& f : spec.data.fields) {
    ArgumentSpec a;
    a.name = f.name;
    a.type.dtype = f.dtype;
    a.type.shape.push_back({1, true});
    for (int64_t n : f.shape) a.type.shape.push_back({n, false});
    a.classes = f.classes;
    a.dimension_names.push_back("B");
    a.dimension_names.insert(a.dimension_names.end(), f.dimension_names.begin(), f.dimension_names.end());
    built.inputs.push_back(std::move(a));
  }
  return built;
}

BuiltGraph Lowering::take_built() {
  BuiltGraph built;
  built.graph = graph_;
  built.parameters = parameters_;
  built.layers = layers_;
  return built;
}

}  // namespace nnc
