// The messages of train blocks: clauses, their options, what is set from outside, reports.
#include "tests/unit/frontend_said.h"

namespace nnc::frontend_tests {
namespace {

const std::string trained = R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4))"
                            "\n"
                            R"( label : class(3) = csv("d.csv", columns: 4) })"
                            "\n"
                            "model M(x[B, 4]) -> [B, 3] { x |> Dense(3) }\n"
                            "train { data d\n"
                            " minimize cross_entropy(M(x), label)\n"
                            " using sgd(lr: 1)\n"
                            " epochs 1\n"
                            "  }\n"
                            "";
const std::string with_clause = R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4))"
                                "\n"
                                R"( label : class(3) = csv("d.csv", columns: 4) })"
                                "\n"
                                "model M(x[B, 4]) -> [B, 3] { x |> Dense(3) }\n"
                                "train { data d\n"
                                " minimize cross_entropy(M(x), label)\n"
                                " using sgd(lr: 1)\n"
                                " epochs 1\n"
                                "";
const std::string classifier = R"(data d { x[4] : f32 = csv("d.csv", columns: 0..4))"
                               "\n"
                               R"( label : class(3) = csv("d.csv", columns: 4) })"
                               "\n"
                               "model M(x[B, 4]) -> [B, 3] { x |> Dense(3) }\n"
                               "";

TEST_CASE("the data of a run", "[frontend][train_block]") {
  check_sayings({
      {with_clause + R"( data d }
)",
       "E0303 `data d`: `train` has a second `data`\n"
       "  label `data d`: the first"},
      {classifier + R"(train { data d, d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0303 `data d, d`: `data` needs the name of one data block\n"
       "  help write `data NAME, batch: 32`"},
      {classifier + R"(train { data d(3)
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0303 `data d(3)`: `data` needs the name of one data block\n"
       "  help write `data NAME, batch: 32`"},
      {classifier + R"(train { data batch: 3
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0303 `data batch: 3`: `data` needs the name of one data block\n"
       "  help write `data NAME, batch: 32`"},
      {classifier + R"(train { data zebra
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0201 `zebra`: unknown data block `zebra`"},
      {classifier + R"(train { data e
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0201 `e`: unknown data block `e`"},
      {classifier + R"(train { data M
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0206 `M`: `M` is a model, not a data block"},
  });
}

TEST_CASE("clauses that stand twice, and their numbers", "[frontend][train_block]") {
  check_sayings({
      {with_clause + R"( steps 3 }
)",
       "E0303 `steps 3`: `train` has a second length\n"
       "  label `epochs 1`: the first"},
      {with_clause + R"( epochs 3 }
)",
       "E0303 `epochs 3`: `train` has a second length\n"
       "  label `epochs 1`: the first"},
      {with_clause + R"( seed 1
 seed 2 }
)",
       "E0303 `seed 2`: `train` has a second `seed`\n"
       "  label `seed 1`: the first"},
      {with_clause + R"( save every: 2
 save every: 3 }
)",
       "E0303 `save every: 3`: `train` has a second `save`\n"
       "  label `save every: 2`: the first"},
      {classifier + R"(train { data d, btch: 3
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0204 `btch`: `data` has no option `btch`; a similar one is `batch`"},
      {classifier + R"(train { data d, shuffle: 3
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0204 `shuffle`: `data` has no option `shuffle`\n"
       "  help it has `batch`"},
      {with_clause + R"( seed 3, every: 4 }
)",
       "E0204 `every`: `seed` has no option `every`"},
      {with_clause + R"( seed 3, 4 }
)",
       "E0303 `seed 3, 4`: `seed` needs one number"},
      {with_clause + R"( seed 1.5 }
)",
       "E0304 `1.5`: `seed` must be a whole number, at least 0"},
      {with_clause + R"( seed 1e15 }
)",
       "E0304 `1e15`: `seed` must be at most 1000000000000"},
  });
}

