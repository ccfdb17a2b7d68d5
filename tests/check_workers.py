"""Workers of MPI: exchanges with the bits of one worker under OpenMPI and MPICH, and what becomes of a run whose processes die, stop, leave or do not belong together.

tests/workers/worker_program.cpp is what mpirun starts. MPICH is run with two workers: with more than there are cores its own calls take turns of a scheduler's time slice each.
"""

import os
import re
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from command_line import SLOWNESS, CommandLine, NNC

WORKER = Path(NNC).with_name("nnc_worker")
LAUNCHERS = {"openmpi": ["mpirun.openmpi", "--oversubscribe", "--allow-run-as-root"], "mpich": ["mpirun.mpich"]}
MOST = {"openmpi": (2, 3, 4), "mpich": (2,)}
FAREWELL = 30 * SLOWNESS  # seconds in which a run must end that cannot go on


def missing(library):
    """Why a library's tests cannot run here; nothing if they can."""
    if not shutil.which(LAUNCHERS[library][0]):
        return f"{LAUNCHERS[library][0]} is not installed"
    if not WORKER.with_name(f"nnc-mpi-{library}.so").exists():
        return f"nnc-mpi-{library}.so is not built"
    # Both libraries leak, and synchronise in ways that sanitizers do not see.
    return "not with sanitizers" if os.environ.get("NNC_SANITIZER") else None


# What an MPI library says of the machine by itself, where it finds no /sys: "[hwloc/linux] failed to ...", "[1796098816.79] [vm:8949 :0]  tcp_iface.c:816  UCX  ERROR ...".
REMARK_OF_A_LIBRARY = re.compile(r"^(\[hwloc/|\[[0-9.]+\] +\[[^\]]*\].* UCX ).*\n", re.MULTILINE)


def of_the_worker(text):
    return REMARK_OF_A_LIBRARY.sub("", text)


