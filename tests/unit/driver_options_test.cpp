// The command line's tables: every kind of variable, what a value must be, and what is said about a command line that is wrong.
#include "driver/options.h"

#include "tests/unit/catch.h"

using namespace nnc;

namespace {

/// Two commands with an option of every kind.
struct Commands {
  bool quiet = false;
  std::string file, stage = "graph", name;
  std::vector<std::string> set;
  int turns = 25;
  int64_t rows = 32;
  std::optional<int> threads;
  std::optional<int64_t> seed;
  std::vector<Command> list;

  Commands() {
    Command show("show", "print what there is\n\n  nnc show a.nn\n");
    show.positional("FILE", file, "the file").required();
    show.positional("NAME", name, "a name");
    show.flag("--quiet", quiet, "no messages");
    show.option("--stage", stage, "of the program").one_of({"graph", "asm"});
    show.option("--set", set, "PATH=VALUE");
    show.option("--turns,--times", turns, "how often");
    show.option("--rows", rows, "of a batch").in_range(1, int64_t{1} << 40);
    show.option("--threads", threads, "of the team").in_range(1, 1024);
    show.option("--seed", seed, "of the run");
    show.run = [] { return 7; };
    Command check("check", "look for mistakes");
    check.positional("FILE", file, "the file").required();
    check.option("--weights", name, "trained weights").required();
    check.run = [] { return 8; };
    list = {show, check};
  }

  CommandLine read(std::vector<const char*> words) {
    words.insert(words.begin(), "nnc");
    return read_command_line("about all of it", [] { return std::string("version 5"); }, list, int(words.size()), words.data());
  }
  /// The message about a command line that is wrong, and its help.
  std::string wrong(const std::vector<const char*>& words) {
    CommandLine line = read(words);
    CHECK(line.command == nullptr);
    CHECK(line.text.empty());
    return line.wrong ? line.wrong->message + "; " + line.wrong->help : "accepted";
  }
};

}  // namespace

TEST_CASE("an option's value goes to its variable") {
  Commands c;
  CommandLine line = c.read({"show", "--set", "a=1", "x.nn", "--set=b=2", "--quiet", "fc1", "--stage", "asm", "--times", "3",
                             "--rows", "1099511627776", "--threads", "4", "--seed", "-9"});
  REQUIRE(line.command != nullptr);
  CHECK(line.command->name == "show");
  CHECK(line.command->run() == 7);
  CHECK(line.text.empty());
  CHECK_FALSE(line.wrong);
  CHECK(c.file == "x.nn");
  CHECK(c.name == "fc1");
  CHECK(c.quiet);
  CHECK(c.stage == "asm");
  CHECK(c.set == std::vector<std::string>{"a=1", "b=2"});
  CHECK(c.turns == 3);
  CHECK(c.rows == int64_t{1} << 40);
  CHECK(c.threads == 4);
  CHECK(c.seed == -9);
}

TEST_CASE("an option that may be repeated takes what follows its value and has its form") {
  using List = std::vector<std::string>;
  auto read = [](Commands& c, const std::vector<const char*>& words) {
    CHECK(c.read(words).command != nullptr);
    return c.set;
  };
  Commands several, equals, ends, none, other;
  CHECK(read(several, {"show", "--set", "a=1", "b.c=2", "d=x=3", "x.nn"}) == List{"a=1", "b.c=2", "d=x=3"});
  CHECK(several.file == "x.nn");
  CHECK(read(equals, {"show", "x.nn", "fc1", "--set=a=1", "b=2", "--quiet"}) == List{"a=1", "b=2"});
  CHECK(equals.name == "fc1");
  CHECK(equals.quiet);
  // After `--` a file may be called anything, and without an option before it a word is a file.
  CHECK(read(ends, {"show", "--set", "a=1", "--", "b=2"}) == List{"a=1"});
  CHECK(ends.file == "b=2");
  CHECK(read(none, {"show", "a=1"}).empty());
  CHECK(read(other, {"show", "--stage", "asm", "a=1"}).empty());
  CHECK(other.file == "a=1");
  CHECK_THAT(none.read({"show", "--help"}).text, nnc::test::contains("several"));
}

