"""golden.py TEST SUFFIX: holds standard input against the file TEST+SUFFIX, to the byte; a difference is printed and is a failure.

With NNC_UPDATE_GOLDENS=1 in the environment (scripts/update-checks) that file is rewritten instead. The project's own path is taken
out of the text first, so that a golden does not depend on where the project was cloned.
"""

import difflib
import os
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent.parent
test, suffix = sys.argv[1:]
golden = Path(test + suffix)
found = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").replace(f"{root}/", "")
if not found:
    sys.exit("golden.py: the command printed nothing")

if os.environ.get("NNC_UPDATE_GOLDENS"):
    golden.write_text(found, encoding="utf-8", errors="surrogateescape")
    sys.exit(0)

wanted = golden.read_text(encoding="utf-8", errors="surrogateescape") if golden.exists() else ""
if found != wanted:
    test = os.path.relpath(test, root)
    diff = difflib.unified_diff(wanted.splitlines(True), found.splitlines(True), f"{test}{suffix} (expected)", f"{test}{suffix} (found)")
    sys.stdout.writelines(diff)
    print(f"\nIf the new output is right: scripts/update-checks {test}")
    sys.exit(1)
