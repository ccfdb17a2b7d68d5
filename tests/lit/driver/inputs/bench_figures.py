"""bench_figures.py FILE: the object that `nnc bench --json` prints has its keys, and they agree with one another."""

import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    found = json.loads(file.read())
for key in ("step_us", "gflops", "peak_gflops", "share_of_peak", "bytes", "arena_bytes", "compile_ms", "passes_ms", "functions", "kernels"):
    assert key in found, key
assert found["step_us"] > 0 and found["peak_gflops"] > 0 and found["compile_ms"] > 0
assert abs(found["gflops"] - found["flops"] / found["step_us"] * 1e-3) < 1e-6 * found["gflops"]
assert abs(found["share_of_peak"] - found["gflops"] / found["peak_gflops"]) < 1e-9
assert 0 < found["passes_ms"] < found["compile_ms"] and 0 < found["functions"] <= len(found["kernels"])
assert len(found["kernels"]) >= 3 and all(k["us"] > 0 for k in found["kernels"])
assert sum(k["bytes"] for k in found["kernels"]) == found["bytes"]
# With its own clock in every kernel a step is slower, but of the same kind.
assert sum(k["us"] for k in found["kernels"]) < 20 * found["step_us"]
