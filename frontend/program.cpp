// Loading: a file, what it uses, and std; then what each name at the top means. The file's own names hide imported ones, those
// hide std's.
#include "frontend/program.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "frontend/std_text.h"
#include "frontend/syntax/parser.h"

namespace nnc {

const Global* Program::find(const SourceFile& file, std::string_view name) const {
  auto own = file.globals.find(name);
  if (own != file.globals.end()) return &own->second;
  auto standard = files[0].globals.find(name);
  return standard == files[0].globals.end() ? nullptr : &standard->second;
}

const std::string* Program::override_of(std::string_view path) const {
  const std::string* found = nullptr;
  for (const Override& o : overrides)
    if (o.path == path) found = &o.value;
  return found;
}

std::vector<const Global*> Program::settable_dims(std::string_view name) const {
  auto seen = main->globals.find(name);
  if (seen != main->globals.end() && seen->second.dim) return {&seen->second};
  std::vector<const Global*> found;
  for (const SourceFile& file : files) {
    auto own = file.globals.find(name);
    if (!file.is_std && own != file.globals.end() && own->second.dim && own->second.file == &file) found.push_back(&own->second);
  }
  return found;
}

namespace {

class Loader {
 public:
  Loader(Program& program, const LoadOptions& options, Diagnostics& diagnostics)
      : program_(program), options_(options), diagnostics_(diagnostics) {}

  SourceFile* add(FileId id, bool is_std) {
    program_.files.emplace_back();
    SourceFile& file = program_.files.back();
    file.id = id;
    file.path = program_.sources->path(id);
    size_t slash = file.path.rfind('/');
    file.folder = slash == std::string::npos ? "" : file.path.substr(0, slash + 1);
    file.is_std = is_std;
    file.tree = parse(*program_.sources, id, diagnostics_);
    loaded_[identity(file.path)] = &file;
    define_all(file);
    import_all(file);
    return &file;
  }

 private:
  // One file under all its names: `layers.nn`, `./layers.nn`, a link to it.
  static std::string identity(const std::string& path) {
    std::error_code error;
    std::filesystem::path real = std::filesystem::weakly_canonical(path, error);
    return error ? path : real.string();
  }

  // What a file defines itself.
  void define_all(SourceFile& file) {
    for (const ast::Item& item : file.tree->items) {
      if (const auto* c = std::get_if<ast::Callable>(&item.node)) {
        if (c->name.empty()) continue;
        program_.definitions.push_back({&file, c, item.has_errors});
        const Definition* d = &program_.definitions.back();
        file.definitions.push_back(d);
        Global* g = declare(file, c->name);
        if (g->definitions.empty() && !g->dim && !g->data) {
          g->definitions = {d};
        } else if (!g->definitions.empty() && std::all_of(g->definitions.begin(), g->definitions.end(), [&](const Definition* other) {
                     return distinguishable(*other, *d);
                   })) {
          g->definitions.push_back(d);
        } else {
          defined_twice(c->name, *g);
        }
      } else if (const auto* dims = std::get_if<ast::DimList>(&item.node)) {
        for (const ast::DimDeclaration& d : dims->dims) {
          if (d.name.empty()) continue;
          Global* g = declare(file, d.name);
          if (g->dim || g->data || !g->definitions.empty())
            defined_twice(d.name, *g);
          else
            g->dim = &d;
        }
      } else if (const auto* data = std::get_if<ast::Data>(&item.node)) {
        if (data->name.empty()) continue;
        Global* g = declare(file, data->name);
        if (g->dim || g->data || !g->definitions.empty())
          defined_twice(data->name, *g);
        else
          g->data = data;
      } else if (const auto* train = std::get_if<ast::Train>(&item.node)) {
        if (file.train)
          diagnostics_.report(Code::E0205, train->keyword_span, "a file has one `train` block")
              .labels.push_back({file.train->keyword_span, "the first"});
        else
          file.train = train;
      } else if (const auto* test = std::get_if<ast::Test>(&item.node)) {
        file.tests.push_back(test);
      }
    }
  }