TEST_CASE("options of clauses", "[frontend][train_block]") {
  check_sayings({
      {classifier + R"(train { data d, batch: none
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0304 `none`: `batch` must be a whole number, at least 1"},
      {classifier + R"(train { data d, batch: 0
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0304 `0`: `batch` must be a whole number, at least 1"},
      {classifier + R"(train { data d, batch: [1]
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1 }
)",
       "E0304 `[1]`: `batch` must be a whole number, at least 1"},
      {classifier + R"(train { data d, batch: 7, batch: 60, batch: 8
 minimize mean(x)
 using sgd(lr: 1), clip_norm: 1, clip_norm: 2
 epochs 1 }
)",
       "E0204 `batch: 60`: `batch` of `data` is given twice\n"
       "  label `batch: 7`: the first\n"
       "E0204 `batch: 8`: `batch` of `data` is given twice\n"
       "  label `batch: 7`: the first\n"
       "E0204 `clip_norm: 2`: `clip_norm` of `using` is given twice\n"
       "  label `clip_norm: 1`: the first"},
      {with_clause + R"( report accuracy(M(x), label), every: 2, every: 3 }
)",
       "E0204 `every: 3`: `every` of `report` is given twice\n"
       "  label `every: 2`: the first"},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1), clip_norm: 0
 epochs 1 }
)",
       "E0304 `0`: `clip_norm` must be a number above 0 or `none`"},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1), clip_norm: none
 epochs 1 }
)",
       ""},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1), clip_norm: foo
 epochs 1 }
)",
       "E0201 `foo`: unknown name `foo`"},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd, lr: 1
 epochs 1 }
)",
       "E0202 `sgd`: `sgd` needs `lr`\n"
       "E0204 `lr`: `using` has no option `lr`\n"
       "  help it has `clip_norm`; hyperparameters stand in the optimizer's brackets: `sgd(lr: 0.01)`"},
      {with_clause + R"( save "a.safetensors", every: 3 }
)",
       R"(E0303 `"a.safetensors"`: `save` takes no file)"
       "\n"
       "  help write `save every: 250`; `--out FILE.safetensors` names the file"},
      {with_clause + R"( save }
)",
       "E0014 `save`: `save` is followed by nothing"},
      {with_clause + R"( save every: 0 }
)",
       "E0304 `0`: `every` must be a whole number, at least 1"},
      {with_clause + R"( report accuracy(M(x), label), every: 2 }
)",
       ""},
      {with_clause + R"( report accuracy(M(x), label), every: 0 }
)",
       "E0304 `0`: `every` must be a whole number, at least 1"},
      {with_clause + R"( save "a" }
)",
       R"(E0303 `"a"`: `save` takes no file)"
       "\n"
       "  help write `save every: 250`; `--out FILE.safetensors` names the file"},
  });
}

TEST_CASE("what is set from outside", "[frontend][train_block]") {
  check_sayings({
      {trained, "", {{"using.clip_norm", "3"}}},
      {trained, "", {{"using.clip_norm", "none"}}},
      {trained,
       "E0304 --set using.clip_norm=0: `using.clip_norm` must be a number above 0 or `none`, found `0`",
       {{"using.clip_norm", "0"}}},
      {trained,
       "E0611 --set using.clip_norm=true: `using.clip_norm` needs a number or `none`, found `true`",
       {{"using.clip_norm", "true"}}},
      {trained,
       "E0304 --set using.clip_norm=all: `using.clip_norm` must be a number above 0 or `none`, found `all`",
       {{"using.clip_norm", "all"}}},
      {trained,
       "E0611 --set using.clip_norm=x: `using.clip_norm` needs a number or `none`, found `x`",
       {{"using.clip_norm", "x"}}},
      {trained, "", {{"report.every", "3"}}},
      {trained, "", {{"batch", "3"}}},
      {trained, "E0304 --set batch=none: `data.batch` must be a whole number, at least 1, found `none`", {{"batch", "none"}}},
      {trained, "", {{"using.lr", "1e300"}}},
      {trained, "E0611 --set using.nesterov=1: `using.nesterov` is true or false, found `1`", {{"using.nesterov", "1"}}},
      {trained, "", {{"using.nesterov", "true"}}},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1) }
)",
       "",
       {{"epochs", "3"}}},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1) }
)",
       "",
       {{"steps", "3"}}},
      {classifier + R"(train { data d
 minimize mean(x)
 using sgd(lr: 1), clip_norm: 2
 epochs 1 }
)",
       "",
       {{"using.clip_norm", "none"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "E0111 --set N=0: `N` must be a whole number, at least 1 and below 1099511627776, found `0`",
       {{"N", "0"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "E0111 --set N=2.5: `N` must be a whole number, at least 1 and below 1099511627776, found `2.5`",
       {{"N", "2.5"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "E0111 --set N=1e13: `N` must be a whole number, at least 1 and below 1099511627776, found `1e13`",
       {{"N", "1e13"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "E0610 --set M=4: nothing that can be set is called `M`\n"
       "  help there are N",
       {{"M", "4"}}},
      {R"(test "t" { expect 3 == 3 })",
       "E0610 --set M=4: nothing that can be set is called `M`\n"
       "  help this file has no `dim` and no `train` block",
       {{"M", "4"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "",
       {{"N", "3"}}},
      {R"(dim N = 3
test "t" { expect N == 3 })",
       "E0111 --set N=1099511627776: `N` must be a whole number, at least 1 and below 1099511627776, found `1099511627776`",
       {{"N", "1099511627776"}}},
      {trained, "E0304 --set seed=1e300: `seed` must be at most 1000000000000, found `1e300`", {{"seed", "1e300"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1), adam(lr: 1) for "*.bias"
 epochs 1 })",
       "",
       {{"using2.lr", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1), foo(lr: 1) for "*.bias"
 epochs 1 })",
       "E0610 --set using2.lr=3: nothing that can be set is called `using2.lr`; a similar one is `using.lr`\n"
       "  help there are data.batch, data.pieces, data.accumulate, epochs, steps, seed, save.every, report.every, using.clip_norm, using.lr, using.momentum, "
       "using.nesterov, using.decay, using.dampening, using.maximise",
       {{"using2.lr", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 1), 3 for "*.bias"
 epochs 1 })",
       "E0610 --set using2.lr=3: nothing that can be set is called `using2.lr`; a similar one is `using.lr`\n"
       "  help there are data.batch, data.pieces, data.accumulate, epochs, steps, seed, save.every, report.every, using.clip_norm, using.lr, using.momentum, "
       "using.nesterov, using.decay, using.dampening, using.maximise",
       {{"using2.lr", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(0.1, momentum: step_decay(2, every: 3))
 epochs 1 })",
       "E0212 `sgd(0.1, momentum: step_decay(2, every: 3))`: `if` chooses at compile time, and this is known only at run time\n"
       "  note found inside `sgd` of the standard library\n"
       "  help use `where(condition, a, b)` to choose per element",
       {{"using.momentum.rate", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(0.1)
 epochs 1 })",
       "",
       {{"using.lr", "0.3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(step_decay(0.1, 2))
 epochs 1 })",
       "",
       {{"using.lr.every", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: zzz(0.1, 2))
 epochs 1 })",
       "E0610 --set using.lr.every=3: nothing that can be set is called `using.lr.every`\n"
       "  help there are data.batch, data.pieces, data.accumulate, epochs, steps, seed, save.every, report.every, using.clip_norm, using.lr, using.momentum, "
       "using.nesterov, using.decay, using.dampening, using.maximise",
       {{"using.lr.every", "3"}}},
      {data + R"(
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using sgd(lr: 3)
 epochs 1 })",
       "E0610 --set using=3: nothing that can be set is called `using`\n"
       "  help `using` is a clause; its options are using.clip_norm, using.lr, using.momentum, using.nesterov, using.decay, "
       "using.dampening, using.maximise",
       {{"using", "3"}}},
      {data + R"(optimizer o(lr, twice = false) { update value = value - lr * grad }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(1)
 epochs 1 })",
       "",
       {{"using.twice", "true"}}},
      {data + R"(optimizer o(lr, twice = pi) { update value = value - lr * grad }
model M(x[B, 4]) { x |> fc: Dense(5) }
train { data d
 minimize cross_entropy(M(x), c)
 using o(1)
 epochs 1 })",
       "",
       {{"using.twice", "2"}}},
  });
}

