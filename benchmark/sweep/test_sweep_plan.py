"""What is run and in which order, and that nothing runs if something is wrong: python3 -m pytest benchmark/sweep"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

import plan
from control import BenchError, base_url
from data_rows import prompts, synthetic, write_shuffled

SWEEP = pathlib.Path(__file__).parent / "sweep.py"
LEVELS = plan.Levels((2.0, 5.0), (4,), 5, 64, 30.0, None)
POLICIES = ["gorgo", "least-load", "prefix-tree", "random"]


def test_every_policy_meets_every_load_under_every_seed_once() -> None:
    chosen = plan.loads(plan.profiles("all"), LEVELS)
    assert [load.name for load in chosen] == [
        "poisson-2", "poisson-5", "sweep", "constant-2", "constant-5", "concurrent-4", "throughput",
    ]  # fmt: skip
    found = plan.runs(chosen, POLICIES, [1, 2])
    assert len({(run.seed, run.load, run.policy) for run in found}) == len(found) == 7 * 4 * 2
    assert len({run.folder for run in found}) == len(found)


def test_the_order_of_policies_is_the_seeds_and_not_always_the_same() -> None:
    orders = [tuple(plan.order(POLICIES, seed)) for seed in range(40)]
    assert orders == [tuple(plan.order(POLICIES, seed)) for seed in range(40)]
    assert {order[0] for order in orders} == {order[-1] for order in orders} == set(POLICIES)


def test_profiles_are_what_guidellm_takes() -> None:
    asked = [plan.profile_argument(load, LEVELS) for load in plan.loads(plan.profiles("all"), LEVELS)]
    schemas = pytest.importorskip("guidellm.schemas.benchmark.profiles", reason="GuideLLM is not installed")
    taken = [schemas.ProfileArgs.model_validate(each).model_dump() for each in asked]
    assert all(each.items() <= whole.items() for each, whole in zip(asked, taken, strict=True))


@pytest.mark.parametrize("text", ["poison", "poisson,poisson", "", "poisson,"])
def test_a_profile_that_is_unknown_or_there_twice_is_refused(text: str) -> None:
    with pytest.raises(BenchError):
        plan.profiles(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--profile", "poison"], "no profile poison"),
        (["--proxy", "http://127.0.0.1:1", "--synthetic", "prompt_tokens=8"], "prompt_tokens and output_tokens"),
        (["--proxy", "http://127.0.0.1:1", "--synthetic", "words=8"], "no words"),
        (["--proxy", "127.0.0.1:1", "--synthetic", "prompt_tokens=8,output_tokens=2"], "not an address"),
        (["--proxy", "http://127.0.0.1:1"], "--data or --synthetic"),
        (["--geo", "http://127.0.0.1:1", "--node", "http://127.0.0.1:1", "--data", "x"], "--engine"),
        (["--local", "2", "--proxy", "http://127.0.0.1:1"], "one of"),
        (["--local", "9"], "from 1 to 8"),
        (["--seeds", "1,1"], "different numbers"),
        (["--lookup", "x", "--synthetic", "prompt_tokens=8,output_tokens=2"], "--lookup goes with"),
        (["--lookup", "x", "--data", "x", "--form", "proxy"], "--lookup goes with"),
        (["--lookup", "nowhere", "--data", "x", "--dry-run"], "--lookup nowhere"),
        (["--data", "nowhere.jsonl", "--dry-run"], "nowhere.jsonl cannot be read"),
    ],
)
def test_wrong_options_end_with_status_2_and_a_sentence(options: list[str], words: str, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(SWEEP), *options, "--out", str(tmp_path / "out")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_a_folder_that_is_not_empty_and_rows_that_are_no_prompts(tmp_path: pathlib.Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}\n")
    for out, words in ((tmp_path, "is not empty"), (tmp_path / "out", "line 1 is not")):
        command = [sys.executable, str(SWEEP), "--data", str(rows), "--out", str(out), "--dry-run"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("script", [SWEEP, SWEEP.parents[1] / "report.py"])
def test_help_needs_no_package_and_names_what_is_needed(script: pathlib.Path) -> None:
    """-S: as if nothing were installed."""
    done = subprocess.run([sys.executable, "-S", str(script), "--help"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and done.stderr == "" and "\nNeeds: " in done.stdout


def test_the_shell_script_helps_where_guidellm_and_setpriv_are_missing(tmp_path: pathlib.Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    bare = tmp_path / "python-without-packages"
    bare.write_text(f'#!{tmp_path / "bash"}\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    words = [str(tmp_path / "bash"), str(SWEEP.parents[1] / "run_guidellm.sh"), "--python", str(bare), "--local", "2"]
    done, helped = (
        subprocess.run([*words, *more], capture_output=True, text=True, timeout=30, env={"PATH": str(tmp_path)})
        for more in ([], ["--help"])
    )
    assert done.returncode == 2 and "setpriv is missing" in done.stderr
    assert helped.returncode == 0 and "setpriv" in helped.stdout and "GuideLLM 0.8.1" in helped.stdout


def test_a_line_ends_where_json_lines_do_and_empty_ones_are_no_rows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rows.jsonl"
    texts = ["one\u2028two", "three\u2029four", "five\u0085six"]
    rows = [json.dumps({"prompt": text}, ensure_ascii=False) for text in texts]
    path.write_text("\n\n".join(rows) + "\n\n", encoding="utf-8")
    assert prompts(path) == texts


def test_rows_are_shuffled_by_their_seed_and_repeated(tmp_path: pathlib.Path) -> None:
    texts = [f"prompt {number}, ünïcode\u2028 and a break\n" for number in range(30)]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_shuffled(texts, 3, seed, tmp_path / name)
    first, again, other = (prompts(tmp_path / name) for name in "abc")
    assert first == again != other
    assert sorted(first) == sorted(other) == sorted(texts * 3) and first != texts * 3


@pytest.mark.parametrize("line", ["not JSON", "[]", '{"text": "x"}', '{"prompt": 1}', '{"prompt": ""}'])
def test_a_row_without_a_prompt_is_an_error_that_names_its_line(line: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "x"}\n' + line + "\n")
    with pytest.raises(BenchError, match="line 2"):
        prompts(path)


def test_synthetic_data_is_told_in_numbers() -> None:
    assert synthetic("prompt_tokens=256,output_tokens=16") == {
        "kind": "synthetic_text", "prompt_tokens": 256, "output_tokens": 16,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["http://a:1/v1", "http://a:1/", "http://a:1"])
def test_addresses_lose_what_clients_add(text: str) -> None:
    assert base_url(text) == "http://a:1"


@pytest.mark.parametrize("text", ["a:1", "ftp://a", "http://", "http://a:x", "http://a?b=c"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BenchError):
        base_url(text)