  static Global* declare(SourceFile& file, const ast::Name& name) {
    auto [it, is_new] = file.globals.try_emplace(name.text);
    if (is_new) {
      it->second.file = &file;
      it->second.span = name.span;
    }
    return &it->second;
  }

  void defined_twice(const ast::Name& name, const Global& g) {
    diagnostics_.report(Code::E0205, name.span, fmt::format("`{}` is defined twice", name.text))
        .labels.push_back({g.span, "the first"});
  }

  // Two definitions may share a name where one takes class(N) and the other does not.
  static bool distinguishable(const Definition& a, const Definition& b) {
    for (size_t i = 0; i < std::min(a.ast->arguments.size(), b.ast->arguments.size()); ++i) {
      auto takes_class = [&](const Definition& d) {
        return d.ast->arguments[i].type && d.ast->arguments[i].type->name.text == "class";
      };
      if (takes_class(a) != takes_class(b)) return true;
    }
    return false;
  }

  // What a file takes from others.
  void import_all(SourceFile& file) {
    for (const ast::Item& item : file.tree->items) {
      const auto* use = std::get_if<ast::Use>(&item.node);
      if (!use || use->path.text.empty()) continue;
      std::string path = use->path.text[0] == '/' ? use->path.text : file.folder + use->path.text;
      SourceFile* other = nullptr;
      if (auto it = loaded_.find(identity(path)); it != loaded_.end()) {
        other = it->second;
        if (other == &file) {
          diagnostics_.report(Code::E0211, use->path.span, fmt::format("`{}` uses itself", file.path))
              .help.push_back("leave the line out: what a file defines is always in scope in it");
          continue;
        }
      } else {
        std::optional<std::string> text = options_.read_file ? options_.read_file(path) : std::nullopt;
        if (!text) {
          diagnostics_.report(Code::E0211, use->path.span, fmt::format("cannot read `{}`", path))
              .help.push_back("paths are relative to the file that uses them");
          failed_use_ = true;
          continue;
        }
        other = add(program_.sources->add(path, std::move(*text)), false);
      }
      auto take = [&](const std::string& name, const Global& g, Span span) {
        auto [it, is_new] = file.globals.try_emplace(name, g);
        if (!is_new && it->second.file != g.file && it->second.file != &file)
          diagnostics_.report(Code::E0205, span, fmt::format("`{}` comes from two files", name))
              .labels.push_back({it->second.span, "the first"});
      };
      if (!use->has_names) {
        file.lacks_imports = file.lacks_imports || other->tree->has_errors;
        for (const auto& [name, g] : other->globals)
          if (g.file == other) take(name, g, use->span);
        continue;
      }
      for (const ast::Name& name : use->names) {
        auto g = other->globals.find(name.text);
        if (g != other->globals.end()) {
          take(name.text, g->second, name.span);
        } else if (!name.empty()) {
          std::vector<std::string> names;
          for (const auto& [n, unused] : other->globals) names.push_back(n);
          std::string similar = nearest(name.text, names);
          if (!other->tree->has_errors)
            diagnostics_.report(Code::E0211, name.span,
                                fmt::format("`{}` defines no `{}`{}", use->path.text, name.text,
                                            similar.empty() ? "" : fmt::format("; a similar name is `{}`", similar)));
          file.lost_names.insert(name.text);
        }
      }
    }
    if (failed_use_) file.tree->has_errors = file.lacks_imports = true;  // names may stand in what could not be read
  }

  Program& program_;
  const LoadOptions& options_;
  Diagnostics& diagnostics_;
  std::map<std::string, SourceFile*> loaded_;
  bool failed_use_ = false;
};

}  // namespace

void load_program(Program& program, FileId file, const LoadOptions& options, Diagnostics& diagnostics) {
  program.overrides = options.overrides;
  Loader loader(program, options, diagnostics);
  loader.add(program.sources->add("<std>", std::string(std_nn_text, std_nn_size)), true);
  program.main = loader.add(file, false);
}

bool is_train_partial(const Program& program) {
  return std::any_of(program.main->tree->items.begin(), program.main->tree->items.end(), [&](const ast::Item& item) {
    return std::get_if<ast::Train>(&item.node) == program.main->train && item.has_errors;
  });
}

}  // namespace nnc
