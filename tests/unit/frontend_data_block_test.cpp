// The messages of data blocks: sources, types, shapes, splits.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const std::string training =
    "train { data d\n"
    " minimize mean(x)\n"
    " using sgd(lr: 1)\n"
    " epochs 1 }\n"
    "";

TEST_CASE("sources that nobody has", "[frontend][data_block]") {
  check_sayings({
      {R"(data d { x : f32 = 3 }
)" + training,
       "E0206 `3`: a field needs a source of data\n"
       R"(  help write `csv("file.csv", columns: 0..64)`, `idx(...)`, `npy(...)`, `npz(...)`, `safetensors(...)` or `text(...)`)"},
      {R"(data d { x : f32 = (csv)("d.csv")(1) }
)" + training,
       R"(E0206 `(csv)("d.csv")(1)`: a field needs a source of data)"
       "\n"
       R"(  help write `csv("file.csv", columns: 0..64)`, `idx(...)`, `npy(...)`, `npz(...)`, `safetensors(...)` or `text(...)`)"},
      {R"(data d { x : f32 = images("folder") }
)" + training,
       "E0210 `images`: the source `images` is not part of this version of nnc"},
      {R"(data d { x : f32 = cifar10("folder") }
)" + training,
       "E0210 `cifar10`: the source `cifar10` is not part of this version of nnc"},
      {R"(data d { x : f32 = cvs("d.csv") }
)" + training,
       "E0201 `cvs`: unknown source `cvs`; a similar one is `csv`\n"
       "  help sources are csv, idx, npy, npz, safetensors and text"},
      {R"(data d { x : f32 = parquet("d.csv") }
)" + training,
       "E0201 `parquet`: unknown source `parquet`\n"
       "  help sources are csv, idx, npy, npz, safetensors and text"},
  });
}

TEST_CASE("what a source is given", "[frontend][data_block]") {
  check_sayings({
      {R"(data d { x : f32 = csv(3) }
)" + training,
       "E0206 `3`: `csv` needs a file in quotes"},
      {R"(data d { x : f32 = npz("d.npz", key: 3) }
)" + training,
       "E0206 `3`: `npz` needs a key in quotes"},
      {R"(data d { x : f32 = npz(key: "k") }
)" + training,
       R"(E0202 `npz(key: "k")`: `npz` needs a file)"
       "\n"
       R"(  help write `npz("file", "key")`)"},
      {R"(data d { x : f32 = npz(key: "k", "d.npz") }
)" + training,
       ""},
      {R"(data d { x : f32 = csv("d.csv", "e.csv") }
)" + training,
       R"(E0204 `"e.csv"`: `csv` takes one file)"},
      {R"(data d { x : f32 = npz("d.csv", "e", "f") }
)" + training,
       R"(E0204 `"f"`: `npz` takes one file and one key)"},
      {R"(data d { x : f32 = csv("d.csv", key: "e") }
)" + training,
       "E0204 `key`: `csv` has no option `key`\n"
       "  help it has `columns`"},
      {R"(data d { x : f32 = npz("d.npz", "e") }
)" + training,
       ""},
      {R"(data d { x : f32 = safetensors("d.safetensors", key: "e") }
)" + training,
       ""},
      {R"(data d { x : f32 = idx("d", columns: 0..3) }
)" + training,
       "E0204 `columns`: `idx` has no option `columns`"},
      {R"(data d { x : f32 = csv("d", context: 3) }
)" + training,
       "E0204 `context`: `csv` has no option `context`\n"
       "  help it has `columns`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 4..4) }
)" + training,
       "E0304 `4..4`: this range of columns is empty\n"
       "  help `a..b` is from a to the one before b"},
      {R"(data d { x : f32 = csv("d.csv", columns: 4..2) }
)" + training,
       "E0304 `4..2`: this range of columns runs backwards\n"
       "  help `a..b` is from a to the one before b: write `2..4`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 4..0) }
)",
       "E0304 `4..0`: this range of columns runs backwards\n"
       "  help `a..b` is from a to the one before b: write `0..4`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0, columns: 1) }
)",
       "E0204 `columns: 1`: `columns` of `csv` is given twice\n"
       "  label `columns: 0`: the first"},
      {R"(data d { x : f32 = csv("d.csv", columns: -1..2) }
)" + training,
       "E0304 `-1`: a column must be a whole number, at least 0, and known at compile time"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0..2.5) }
)" + training,
       "E0304 `2.5`: the end of a range of columns must be a whole number, at least 0, and known at compile time"},
      {R"(data d { x : f32 = csv("d.csv", columns: 1.5) }
)" + training,
       "E0304 `1.5`: a column must be a whole number, at least 0, and known at compile time"},
      {R"(data d { x[2] : f32 = csv("d.csv", columns: (1, 2)) }
)" + training,
       ""},
      {R"(data d { x[2] : f32 = csv("d.csv", columns: [1, "a"]) }
)" + training,
       R"(E0206 `[1, "a"]`: columns are given either by their places or by their names)"},
      {R"(data d { x[8] : i32 = text("d.txt") }
)" + training,
       R"(E0202 `text("d.txt")`: `text` needs `context`)"
       "\n"
       R"(  help write `text("file.txt", context: 64)`)"},
      {R"(data d { x[8] : i32 = text("d.txt", context: 0) }
)" + training,
       "E0304 `0`: `context` must be a whole number, at least 1, and known at compile time"},
      {R"(data d { x : f32 = csv() }
)" + training,
       "E0202 `csv()`: `csv` needs a file\n"
       R"(  help write `csv("file")`)"},
      {R"(data d { x : f32 = csv("") }
)" + training,
       R"(E0202 `csv("")`: `csv` needs a file)"
       "\n"
       R"(  help write `csv("file")`)"},
      {R"(data d { x : f32 = npz("d.npz") }
)" + training,
       R"(E0202 `npz("d.npz")`: `npz` needs a key)"
       "\n"
       R"(  help write `npz("file", "key")`)"},
      {R"(data d { x : f32 = npz("d.npz", "a", key: "b") }
)" + training,
       R"(E0204 `key: "b"`: `npz` takes one file and one key)"},
  });
}