TEST_CASE("reports", "[frontend][train_block]") {
  check_sayings({
      {classifier + R"(train { dim K = 2
 data d
 minimize mean(x) * K
 using sgd(lr: 1 / K)
 epochs K }
)",
       ""},
      {with_clause + R"( let loss2 = mean(x)
 report loss2 }
)",
       ""},
      {with_clause + R"( report x |> mean }
)",
       ""},
      {with_clause + R"( report x |> mean() }
)",
       ""},
      {with_clause + R"( report M(x) |> accuracy(label) }
)",
       ""},
      {with_clause + R"( let loss = mean(x)
 report loss }
)",
       "E0305 `loss`: a report cannot be called `loss`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  note what is minimized is reported as `loss` in any case\n"
       "  help give it a name of its own: `report name: ...`"},
      {with_clause + R"( report loss: mean(x) }
)",
       "E0305 `loss: mean(x)`: a report cannot be called `loss`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  note what is minimized is reported as `loss` in any case\n"
       "  help choose another name"},
      {with_clause +
           R"( report test: mean(x), step: mean(x), seconds: mean(x), epoch: mean(x), rate: mean(x), test_rate: mean(x), valid: mean(x) }
)",
       "E0305 `test: mean(x)`: a report cannot be called `test`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name\n"
       "E0305 `step: mean(x)`: a report cannot be called `step`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name\n"
       "E0305 `seconds: mean(x)`: a report cannot be called `seconds`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name\n"
       "E0305 `epoch: mean(x)`: a report cannot be called `epoch`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name\n"
       "E0305 `rate: mean(x)`: a report cannot be called `rate`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name\n"
       "E0305 `valid: mean(x)`: a report cannot be called `valid`\n"
       "  note `--log` and `--json` have keys of their own called epoch, loss, rate, seconds, step, test, valid\n"
       "  help choose another name"},
      {with_clause + R"( report mean(x) * 2 }
)",
       "E0305 `mean(x) * 2`: this report has no name\n"
       "  help write `report name: ...`"},
      {with_clause + R"( report x |> (mean) }
)",
       "E0017 `(`: after `|>` stands a layer or function to call, not `(`\n"
       "  help write its name, with arguments if it takes any: `relu`, `Dense(64)`"},
      {with_clause + R"( report "a" }
)",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {classifier + R"(train { data d
 minimize "a"
 using sgd(lr: 1)
 epochs 1 }
)",
       R"(E0206 `"a"`: a tensor is needed here, found a text)"},
      {R"(data d { x[4] : i32 = csv("d.csv", columns: 0..4)
 y : f64 = csv("d.csv", columns: 4) }
 train { data d
 minimize mean(x)
 using sgd(lr: 1)
 epochs 1
 report a: mean(y)
 report b: sum(x) })",
       ""},
      {means + R"(report (Dense(1))(x) * 0 }
)",
       "E0305 `(Dense(1))(x) * 0`: this report has no name\n"
       "  help write `report name: ...`"},
  });
}

}  // namespace
}  // namespace nnc::frontend_tests
