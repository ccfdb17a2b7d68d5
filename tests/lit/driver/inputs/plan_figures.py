# Lines of `nnc plan --json` for tiny.nn, its 26 parameters in 4 pieces: figures that fit together.
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[1])]
assert [line["workers"] for line in lines] == [int(n) for n in sys.argv[2].split(",")], lines
one = lines[0]
assert one["exchange_us"] == one["publish_us"] == one["sent_bytes"] == one["received_bytes"] == 0
assert one["faster"] == one["efficiency"] == 1
for line in lines:
    n = line["workers"]
    assert line["rows"] == line["pieces"] == 4 // n
    assert line["own_us"] > 0
    assert abs(line["step_us"] - line["own_us"] - line["exchange_us"] - line["publish_us"]) < 1e-6 * line["step_us"]
    assert abs(line["faster"] - one["step_us"] / line["step_us"]) < 1e-6 * line["faster"]
    assert 0 < line["efficiency"]
    assert line["memory"]["parameters"] >= 26 * 4 and line["memory"]["optimizer"] == 0
    if n == 1:
        continue
    network = line["network"]
    assert network["latency_us"] > 0 and network["bytes_per_second"] > 0
    # Ranges of whole cache lines: of so few parameters one worker may own nearly all, which all others send to it.
    assert 26 * 4 // n <= line["sent_bytes"] <= 2000
    assert line["exchange_us"] >= (n - 1) * network["latency_us"]
    assert line["publish_us"] >= (n - 1) * network["latency_us"]
    assert line["ring_us"] >= 2 * (n - 1) * network["latency_us"]
    assert line["tree_us"] > 0