TEST_CASE("types and shapes of fields", "[frontend][data_block]") {
  check_sayings({
      {R"(data d { x : bf16 = csv("d.csv", columns: 0) }
)" + training,
       "E0210 `bf16`: the type `bf16` is not part of this version of nnc"},
      {R"(data d { x = csv("d.csv", columns: 0) }
)" + training,
       ""},
      {R"(data d { x : f16 = csv("d.csv", columns: 0) }
)" + training,
       "E0201 `f16`: unknown type `f16`\n"
       "  help types are f32, f64, i32, i64, u8, bool and class(N)"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 y : class = csv("d.csv", columns: 0) }
)" + training,
       "E0202 `class`: `class` needs the number of classes\n"
       "  help write `class(10)`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 y : class(0) = csv("d.csv", columns: 0) }
)" + training,
       "E0111 `0`: `0` is 0, and a size must be at least 1"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 y : class(5/2) = csv("d.csv", columns: 0) }
)" + training,
       "E0111 `5/2`: `5/2` is 2.5, and a size must be a whole number\n"
       "  help `/` must come out even; `//` rounds down"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 x : f32 = csv("d.csv", columns: 0) }
)" + training,
       "E0205 `x`: two fields are called `x`\n"
       "  label `x`: the first"},
      {R"(data d { x, x : f32 = csv("d.csv", columns: 0) }
)" + training,
       "E0205 `x`: two fields are called `x`\n"
       "  label `x`: the first"},
      {R"(data d { x[0] : f32 = csv("d.csv", columns: 0) }
)" + training,
       "E0111 `0`: `0` is 0, and a size must be at least 1"},
      {R"(data d { x[N, N] : f32 = csv("d.csv", columns: 0) }
)" + training,
       "E0201 `N`: unknown name `N`\n"
       "E0201 `N`: unknown name `N`"},
      {R"(dim N = 2
data d { x[N, N] : f32 = csv("d.csv", columns: 0..4) }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
      {R"(data d { x[B] : f32 = csv("d.csv", columns: 0..4) }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 })",
       "E0113 `B`: `B` counts the rows of a batch, so no stored value can have it"},
      {R"(data d { x : class(B) = csv("d.csv", columns: 4) }
train { data d
 minimize mean(f32(x))
 using sgd(lr: 1)
 epochs 1 })",
       "E0113 `class(B)`: `B` counts the rows of a batch, and is no number of classes"},
      {R"(dim N = 2
data d { x[N] : f32 = csv("d.csv", columns: 0..2) }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
  });
}

