"""interrupt.py FILE.nn: trains without end, interrupts once the first epochs are through, then resumes from what was saved."""

import signal
import subprocess
import sys
from pathlib import Path

file = sys.argv[1]
signal.signal(signal.SIGINT, signal.SIG_DFL)  # lit's workers ignore it and hand that down, and what nnc's parent ignores stays ignored
run = subprocess.Popen(["nnc", "train", file, "--epochs", "1000000", "--json", "--out", "i.safetensors"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
for _ in range(3):
    run.stdout.readline()
run.send_signal(signal.SIGINT)
_, errors = run.communicate(timeout=120)
print("status", run.returncode)
print(errors)
assert Path("i.safetensors").exists()
steps = int(errors.split("after step ")[1].split(";")[0])
again = subprocess.run(["nnc", "train", file, "--steps", str(steps + 5), "--quiet", "--resume", "i.checkpoint.safetensors", "--out", "j.safetensors"], check=False)
print("resumed with status", again.returncode)
