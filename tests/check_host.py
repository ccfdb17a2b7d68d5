"""nnc inside another program (tests/host/host.cpp): engine/ alone compiles, trains, stops, predicts and says what is wrong, without printing, writing or touching the
program's signal handlers."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from command_line import NNC

HOST = Path(NNC).resolve().parent / "nnc_host"


class Host(unittest.TestCase):
    maxDiff = None

    def test_a_program_that_holds_the_engine(self):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([HOST], cwd=folder, capture_output=True, text=True, timeout=600)
            self.assertEqual(run.stderr, "")
            self.assertEqual(run.returncode, 0)
            self.assertEqual(os.listdir(folder), [])
        self.assertEqual(run.stdout, EXPECTED)


EXPECTED = """\
stopped by the callback
class 1
class 0
error[E0201]: unknown name `Dence`; a layer with a similar name exists: `Dense`
 --> wrong.nn:1:37
  |
1 | model Net(x[B, 2]) -> [B, 2] { x |> Dence(2) }
  |                                     ^^^^^
"""

if __name__ == "__main__":
    unittest.main()