TEST_CASE("fields of a text", "[frontend][data_block]") {
  const std::string rest = R"( }
train { data d
 minimize mean(f32(a))
 using sgd(lr: 1)
 epochs 1 })";
  check_sayings({
      {R"(data d { a[8], b[8] : class(5) = text("d.txt", context: 8))" + rest, ""},
      {R"(data d { a[8] : class(5) = text("d.txt", context: 8))" + rest, ""},
      {R"(data d { a[8], b[8] : class(5) = text("d.txt", context: 9))" + rest,
       "E0401 `a[8]`: `a` is declared [8], but `context` is 9\n"
       R"(  label `text("d.txt", context: 9)`: gives 9 characters for each row)"
       "\n  help declare `a[9]`, or write `context: 8`\n"
       "E0401 `b[8]`: `b` is declared [8], but `context` is 9\n"
       R"(  label `text("d.txt", context: 9)`: gives 9 characters for each row)"
       "\n  help declare `b[9]`, or write `context: 8`"},
      {R"(data d { a[4, 2] : class(5) = text("d.txt", context: 8))" + rest,
       "E0401 `a[4, 2]`: `a` is declared [4, 2], but `context` is 8\n"
       R"(  label `text("d.txt", context: 8)`: gives 8 characters for each row)"
       "\n  help declare `a[8]`"},
      {R"(data d { a : class(5) = text("d.txt", context: 1))" + rest,
       "E0401 `a`: `a` is declared without dimensions, but `context` is 1\n"
       R"(  label `text("d.txt", context: 1)`: gives 1 characters for each row)"
       "\n  help declare `a[1]`"},
      {R"(data d { a[8] : i32 = text("d.txt", context: 8))" + rest,
       "E0206 `i32`: the characters of a text are classes, and `a` is i32\n"
       R"(  label `text("d.txt", context: 8)`: a text)"
       "\n  help write `a[8] : class(N)`, where N is the number of different characters"},
      {R"(data d { a[8] = text("d.txt", context: 8))" + rest,
       "E0206 `a[8]`: the characters of a text are classes, and `a` is f32\n"
       R"(  label `text("d.txt", context: 8)`: a text)"
       "\n  help write `a[8] : class(N)`, where N is the number of different characters"},
      {R"(data d { a[8], b[8], c[8], e[8] : class(5) = text("d.txt", context: 8))" + rest,
       "E0206 `c[8]`: `text` gives two fields, and `c` is a third\n"
       "  help the first is a row's characters, the second those that are one further on"},
      {R"(data d { a[8] : class(5) = text("d.txt", context: 8)
 b[8] : class(5) = text("d.txt", context: 8))" + rest,
       R"(E0206 `text("d.txt", context: 8)`: a data block with a text has no other source)"
       "\n"
       R"(  label `text("d.txt", context: 8)`: the rows begin at its characters)"
       "\n  help declare both fields together, `tokens[N], next[N] : class(C) = text(...)`: the second is the characters one further on"},
      {R"(data d { y : f32 = csv("d.csv", columns: 0)
 a[8] : class(5) = text("d.txt", context: 8))" + rest,
       R"(E0206 `csv("d.csv", columns: 0)`: a data block with a text has no other source)"
       "\n"
       R"(  label `text("d.txt", context: 8)`: the rows begin at its characters)"
       "\n  help declare both fields together, `tokens[N], next[N] : class(C) = text(...)`: the second is the characters one further on"},
      {R"(data d { a[8] : class(5) = text("d.txt", size: 8))" + rest,
       "E0204 `size`: `text` has no option `size`\n"
       "  help it has `context`"},
      {R"(data e { a[8] : class(5) = npy("e.npy") }
data d { a[8] : class(5) = text("d.txt", context: 8)
 test from e)" + rest,
       "E0309 `test from e`: one of `d` and `e` is a text, and the other is not\n"
       "  label `a[8]`: a field of `d`\n  label `a[8]`: that of `e`\n"
       "  help characters get their numbers from the text that trains: let both be texts, or neither"},
      {R"(data e { a[8] : class(5) = text("e.txt", context: 8) }
data d { a[8] : class(5) = text("d.txt", context: 8)
 test from e)" + rest, ""},
  });
}

