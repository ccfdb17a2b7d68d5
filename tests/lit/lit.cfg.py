"""lit's configuration: what a RUN line may use is in tests/README.md."""

import os
import re
import sys
from pathlib import Path

import lit.formats

here = Path(__file__).resolve().parent
root = here.parent.parent
build = Path(lit_config.params.get("build", root / "build")).resolve()
llvm = Path(lit_config.params.get("llvm", "/usr/lib/llvm-19"))

config.name = "nnc"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".nn", ".nnir", ".test"]
config.excludes = ["Inputs", "inputs"]
config.test_source_root = str(here)
config.test_exec_root = str(build / "lit")

# `nnc` is the one just built; `FileCheck`, `not`, `count` and `split-file` are LLVM's.
config.environment["PATH"] = os.pathsep.join([str(build), str(llvm / "bin"), os.environ["PATH"]])
config.environment["NO_COLOR"] = "1"
config.environment["TERM"] = "dumb"
config.environment["COLUMNS"] = "80"
for name in ("NNC_UPDATE_GOLDENS", "HOME", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"):
    if name in os.environ:
        config.environment[name] = os.environ[name]

if "NNC_SANITIZER" in os.environ:  # `UNSUPPORTED: sanitizer-thread`, with the reason beside it
    config.available_features.add("sanitizer-" + os.environ["NNC_SANITIZER"])

golden = f"{sys.executable} {here / 'golden.py'}"
# The forms with an argument are spelled out, one substitution for each argument in use: since LLVM 20 or so lit takes replacements literally, groups and all.
arguments = {"golden": set(), "exit": set()}
for test in here.rglob("*"):
    if test.suffix in config.suffixes and test.is_file():
        for name, argument in re.findall(rb"%(golden|exit)\(([\w.-]+)\)", test.read_bytes()):
            arguments[name.decode()].add(argument.decode())
config.substitutions += [(rf"%golden\({re.escape(a)}\)", f"{golden} %s .{a}.golden") for a in sorted(arguments["golden"])]
config.substitutions += [(rf"%exit\({a}\)", f"{sys.executable} {here / 'exit_status.py'} {a}") for a in sorted(arguments["exit"])]
config.substitutions += [
    (r"%golden\b", f"{golden} %s .golden"),
    (r"%examples\b", str(root / "examples")),
    (r"%inputs\b", str(here / "inputs")),
    (r"%root\b", str(root)),
]
