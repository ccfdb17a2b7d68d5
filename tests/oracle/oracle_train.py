"""The roads of the oracle that go through `nnc train` and `nnc eval`: reports of a split, and training from any number of updates on."""

import json
import subprocess
from array import array

from exact import read



def run(nnc, folder, arguments):
    """(output, what went wrong)."""
    done = subprocess.run([nnc, *arguments], cwd=folder, capture_output=True, text=True, errors="replace", timeout=600)
    trouble = None if done.returncode == 0 else f"nnc {' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()[:600]}"
    return done.stdout, trouble


# --- reports ---

REPORTS = """
data rows {{
{fields}
  one : f32 = csv("one.csv")
  test last 50%
}}
model Still(one[B]) -> [B] {{
  param w = 1
  one * w
}}
train {{
  data rows, batch: 1
  let {names} = f({arguments})
  minimize mean(Still(one))
  using sgd(lr: 0)
  epochs 1
{reports}
}}
"""


def run_report(nnc, case, write_npy, folder, failures):
    """The results of a table as reports of a split of one row: each is a sum over that row, which is the row itself (but for the sign of zeros).
    Arguments that are NaN are left out, since data must not hold them; their results are None."""
    kept = [i for i, row in enumerate(case.rows) if "nan" not in row[:len(case.inputs)]]
    for i, column in enumerate(case.inputs):
        write_npy(folder / f"{column.name}.rows.npy", column.dtype, (2, len(kept)), [read(case.rows[k][i]) for k in kept])
    (folder / "one.csv").write_text("1\n1\n")
    fields = "\n".join(f"  {c.name}[{len(kept)}] : {c.dtype} = npy(\"{c.name}.rows.npy\")" for c in case.inputs)
    results = [f"r{i}" for i in range(len(case.results))]
    reports = "\n".join(f"  report {r}: sum({r}, over: B)" for r in results)
    text = "\n".join(case.code).replace("[N]", "[B, N]")
    names = ", ".join(c.name for c in case.inputs)
    (folder / "report.nn").write_text(text + REPORTS.format(fields=fields, names=", ".join(results), arguments=names, reports=reports))
    _, trouble = run(nnc, folder, ["train", "report.nn", "--quiet", "--out", "report.safetensors"])
    if not trouble:
        output, trouble = run(nnc, folder, ["eval", "report.nn", "--weights", "report.safetensors", "--json"])
    if trouble:
        failures.trouble.append(f"[report] {trouble}")
        return []
    found = json.loads(output.splitlines()[-1])
    arrays = {}
    for r, column in zip(results, case.results):
        numbers = [None] * len(case.rows)
        for k, v in zip(kept, found[r]):
            numbers[k] = int(v) if column.dtype in ("i32", "i64") else float(v)
        arrays[column.name] = (column.dtype, (len(numbers),), numbers)
    return [("report", arrays)]


# --- training ---


def read_weights(path):
    """name -> numbers, and the header."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = array({"F32": "f", "F64": "d", "I64": "q", "I32": "i"}[entry["dtype"]])
            values.frombytes(raw[8 + size + begin:8 + size + end])
            tensors[name] = values
    return tensors, header, raw[8 + size:]


def move_to(path, step, rows):
    """Rewrites a checkpoint as that of a run that has done so many updates, one for each of the rows of an epoch."""
    _, header, data = read_weights(path)
    header["__metadata__"].update({"nnc.step": str(step), "nnc.epoch": str(step // rows)})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def run_training(nnc, case, folder, failures):
    """(route, name -> numbers): the weights after `steps` updates that follow `start` ones. Of those only the first was done; the rest is a number in
    the checkpoint. `report:NAME` is a report of the test split afterwards."""
    for name, rows in case.files.items():
        (folder / name).write_text(("\n".join(rows) + "\n") * case.repeat)
    (folder / "case.nn").write_text("\n".join(case.code) + "\n")
    rows = len(next(iter(case.files.values()))) * case.repeat
    reports = [name for name, *_ in case.results if name.startswith("report:")]
    routes = {"portable": ["--cpu", "portable", "--threads", "1"], "threads": ["--threads", "2"]}
    if case.name.startswith("schedules"):
        routes.pop("portable")  # scalars are computed by one code on every level
    for route, options in routes.items():
        command = ["train", "case.nn", "--quiet", "--no-shuffle", "--out", "w.safetensors", *options, *(w for o in case.options for w in o.split())]
        if case.start:
            _, trouble = run(nnc, folder, command + ["--steps", "1"])
            if not trouble:
                move_to(folder / "w.checkpoint.safetensors", case.start, rows)
                _, trouble = run(nnc, folder, command + ["--steps", str(case.start + case.steps), "--resume", "w.checkpoint.safetensors"])
        else:
            _, trouble = run(nnc, folder, command + ["--steps", str(case.steps)])
        if trouble:
            failures.trouble.append(f"[{route}] {trouble}")
            return
        tensors, _, _ = read_weights(folder / "w.safetensors")
        if reports:
            output, trouble = run(nnc, folder, ["eval", "case.nn", "--weights", "w.safetensors", "--json", *options])
            if trouble:
                failures.trouble.append(f"[{route}] {trouble}")
                return
            found = json.loads(output.splitlines()[-1])
            tensors |= {name: [float(found[name.removeprefix("report:")])] for name in reports}
        yield route, tensors


