"""equal_layers.py A B: of what `nnc bench --json` printed, B has more kernels and as many functions, and each kernel has its own name and time."""

import json
import sys

a, b = (json.loads(open(path, encoding="utf-8").read()) for path in sys.argv[1:])
assert len(b["kernels"]) > len(a["kernels"]) > a["functions"], (len(a["kernels"]), len(b["kernels"]), a["functions"])
assert a["functions"] == b["functions"], (a["functions"], b["functions"])
names = [kernel["name"] for kernel in b["kernels"]]
assert len(set(names)) == len(names), names
assert all(kernel["us"] > 0 for kernel in b["kernels"])