class Workers(CommandLine):
    def run_worker(self, *arguments, launcher=(), environment=None, program=WORKER):
        process = subprocess.Popen([*launcher, program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.folder,
                                   env={**self.environment, **(environment or {})}, start_new_session=True)
        try:
            out, err = process.communicate(timeout=120 * SLOWNESS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.fail(f"{arguments} with {launcher} hangs")
        return process.returncode, of_the_worker(out), of_the_worker(err)

    def each_library(self):
        """(library, launcher without the number) for those that are here."""
        found = False
        for library, launcher in LAUNCHERS.items():
            why = missing(library)
            with self.subTest(library=library):
                if why:
                    self.skipTest(why)
                found = True
                yield library, launcher
        if not found:
            self.skipTest("no MPI library")


class LocalWorkers(Workers):
    def test_random_exchanges(self):
        for workers in (1, 2, 5):
            status, out, err = self.run_worker("random", "--workers", workers, "--turns", 5, "--seed", workers)
            self.assertEqual((status, err), (0, ""))
            self.assertEqual(out, f"all right: {workers} workers, {'local' if workers > 1 else 'one'}\n")

    def test_one_dies_stops_or_leaves(self):
        for event, expected in (("--die", "error[E0540]: worker 1 (on "), ("--leave", "error[E0540]: worker 1 (on "), ("--stop", "error[E0541]: worker 1 (on ")):
            with self.subTest(event=event):
                start = time.monotonic()
                status, out, err = self.run_worker("forever", "--workers", 3, event, 1, 40, "--stall", 2)
                self.assertLess(time.monotonic() - start, FAREWELL)
                self.assertEqual((status, out), (1, ""))
                self.assertIn(expected, err)
                if event == "--leave":
                    self.assertIn("has left this run: cannot write `x`: no space left on device", err)

    def test_one_is_busy_for_longer_than_others_have_patience(self):
        self.assertEqual(self.run_worker("busy", "--workers", 3, "--stall", 1 * SLOWNESS), (0, "waited\n", ""))

    def test_copies_of_who_dies_stops_or_leaves(self):
        """Steps 40 and 41: the others have begun the copy of 40, or have all of it."""
        for event in ("--die", "--leave", "--stop"):
            for rank in (1, 2):
                for step in (40, 41):
                    with self.subTest(event=event, rank=rank, step=step):
                        status, out, err = self.run_worker("keep", "--workers", 3, event, rank, step, "--stall", 2)
                        self.assertEqual((status, out), (1, f"copies of step {40 if step == 41 else 38}\n"))
        self.assertEqual(self.run_worker("keep", "--workers", 3, "--leave", 0, 41)[:2], (1, "copies of step 40\n"))
        self.assertEqual(self.run_worker("keep", "--workers", 3, "--die", 1, 2)[:2], (1, "nothing\n"))

    def test_the_first_dies(self):
        status, _, _ = self.run_worker("forever", "--workers", 3, "--die", 0, 40)
        self.assertEqual(status, -signal.SIGKILL)

    def test_processes_that_are_not_one_run(self):
        for environment, options, code in (({"SLURM_NTASKS": "4"}, (), "E0543"), ({"OMPI_COMM_WORLD_SIZE": "4"}, ("--workers", 2), "E0544")):
            status, out, err = self.run_worker("random", *options, environment=environment)
            self.assertEqual((status, out), (1, ""))
            self.assertIn(f"error[{code}]", err)

    def test_a_library_that_is_not_there(self):
        program = self.folder / "nnc_worker"
        shutil.copy(WORKER, program)
        status, out, err = self.run_worker("random", "--transport", "mpich", program=program)
        self.assertEqual((status, out), (1, ""))
        self.assertIn("error[E0545]: nnc-mpi-mpich.so cannot be loaded", err)
        self.assertIn(f"there is no {self.folder}/nnc-mpi-mpich.so", err)
        # Something else of that name, beside the binary and in ../lib/nnc.
        (self.folder / "bin").mkdir()
        (self.folder / "lib/nnc").mkdir(parents=True)
        program = shutil.copy(WORKER, self.folder / "bin/nnc_worker")
        self.write("lib/nnc/nnc-mpi-mpich.so", "not a library")
        status, out, err = self.run_worker("random", "--transport", "mpich", program=program)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(err, r"E0545(.|\n)*lib/nnc/nnc-mpi-mpich.so: (file too short|invalid ELF header)")


class MpiWorkers(Workers):
    def test_random_exchanges(self):
        for library, launcher in self.each_library():
            for workers in MOST[library]:
                status, out, err = self.run_worker("random", "--turns", 5, "--seed", workers, launcher=[*launcher, "-np", str(workers)])
                self.assertEqual((status, err), (0, ""))
                self.assertEqual(out, f"all right: {workers} workers, {library}\n")

    def test_one_leaves_with_an_error(self):
        for library, launcher in self.each_library():
            workers = MOST[library][-1]
            start = time.monotonic()
            status, out, err = self.run_worker("forever", "--leave", 1, 40, launcher=[*launcher, "-np", str(workers)])
            self.assertLess(time.monotonic() - start, FAREWELL)
            self.assertNotEqual(status, 0)
            self.assertRegex(err, r"error\[E0540\]: worker 1 \(on .*\) has left this run: cannot write `x`: no space left on device")

    def test_one_stops(self):
        for library, launcher in self.each_library():
            workers = MOST[library][-1]
            start = time.monotonic()
            status, out, err = self.run_worker("forever", "--stop", 1, 40, "--stall", 2, launcher=[*launcher, "-np", str(workers)])
            self.assertLess(time.monotonic() - start, FAREWELL)
            self.assertNotEqual(status, 0)
            self.assertRegex(err, r"error\[E0541\]: worker 1 \(on .*\) does not answer: worker \d \(on .*\) has waited for it for ")

    def test_copies_of_who_stops_or_leaves(self):
        """Who leaves sends its part, who is stopped has a neighbour; with two of them, worker 0 is that."""
        for library, launcher in self.each_library():
            for workers in {2, MOST[library][-1]}:
                for event in ("--leave", "--stop"):
                    for rank in range(event == "--stop", workers):
                        with self.subTest(workers=workers, event=event, rank=rank):
                            status, out, err = self.run_worker("keep", event, rank, 41, "--stall", 2, launcher=[*launcher, "-np", str(workers)])
                            self.assertNotEqual(status, 0)
                            self.assertEqual(out, "copies of step 40\n", err)

    def test_one_is_busy_for_longer_than_others_have_patience(self):
        for library, launcher in self.each_library():
            workers = MOST[library][-1]
            self.assertEqual(self.run_worker("busy", "--stall", 1, launcher=[*launcher, "-np", str(workers)]), (0, "waited\n", ""))

    def test_one_is_killed(self):
        for library, launcher in self.each_library():
            for rank in range(MOST[library][-1]):
                start = time.monotonic()
                status, out, err = self.run_worker("forever", "--die", rank, 40, launcher=[*launcher, "-np", str(MOST[library][-1])])
                self.assertLess(time.monotonic() - start, FAREWELL)
                self.assertNotEqual(status, 0)

    def test_workers_that_are_not_alike(self):
        for library, launcher in self.each_library():
            status, out, err = self.run_worker("compare", "--other", 1, launcher=[*launcher, "-np", "2"])
            self.assertNotEqual(status, 0)
            self.assertRegex(err, r"error\[E0542\]: worker 1 \(on .*\) has another program than worker 0 \(on .*\): b instead of a")
            status, out, err = self.run_worker("compare", launcher=[*launcher, "-np", "2"])
            self.assertEqual((status, out, err), (0, "alike\n", ""))

    def test_the_launcher_of_the_other_library(self):
        for library, launcher in self.each_library():
            other = {"openmpi": "mpich", "mpich": "openmpi"}[library]
            if missing(other):
                self.skipTest(missing(other))
            status, out, err = self.run_worker("random", "--transport", other, launcher=[*launcher, "-np", "2"])
            self.assertNotEqual(status, 0)
            self.assertEqual(out, "")
            self.assertIn("error[E0543]: mpirun says that this run has 2 processes, and " + other + " that it has 1", err)

    def test_slurm_says_four_and_the_library_one(self):
        for library, _ in self.each_library():
            status, out, err = self.run_worker("random", "--transport", library, environment={"SLURM_NTASKS": "4"})
            self.assertEqual((status, out), (1, ""))
            self.assertIn(f"error[E0543]: Slurm says that this run has 4 processes, and {library} that it has 1", err)

    def test_workers_beside_a_launcher(self):
        for library, launcher in self.each_library():
            status, out, err = self.run_worker("random", "--workers", 2, launcher=[*launcher, "-np", "2"])
            self.assertNotEqual(status, 0)
            self.assertIn("error[E0544]: `--workers 2` in a run that mpirun has started with 2 processes", err)


if __name__ == "__main__":
    unittest.main()
