"""What the documentation shows works: the README's program and the examples."""
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import PACKAGE_ROOT, REPOSITORY

import gotoni

EXAMPLES = REPOSITORY / "examples"
REPLAY = EXAMPLES / "python" / "replay.py"
SMALL_TRACE = EXAMPLES / "traces" / "small.jsonl"


def run(*command: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", REPLAY)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["replay"] = module
    spec.loader.exec_module(module)
    return module


def test_the_readme_program_runs() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (PACKAGE_ROOT / "README.md").read_text(), flags=re.DOTALL)
    result = run("-W", "error", "-c", program)
    assert result.stdout.splitlines() == [
        "send it to server 1, expected cost 422 ms",
        "server 1 has 4096 of 4096 tokens",
    ], result.stderr


def test_route_example_explains_three_prompts() -> None:
    result = run("-W", "error", EXAMPLES / "python" / "route.py")
    assert result.returncode == 0, result.stderr
    chosen = [line.split()[0] for line in result.stdout.splitlines() if line.endswith("<- chosen")]
    assert chosen == ["Frankfurt", "Virginia", "Frankfurt"]
    assert "Found 20,000 of 20,400 tokens cached." in result.stdout


# ===== The replay


def test_the_demo_compares_all_policies_and_repeats_itself(tmp_path: Path) -> None:
    written = [tmp_path / "first.json", tmp_path / "second.json"]
    for path in written:
        result = run("-W", "error", REPLAY, "--json", path)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        assert "in a toy where decoding slows nobody down" in result.stdout
        for policy in gotoni.policies():
            assert re.search(rf"^{policy} ", result.stdout, flags=re.MULTILINE)
    first, second = (json.loads(path.read_text()) for path in written)
    assert [row["policy"] for row in first] == gotoni.policies()
    for row, again in zip(first, second):
        del row["decisions_per_second"], again["decisions_per_second"]
        assert row == again
    shares = {row["policy"]: row for row in first}
    assert shares["prefix-tree"]["matched_share"] > shares["random"]["matched_share"] + 0.05
    assert shares["round-robin"]["busiest_by_requests"] == pytest.approx(1, abs=0.01)


def test_options_choose_policies_and_lines() -> None:
    result = run(REPLAY, "--policies", "random, gorgo", "--limit", "5", "--time-scale", "0.5", "--seed", "3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("5 requests, ")
    rows = [line.split()[0] for line in result.stdout.splitlines() if line.endswith(tuple("0123456789"))]
    assert rows == ["random", "gorgo"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "The trace cannot be read: "),
        ("", "holds no requests"),
        ("{", "line 1 is no Mooncake request"),
        ("[]", "line 1 is no Mooncake request"),
        ('{"timestamp": 0}', "line 1 is no Mooncake request (KeyError: 'hash_ids')"),
        (b"\xff\xfe", "The trace cannot be read: "),
        ('{"timestamp": 0, "input_length": -1, "output_length": 1, "hash_ids": [1]}', "line 1 holds a number that"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1, "hash_ids": [1]}', "line 1 holds a number that"),
        ('{"timestamp": 0, "input_length": Infinity, "output_length": 1, "hash_ids": [1]}', "(OverflowError"),
        ('{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [1]}', "too few for 513 tokens"),
    ],
)
def test_a_bad_trace_is_one_clear_sentence(tmp_path: Path, content: Any, says: str) -> None:
    trace = tmp_path / "trace.jsonl"
    if content is not None:
        trace.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run(REPLAY, "--trace", trace)
    assert result.returncode == 1
    assert result.stderr.startswith("replay.py: ") and result.stderr.count("\n") == 1
    assert says in result.stderr


@pytest.mark.parametrize("option", [("--limit", "0"), ("--time-scale", "nan"), ("--policies", "best")])
def test_a_bad_option_is_refused(option: "tuple[str, str]") -> None:
    result = run(REPLAY, *option)
    assert result.returncode == 2
    assert f"argument {option[0]}" in result.stderr


def test_tokens_are_the_same_with_and_without_numpy(replay: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [(0, 0), (1, 7), (123_456, 2**64 - 1)]
    fast = [replay.block.__wrapped__(*block) for block in blocks]
    monkeypatch.setattr(replay, "numpy", None)
    assert [replay.block.__wrapped__(*block) for block in blocks] == fast
    assert max(memoryview(fast[0]).cast("I")) < replay.VOCABULARY


def test_splitmix64_gives_its_published_numbers(replay: ModuleType) -> None:
    assert replay.splitmix64(1234567, lambda x: x & replay.MASK) == 6457827717110365317


def test_rows_that_share_a_timestamp_are_spread_over_its_batch(replay: ModuleType) -> None:
    import random

    arrivals = replay.spread([0, 0, 0, 3000, 5000, 5000, 5500, 5500], random.Random(1))
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) == 8
    assert arrivals[3] == 3000
    assert 0 <= arrivals[0] and arrivals[2] < 3000
    assert 5000 <= arrivals[4] and arrivals[5] < 5500 <= arrivals[6] and arrivals[7] < 8500


def test_a_session_continues_the_prompts_before_it(replay: ModuleType) -> None:
    system = [0, 1]
    rows = [
        (0.0, 3 * 512 + 5, 1, [*system, 2, 3]),
        (1.0, 3 * 512 + 5, 1, [*system, 4, 5]),
        (2.0, 2 * 512, 1, system),
        (3.0, 4 * 512 + 5, 1, [*system, 2, 6, 7]),
        (4.0, 3 * 512 + 5, 1, [*system, 8, 9]),
        (5.0, 4 * 512 + 9, 1, [*system, 2, 6, 10]),
    ]
    assert replay.infer_sessions(rows) == [1, 2, 3, 1, 5, 1]


def test_the_small_trace_is_what_its_script_writes() -> None:
    result = run(EXAMPLES / "traces" / "make_small.py")
    assert result.stdout == SMALL_TRACE.read_text()
    assert 350 < len(result.stdout.splitlines()) < 450
    assert len(result.stdout) < 200_000
