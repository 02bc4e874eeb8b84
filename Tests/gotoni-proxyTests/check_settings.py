"""Where settings come from, and what is said when they are wrong."""

from __future__ import annotations

import pathlib
import re
import tempfile

from programs import Engine, Proxy, run, started, until
from wire import Recorder


def _file(text: str) -> str:
    path = pathlib.Path(tempfile.mkstemp(suffix=".yaml")[1])
    path.write_text(text)
    return str(path)


def _setting(key: str, *options: str, **environment: str) -> str:
    status, text = run("--print-config", *options, environment=environment)
    assert status == 0, text
    found = re.search(rf"^{key}: (.*)$", text, re.M)
    return found[1] if found else ""


def help_and_version() -> None:
    status, text = run("--help")
    assert status == 0
    flags = "listen server policy knob max-concurrent max-queue retries drain-timeout tls-insecure config print-config"
    for flag in flags.split():
        assert f"--{flag}" in text, flag
    assert "GOTONI_ADMIN_TOKEN" in text
    status, text = run("--version")
    assert status == 0 and re.fullmatch(r"\d+\.\d+\.\d+\n", text), text


def every_setting_has_a_flag_that_help_explains() -> None:
    _, text = run("--help")
    full = ["--server", "a=http://127.0.0.1:1", "--admin-listen", "127.0.0.1:0", "--metrics-path", "/metrics"]
    full += ["--knob", "decay=0.5"] if "decay" in text else []
    _, shown = run("--print-config", *full)
    for key in re.findall(r"^([a-z-]+):", shown, re.M):
        assert re.search(rf"--{key}\b", text), f"{key} is printed and has no flag"


def a_flag_wins_over_the_environment_over_the_file_over_the_default() -> None:
    file = _file("max-queue: 11\nmax-concurrent: 3\nserver:\n  - a=http://127.0.0.1:1\n")
    assert _setting("max-queue") == "10000"
    assert _setting("max-queue", "--config", file) == "11"
    assert _setting("max-queue", "--config", file, GOTONI_MAX_QUEUE="12") == "12"
    assert _setting("max-queue", "--config", file, "--max-queue", "13", GOTONI_MAX_QUEUE="12") == "13"
    assert _setting("max-concurrent", "--config", file, "--max-queue", "13") == "3"
    # A list is replaced as a whole.
    _, text = run("--print-config", "--config", file, "--server", "b=http://127.0.0.1:2")
    assert "b=http://127.0.0.1:2" in text and "127.0.0.1:1" not in text, text
    _, text = run("--print-config", environment={"GOTONI_SERVER": "c=http://127.0.0.1:3, http://127.0.0.1:4"})
    assert "c=http://127.0.0.1:3" in text and "127.0.0.1:4=http://127.0.0.1:4" in text, text


def what_is_printed_reads_back_as_the_same() -> None:
    options = (
        "--server a=http://127.0.0.1:1 --server b=https://example.org/engine --server [::1]:30000 --policy least-load "
        "--ms-per-token 0.5 --running-cost-factor 0 --max-queue 7 --queue-timeout 250ms --first-byte-timeout 0 "
        "--idle-timeout 2m --tls-insecure b --tls-insecure * --reuse-port yes --log-format json --seed 9 --retries 0 "
        "--admin-listen 127.0.0.1:0 --metrics-path /metrics --pid-file some.pid --max-body 4096 --threads 3 "
        "--upstream-spare 2 --upstream-congestion reno"
    ).split()
    status, first = run("--print-config", *options)
    assert status == 0, first
    status, second = run("--print-config", "--config", _file(first))
    assert status == 0 and first == second, (first, second)
    for line in ("policy: least-load", "reuse-port: true", "queue-timeout: 250.0ms", "retries: 0"):
        assert line in first, (line, first)


def secrets_are_not_printed() -> None:
    secrets = {name: f"secret-{name}" for name in ("GOTONI_ADMIN_TOKEN", "GOTONI_API_KEYS", "GOTONI_UPSTREAM_API_KEY")}
    status, text = run("--print-config", environment=secrets)
    assert status == 0 and "secret-" not in text, text


