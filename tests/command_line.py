"""What the checks of nnc's command line share: a folder of its own for every test, runs, programs made from the examples, weights files."""

import hashlib
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
NNC = os.environ.get("NNC", str(ROOT / "build/nnc"))
# Whoever starts the tests in the background or with nohup hands ignored signals down to all children.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
# Limits and delays are those of a normal build; a sanitized one is slower by about this.
SLOWNESS = {"address": 4, "thread": 12}.get(os.environ.get("NNC_SANITIZER"), 1)
# What a user must never see: the marks of a crash, or of an exception that nobody turned into a message.
CRASH = re.compile(r"terminate called|Segmentation|core dumped|internal error|Assertion|Traceback|what\(\):|Sanitizer|LLVM ERROR|std::|0x[0-9a-f]{8}")


def read_safetensors(path):
    """(metadata, name -> (shape, values)) of an F32 file."""
    raw = Path(path).read_bytes()
    size, = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = array("f")
            values.frombytes(raw[8 + size + begin:8 + size + end])
            tensors[name] = (entry["shape"], values)
    return header.get("__metadata__", {}), tensors


def relative_gap(found, expected):
    """The distance of two tensors as a share of the second's norm."""
    norm = math.sqrt(math.fsum(v * v for v in expected))
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(found, expected))) / norm


class Process(subprocess.Popen):
    """A child whose limits of time are given for a normal build."""

    def wait(self, timeout=None):
        return super().wait(timeout and timeout * SLOWNESS)

    def communicate(self, input=None, timeout=None):
        return super().communicate(input, timeout and timeout * SLOWNESS)


class CommandLine(unittest.TestCase):
    """Every test runs in an empty folder of its own."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="nnc-check-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}

    def write(self, name, content):
        path = self.folder / name
        if isinstance(content, str):
            path.write_text(content)
        else:
            path.write_bytes(content)
        return path

    def start(self, *arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return Process([NNC, *map(str, arguments)], cwd=self.folder, env=self.environment, text=True, errors="replace", **options)

    def wait_for_steps(self, run, log, lines):
        """Until so many steps stand in the log of a run under way."""
        deadline = time.monotonic() + 60 * SLOWNESS
        while run.poll() is None and time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 60 * lines):
            time.sleep(0.003)
        self.assertIsNone(run.poll(), "the run ended before anything could be done to it")

    def run_nnc(self, *arguments, timeout=120, **options):
        """The finished run; it fails the test if the process crashed or hung."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        run = subprocess.run([NNC, *map(str, arguments)], cwd=self.folder, env=self.environment, text=True, errors="replace",
                             timeout=timeout * SLOWNESS, **options)
        self.assertGreaterEqual(run.returncode, 0, f"nnc {arguments} died of signal {-run.returncode}\n{run.stderr}")
        self.assertNotRegex((run.stdout or "") + (run.stderr or ""), CRASH, str(arguments))
        return run

    def nnc(self, *arguments, **options):
        """The finished run of a command that must succeed."""
        run = self.run_nnc(*arguments, **options)
        self.assertEqual(run.returncode, 0, f"nnc {' '.join(map(str, arguments))}\n{run.stderr}")
        return run

    def program(self, example, *changes, name=None):
        """A copy of an example with (old, new) changes, each of which must apply; its data is the example's."""
        text = (EXAMPLES / f"{example}.nn").read_text()
        for old, new in changes:
            self.assertIn(old, text)
            text = text.replace(old, new)
        return self.write(name or f"{example}.nn", text.replace('"data/', f'"{EXAMPLES}/data/'))

    def digest(self, name):
        """The files that a training run leaves, as one word."""
        both = [(self.folder / f"{name}{ending}").read_bytes() for ending in (".safetensors", ".checkpoint.safetensors")]
        return [hashlib.sha256(content).hexdigest() for content in both]

    def train(self, file, out, *options):
        """Trains and gives the digests of weights and checkpoint."""
        self.nnc("train", file, "--quiet", "--out", f"{out}.safetensors", *options)
        return self.digest(out)

    def log(self, name):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]