TEST_CASE("`help` is a command that asks for the option of its name") {
  Commands c;
  CHECK(c.read({"help"}).text == c.read({"--help"}).text);
  CHECK(c.read({"help", "--json"}).text == c.read({"--help", "--json"}).text);
  CHECK(c.read({"help", "show"}).text == c.read({"show", "--help"}).text);
  CHECK_THAT(c.read({"help", "show"}).text, nnc::test::starts_with("print what there is"));
  CHECK(c.wrong({"help", "shwo"}) == "unknown command `shwo`; did you mean `nnc show`?");
}

TEST_CASE("a variable keeps its value where its option is not written") {
  Commands c;
  CommandLine line = c.read({"check", "x.nn", "--weights", "w"});
  REQUIRE(line.command != nullptr);
  CHECK(line.command->run() == 8);
  CHECK_FALSE(c.quiet);
  CHECK(c.stage == "graph");
  CHECK(c.set.empty());
  CHECK(c.turns == 25);
  CHECK(c.rows == 32);
  CHECK_FALSE(c.threads);
  CHECK_FALSE(c.seed);
}

TEST_CASE("help and version are texts to print") {
  Commands c;
  for (const std::vector<const char*>& words : {std::vector<const char*>{}, {"--help"}, {"-h"}}) {
    CommandLine line = c.read(words);
    CHECK(line.command == nullptr);
    CHECK_FALSE(line.wrong);
    CHECK_THAT(line.text, nnc::test::starts_with("about all of it"));
    CHECK_THAT(line.text, nnc::test::contains("look for mistakes"));
  }
  std::string text = c.read({"show", "--help"}).text;
  CHECK_THAT(text, nnc::test::starts_with("print what there is\n\n  nnc show a.nn\n"));
  CHECK_THAT(text, nnc::test::contains("FILE"));
  CHECK(text.find("--quiet") < text.find("--stage"));
  CHECK_THAT(text, nnc::test::contains("--turns,"));
  CHECK_THAT(text, nnc::test::contains("--times"));
  CHECK(text.back() == '\n');
  CHECK(c.read({"--version"}).text == "version 5\n");
}

TEST_CASE("what is wrong with a command line is said in our words") {
  Commands c;
  CHECK(c.wrong({"shwo", "x.nn"}) == "unknown command `shwo`; did you mean `nnc show`?");
  CHECK(c.wrong({"make", "x.nn"}) == "unknown command `make`; `nnc --help` lists the commands");
  CHECK(c.wrong({"--verison"}) == "unknown option `--verison`; did you mean `--version`?");
  CHECK(c.wrong({"show", "x.nn", "--thread", "3"}) == "`nnc show` has no option `--thread`; did you mean `--threads`?");
  CHECK(c.wrong({"show", "x.nn", "--lr=3"}) == "`nnc show` has no option `--lr`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--threads", "0"}) ==
        "`--threads` takes 1 to 1024, found `0`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--threads", "two"}) ==
        "`--threads` takes 1 to 1024, found `two`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--seed", "two"}) ==
        "`--seed` takes a whole number, found `two`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--stage", "as"}) ==
        "`--stage` takes one of graph, asm, found `as`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--threads", "16", "--threads", "2"}) ==
        "`--threads` takes one value, found 2; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--times", "16", "--turns", "2", "--turns=3"}) ==
        "`--turns` takes one value, found 3; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--stage"}) == "`--stage` needs a value; `nnc show --help` lists its options");
  // An option is no value of the one before it, whatever it is; other words that begin with `-` are.
  CHECK(c.wrong({"show", "x.nn", "--stage", "--quiet"}) == "`--stage` needs a value; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "--set", "--stage", "asm", "x.nn"}) == "`--set` needs a value; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--times", "--quite"}) == "`--times` needs a value; `nnc show --help` lists its options");
  CHECK(c.read({"show", "--set", "-", "x.nn", "--set=--quiet", "--seed", "-3"}).command != nullptr);
  CHECK(c.set == std::vector<std::string>{"-", "--quiet"});
  CHECK(c.wrong({"show", "x.nn", "--seed", "99999999999999999999"}) ==
        "`--seed` takes a whole number of at most 18 digits, found `99999999999999999999`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "--seed", "-99999999999999999999"}) ==
        "`--seed` takes a whole number of at most 18 digits, found `-99999999999999999999`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show", "x.nn", "fc1", "fc2"}) == "unexpected argument `fc2`; `nnc show --help` lists its options");
  CHECK(c.wrong({"show"}) == "FILE is required; `nnc show --help` lists its options");
  CHECK(c.wrong({"check", "x.nn"}) == "--weights is required; `nnc check --help` lists its options");
}