def what_is_wrong_is_said_and_nothing_starts() -> None:
    cases: list[tuple[list[str], str]] = [
        (["--policy", "gorg"], "there is no policy"),
        (["--knob", "speed=1"], "is not NAME=VALUE of a knob"),
        (["--knob", "ms_per_token=fast"], "must be a number"),
        (["--ms-per-token", "-1"], "must be a number|Missing value"),
        (["--max-queue", "many"], "not a whole number"),
        (["--max-queue", "-5"], "not a whole number|Missing value"),
        (["--max-concurrent", "0"], "from 1 to"),
        (["--queue-timeout", "soon"], "is not a time"),
        (["--queue-timeout", "nan"], "is not a time"),
        (["--reuse-port", "maybe"], "neither true nor false"),
        (["--listen", "nowhere"], "is neither HOST:PORT nor unix:"),
        (["--listen", "127.0.0.1:70000"], "is neither HOST:PORT nor unix:"),
        (["--server", "ftp://x"], "is not http"),
        (["--server", "a=http://127.0.0.1:1", "--server", "a=http://127.0.0.1:2"], "named twice"),
        (["--server", "http://user@127.0.0.1:1"], "is not http"),
        (["--metrics-path", "metrics"], "is not a path"),
        (["--log-level", "loud"], "is none of"),
        (["--upstream-spare", "65"], "from 0 to 64"),
        (["--upstream-congestion", "nonesuch"], "--upstream-congestion: this kernel has no congestion control nonesuch, only"),
        (["--upstream-congestion", "a-name-much-too-long"], "1 to 15 visible"),
        (["--tls-cert", "x.pem"], "belong together"),
        (["--tls-cert", "none.pem", "--tls-key", "none.key"], "cannot use the TLS files"),
        (["--config", "none.yaml"], "cannot read"),
        (["--config", _file("max-queu: 1\n")], "there is no setting max-queu"),
        (["--config", _file("max-queue: [1, 2]\n")], "wants one value"),
        (["--config", _file("- just\n- a list\n")], "must be a list of key: value|YAML"),
        (["--config", _file("a: [\n")], "is not YAML"),
        (["--no-such-flag"], "Unknown option"),
        (["--admin-listen", "192.0.2.1:0"], "not on loopback"),
    ]
    for options, pattern in cases:
        status, text = run("--listen", "127.0.0.1:0", *options) if options[0] != "--listen" else run(*options)
        assert status != 0, f"{options} is taken"
        assert re.search(pattern, text), f"{options}: {text}"
    status, text = run("--listen", "127.0.0.1:0", environment={"GOTONI_POLICY": "gorg"})
    assert status != 0 and "GOTONI_POLICY" in text, text


def a_port_in_use_is_an_error() -> None:
    with Recorder() as other:
        status, text = run("--listen", f"127.0.0.1:{other.port}")
        assert status == 1 and "cannot listen" in text, (status, text)


def a_file_starts_a_proxy_that_serves() -> None:
    engine = Engine()
    with started(engine):
        file = _file(f"server:\n  - one={engine.url}\npolicy: round-robin\nknob:\n  - ms_per_token=0.2\n")
        proxy = Proxy("--config", file, ready=False)
        with started(proxy):
            proxy.until_up(1)
            assert proxy.chat("hello").status == 200
            status = proxy.status()
            assert status["routing_policy"] == "round-robin" and status["knobs"]["ms_per_token"] == 0.2, status


def logs_are_text_or_json() -> None:
    import json

    with Recorder() as server:
        for form in ("text", "json"):
            proxy = Proxy("--log-format", form, servers=[f"a=http://127.0.0.1:{server.port}"])
            with started(proxy):
                assert proxy.stop() == 0
                lines = proxy.words().splitlines()
                assert len(lines) >= 3, lines
                for line in lines:
                    if form == "json":
                        assert {"time", "level", "message"} <= set(json.loads(line)), line
                    else:
                        assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z]+ \S", line), line


def a_distant_server_brings_advice_about_idle_connections_once() -> None:
    if pathlib.Path("/proc/sys/net/ipv4/tcp_slow_start_after_idle").read_text().strip() != "1":
        print("    this kernel keeps windows: nothing to advise")
        return
    near, far = Engine(), Engine("--rtt-ms", "30")
    with started(near, far):
        servers = [f"near={near.url}", f"far={far.url}"]
        proxy = Proxy("--upstream-congestion", "reno", servers=servers)
        with started(proxy):
            until("advice", lambda: "tcp_slow_start_after_idle" in proxy.words())
            assert proxy.stop() == 0
            advice = [line for line in proxy.words().splitlines() if "tcp_slow_start_after_idle" in line]
            assert len(advice) == 1 and "--upstream-congestion bbr" in advice[0] and "server=far" in advice[0], advice