TEST_CASE("splits", "[frontend][data_block]") {
  check_sayings({
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test 20%
 valid 10%
 test last 30% }
)" + training,
       "E0205 `test last 30%`: `test` is given twice\n  label `test 20%`: the first"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test from e }
)" + training,
       "E0201 `e`: unknown data block `e`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test from relu }
)" + training,
       "E0206 `relu`: `relu` is a function, not a data block"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test 0% }
)" + training,
       "E0020 `0%`: a share lies between 0% and 100%, and both parts need rows"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test 100% }
)" + training,
       "E0020 `100%`: a share lies between 0% and 100%, and both parts need rows"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 valid 100% }
)" + training,
       "E0020 `100%`: a share lies between 0% and 100%, and both parts need rows"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test 50%
 valid 50% }
)" + training,
       "E0304 `valid 50%`: `test` and `valid` together leave no rows to train on"},
      {R"(data e { x : f32 = csv("d.csv", columns: 0) }
data d { x : f32 = csv("d.csv", columns: 0)
 test 50%
 valid from e }
)" + training,
       ""},
      {R"(data e { x : f32 = csv("d.csv", columns: 0) }
data d { x : f32 = csv("d.csv", columns: 0)
 test from e
 valid from e }
)" + training,
       ""},
      {R"(data days { x : f32 = csv("d.csv", columns: 0) }
data d { x : f32 = csv("d.csv", columns: 0)
 test from day }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 })",
       "E0201 `day`: unknown data block `day`; a similar one is `days`"},
      {R"(data d { x : f32 = csv("d.csv", columns: 0)
 test from d
 valid 10% }
)" + training,
       "E0309 `test from d`: `test` would take the rows of `d` that train\n"
       "  help set a share of them aside, `test 20%`, or name another data block"},
      {R"(data e { x : f32 = csv("d.csv", columns: 0)
 valid last 5% }
data d { x : f32 = csv("d.csv", columns: 0)
 test from e }
)" + training,
       "E0309 `test from e`: all rows of `e` are taken, though it sets some aside\n"
       "  label `valid last 5%`: this would have no effect\n"
       "  help take `valid last 5%` out of `e`, or name a data block without it"},
      {R"(data e { x : f32 = csv("e.csv", columns: 0)
 test from d }
data d { x : f32 = csv("d.csv", columns: 0)
 test from e }
)" + training,
       ""},
      {R"(data e { x : f32 = csv("d.csv", columns: 0) }
data d { x, y : f32 = csv("d.csv", columns: 0)
 test from e }
)" + training,
       "E0309 `test from e`: `e` has no field `y`\n  label `y`: a field of `d`\n"
       "  help give `e` every field of `d`, with the same type and shape"},
      {R"(data e { x[2] : f32 = csv("d.csv", columns: 0..2) }
data d { x[3] : f32 = csv("d.csv", columns: 0..3)
 valid from e }
)" + training,
       "E0309 `valid from e`: `x` is f32[2] in `e`, but f32[3] in `d`\n  label `x[3]`: a field of `d`\n  label `x[2]`: that of `e`\n"
       "  help give `e` every field of `d`, with the same type and shape"},
      {R"(data e { x : f64 = csv("d.csv", columns: 0) }
data d { x : f32 = csv("d.csv", columns: 0)
 test from e
 valid from e }
)" + training,
       "E0309 `test from e`: `x` is f64 in `e`, but f32 in `d`\n  label `x`: a field of `d`\n  label `x`: that of `e`\n"
       "  help give `e` every field of `d`, with the same type and shape"},
      {R"(data e { y : class(3) = csv("d.csv", columns: 1)
 x : f32 = csv("d.csv", columns: 0) }
data d { x : f32 = csv("d.csv", columns: 0)
 y : class(4) = csv("d.csv", columns: 1)
 test from e }
)" + training,
       "E0309 `test from e`: `y` is class(3) in `e`, but class(4) in `d`\n  label `y`: a field of `d`\n  label `y`: that of `e`\n"
       "  help give `e` every field of `d`, with the same type and shape"},
      {R"(data e { z : i32 = csv("d.csv", columns: 1)
 x[2] : f32 = csv("d.csv", columns: 0..2) }
data d { x[2] : f32 = csv("e.csv", columns: 1..3)
 test from e }
train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 })",
       ""},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
