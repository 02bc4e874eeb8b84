"""`gotoni` on this machine: its programs started and ended, its settings, what doctor finds, completion, versions."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator

from home import GOTONI, Home, folder, home, process
from machines import machines
from programs import Engine, Gateway, started, until

import nodes
import programs

# Where no port may be taken but a free one: what comes behind -- is the program's own, and wins.
LOOPBACK = ("--listen", "127.0.0.1:0")


@contextlib.contextmanager
def _user() -> Iterator[Home]:
    """The programs are in PATH, if they are not beside gotoni."""
    with home() as user:
        places = {str(pathlib.Path(each).parent) for each in (nodes.LB, programs.PROXY)}
        user.environment["PATH"] = ":".join([*places, os.environ["PATH"]])
        yield user


class _Started(Gateway):
    """A gateway that `gotoni` has become."""

    def __init__(self, user: Home, *arguments: object) -> None:
        super().__init__([GOTONI, *map(str, arguments)], user.environment)


def _pid_file(user: Home, name: str) -> pathlib.Path:
    return user.path / "run" / "gotoni" / f"{name}.pid"


def _configured(user: Home, *arguments: object) -> dict[str, str]:
    """What the program would do, as it prints it itself."""
    said = user.gotoni(*arguments, "--", "--print-config").ends(0)
    found = dict(re.findall(r"^([\w-]+): ?(.*)$", said.out, re.M))
    lists = {key: re.findall(r"  - (.*)", part) for key, part in re.findall(r"^([\w-]+):\n((?:  - .*\n?)+)", said.out, re.M)}
    return {**found, **{key: ",".join(value) for key, value in lists.items()}}


def a_node_is_started_looked_at_and_ended() -> None:
    with _user() as user, started(engine := Engine("--name", "a")):
        node = _Started(
            user, "lb", "start", "--local-port", engine.port, "--node-id", "first", "--strategy", "least-loaded",
            "--", *LOOPBACK, "--probe-interval", "50ms",
        )  # fmt: skip
        with started(node):
            assert int(_pid_file(user, "lb").read_text()) == node.pid, "it is the process that was started"
            until("its engine is up", lambda: node.ask("GET", "/lb/health").status == 200)
            user.gotoni("lb", "status", "--port", node.port).ends(0, "first", "healthy")
            user.gotoni("lb", "policy", "--port", node.port).ends(0, "least-load")
            again = user.gotoni("lb", "start", "--local-port", engine.port, "--", "--print-config")
            again.ends(1, f"runs already, process {node.pid}")
            user.gotoni("lb", "stop").ends(0, f"gotoni-lb: stopped, process {node.pid}")
            assert node.wait() == 0 and not _pid_file(user, "lb").exists()
        user.gotoni("lb", "stop").ends(0, "gotoni-lb: not running")
        assert user.gotoni("lb", "stop", "--json").ends(0).json()["status"] == "not_running"


def a_proxy_is_started_and_ended_at_a_pid_file_of_its_own() -> None:
    with _user() as user, started(engine := Engine("--name", "a")):
        file = folder() / "deep" / "one.pid"
        words = ("proxy", "start", "--servers", f"127.0.0.1:{engine.port}", "--policy", "random")
        with started(proxy := _Started(user, *words, "--pid-file", file, "--", *LOOPBACK)):
            proxy.until_up(1)
            assert int(file.read_text()) == proxy.pid and not _pid_file(user, "proxy").exists()
            user.gotoni("proxy", "status", "--port", proxy.port).ends(0, "random", f"127.0.0.1:{engine.port}")
            # The other program's commands, and those without the file, find nothing of theirs.
            user.gotoni("proxy", "stop").ends(0, "not running")
            user.gotoni("lb", "stop", "--pid-file", file).ends(0, "was left alone")
            file.write_text(f"{proxy.pid}\n")
            assert proxy.is_running()
            user.environment["GOTONI_PID_FILE"] = str(file)
            done = user.gotoni("proxy", "stop", "--json").ends(0).json()
            assert (done["status"], done["pid"]) == ("stopped", proxy.pid)
            assert proxy.wait() == 0 and not file.exists()
        user.gotoni("proxy", "stop", "--url", "http://127.0.0.1").ends(2)
        user.gotoni("proxy", "--port", "9000", "start").ends(2, "is for a process of this machine")


def who_does_not_end_in_time_is_said() -> None:
    with _user() as user, started(engine := Engine("--name", "a")):
        with started(node := _Started(user, "lb", "start", "--local-port", engine.port, "--", *LOOPBACK)):
            node.signal(signal.SIGSTOP)
            user.gotoni("lb", "stop", "--timeout", "1s").ends(124, f"Process {node.pid} was asked to end and still runs")
            assert _pid_file(user, "lb").exists()
            node.signal(signal.SIGCONT)
            assert node.wait() == 0


def a_number_that_was_given_out_again_is_left_alone() -> None:
    with _user() as user, started(engine := Engine("--name", "a")), process("sleep", "60") as other:
        file = _pid_file(user, "lb")
        file.parent.mkdir()
        # Another program.
        file.write_text(f"{other.pid}\n")
        user.gotoni("lb", "stop").ends(0, "not running", f"process {other.pid}", "was left alone")
        assert other.poll() is None and not file.exists()
        # The same program, started long after the file was written.
        with started(node := _Started(user, "lb", "start", "--local-port", engine.port, "--", *LOOPBACK)):
            os.utime(file, (time.time() - 3600,) * 2)
            user.gotoni("lb", "stop").ends(0, "not running", f"process {node.pid}", "was left alone")
            assert node.is_running()
        # Nobody.
        with process("true") as gone:
            gone.wait()
        file.write_text(f"{gone.pid}\n")
        user.gotoni("lb", "stop").ends(0, "gotoni-lb: not running")
        file.write_text("one\n")
        user.gotoni("lb", "stop").ends(1, "has no process's number in it")


def flags_of_the_first_gotoni_are_flags_of_the_programs() -> None:
    with _user() as user:
        node = _configured(
            user, "lb", "start", "--local-port", "30000", "--listen-port", "8123", "--peers", "10.0.0.3,10.0.0.4:9000",
            "--peers", "[fe80::1]:7000", "--strategy", "least-loaded", "--max-concurrent", "7", "--running-threshold", "3",
            "--node-id", "n", "--ms-per-token", "0.5", "--running-cost-factor", "2", "--queue-timeout", "250ms",
            "--max-queue", "9", "--request-timeout", "30s",
        )  # fmt: skip
        wanted = {
            "engine": "http://127.0.0.1:30000", "listen": "0.0.0.0:8123", "strategy": "least-load", "node-id": "n",
            "max-concurrent": "7", "running-threshold": "3", "ms-per-token": "0.5", "running-cost-factor": "2.0",
            "queue-timeout": "250.0ms", "max-queue": "9", "first-byte-timeout": "30.0s",
        }  # fmt: skip
        got = {key: node.get(key, "").strip('"') for key in wanted}
        assert got == wanted, (got, wanted)
        for url in ("http://10.0.0.3:8000", "http://10.0.0.4:9000", "http://[fe80::1]:7000"):
            assert url in node["peer"], node["peer"]
        assert str(_pid_file(user, "lb")) in node["pid-file"]

        proxy = _configured(
            user, "proxy", "start", "--servers", "10.0.0.3,10.0.0.4:9000", "--sglang-port", "30000", "--policy", "random",
            "--max-running-per-server", "11", "--metrics-interval", "2s", "--metrics-endpoint", "/m",
            "--latency-interval", "3s", "--tls-insecure", "--queue-enabled", "false",
        )  # fmt: skip
        wanted = {
            "policy": "random", "max-concurrent": "11", "metrics-interval": "2.0s", "metrics-path": "/m",
            "probe-interval": "3.0s", "tls-insecure": "*", "max-queue": "0",
        }  # fmt: skip
        got = {key: proxy.get(key, "").strip('"') for key in wanted}
        assert got == wanted, (got, wanted)
        assert "http://10.0.0.3:30000" in proxy["server"] and "http://10.0.0.4:9000" in proxy["server"]
        user.environment["GOTONI_PROXY_TLS_INSECURE"] = "yes"
        assert "*" in _configured(user, "proxy", "start", "--pid-file", "")["tls-insecure"]

        file = folder() / "own.yaml"
        file.write_text("max-queue: 77\n")
        assert _configured(user, "proxy", "start", "--config", file)["max-queue"] == "77"


def what_cannot_be_meant_is_refused() -> None:
    with _user() as user:
        for words, why in (
            (("lb", "start", "--ie-queue-indicator", "true"), "There is no --ie-queue-indicator any more"),
            (("lb", "start", "--cluster-name", "x"), "There is no --cluster-name any more"),
            (("proxy", "start", "--auto-discover"), "There is no --auto-discover any more"),
            (("proxy", "start", "--capacity-gating", "false"), "There is no --capacity-gating any more"),
            (("lb", "start", "--max-queue", "0"), "--queue-enabled false"),
            (("lb", "start", "--max-queue", "5", "--queue-enabled", "true"), "Give --queue-enabled or --max-queue"),
            (("lb", "start", "--peers", "a:b"), "is no URL of a host"),
        ):
            user.gotoni(*words).ends(2, why)
        # What is wrong with a value the program itself says.
        user.gotoni("lb", "start", "--local-port", "1", "--max-concurrent", "many").ends(1, "not a whole number")
        alone = folder() / "gotoni"
        shutil.copy(GOTONI, alone)
        user.environment["PATH"] = "/usr/bin:/bin"
        user.gotoni("lb", "start", by=alone).ends(1, "no gotoni-lb beside gotoni or in PATH")
        # Beside it, it is found through a link as well.
        (alone.parent / "gotoni-lb").symlink_to(nodes.LB)
        link = folder() / "linked"
        link.symlink_to(alone)
        user.gotoni("lb", "start", "--local-port", "1", "--", "--print-config", by=link).ends(0, "http://127.0.0.1:1")


def settings_come_from_the_nearest_place() -> None:
    """Of region, in all combinations of places that set it: the highest one wins."""
    with home() as user:
        own, mine = user.path / "gotoni.yaml", user.path / ".config" / "gotoni" / "config.yaml"
        mine.parent.mkdir(parents=True, mode=0o700)
        for here in range(8):
            user.environment.pop("GOTONI_REGION", None)
            own.unlink(missing_ok=True)
            mine.unlink(missing_ok=True)
            wanted, origin = "auto", "default"
            if here & 1:
                mine.write_text("# mine\nregion: us-west-1\n")
                wanted, origin = "us-west-1", str(mine)
            if here & 2:
                own.write_text("region: us-east-1\ntype: H100:8\n")
                wanted, origin = "us-east-1", "gotoni.yaml"
            if here & 4:
                user.environment["GOTONI_REGION"] = "asia-1"
                wanted, origin = "asia-1", "$GOTONI_REGION"
            shown = user.gotoni("config", "show", "--json").ends(0).json()
            assert (shown["region"]["value"], shown["region"]["origin"]) == (wanted, origin), (here, shown["region"])
            assert shown["type"].get("value") == ("H100:8" if here & 2 else None)
            rows = [line.split() for line in user.gotoni("config", "show", "--origin").out.splitlines()]
            assert ["region", wanted, origin] in rows, rows
        # Nothing is not a value.
        user.environment["GOTONI_REGION"] = ""
        assert user.gotoni("config", "show", "--json").json()["region"]["value"] == "us-east-1"
        # Files are beside the file that names them.
        mine.write_text("identity: keys/one\nmachines: ~/machines.yaml\n")
        shown = user.gotoni("config", "show", "--json").ends(0).json()
        assert shown["identity"]["value"] == str(mine.parent / "keys" / "one")
        assert shown["machines"]["value"] == str(user.path / "machines.yaml")


def the_key_of_ssh_is_set() -> None:
    with machines() as given:
        if given is None:
            return
        user, pair = given
        ask = ("lb", "status", "--remote", pair.names[0], "--ssh-port", pair.port, "--port", "9")
        user.gotoni(*ask).ends(1, "cannot be reached by ssh")
        (user.path / "gotoni.yaml").write_text(f"identity: {pair.key}\n")
        user.gotoni(*ask).ends(1, "is gotoni-lb running there?")


def wrong_settings_are_refused_with_the_place() -> None:
    with home() as user:
        own = user.path / "gotoni.yaml"
        for text, why in (
            ("region: a\nregoin: b\n", 'gotoni.yaml, line 2: there is no setting "regoin"; there are provider, '),
            ("region: [a, b]\n", "gotoni.yaml, line 1: region wants one value"),
            ("region:\n", "line 1: region wants one value"),
            ("- region\n", "gotoni.yaml: wanted are lines like"),
            ("region: a\nregion: b\n", "gotoni.yaml is not YAML"),
            ("a: [", "gotoni.yaml is not YAML"),
        ):
            own.write_text(text)
            user.gotoni("config", "show").ends(2, why)
            user.gotoni("launch", "x", "--type", "y").ends(2, why)
        for text in ("", "# nothing\n", "---\n"):
            own.write_text(text)
            user.gotoni("config", "show").ends(0)


def a_settings_file_is_made_once_and_for_one_user() -> None:
    with home() as user:
        path = user.path / ".config" / "gotoni" / "config.yaml"
        assert user.gotoni("config", "path").ends(0).out.strip() == str(path)
        user.gotoni("config", "init").ends(0, str(path))
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
        text = path.read_text()
        # As it is, it sets nothing; without the marks of its comments it is understood.
        assert user.gotoni("config", "show", "--json").ends(0).json()["region"]["origin"] == "default"
        path.write_text(re.sub(r"^#([\w-]+:) *$", r"\1 x", re.sub(r"^#([\w-]+: .+)$", r"\1", text, flags=re.M), flags=re.M))
        shown = user.gotoni("config", "show", "--json").ends(0).json()
        assert all(row["origin"] == str(path) for row in shown.values()), shown
        before = path.read_text()
        user.gotoni("config", "init").ends(1, "is there already")
        assert path.read_text() == before


def doctor_says_what_is_missing() -> None:
    with home() as user:
        user.environment = {name: value for name, value in user.environment.items() if not name.startswith(("LAMBDA", "MODAL"))}
        said = user.gotoni("doctor").ends(0, "CHECK", "WHAT TO DO", "OpenSSH_", "made when needed", "credentials of lambda")
        assert not (user.path / ".config").exists(), "it changes nothing"
        rows = user.gotoni("doctor", "--json").ends(0).json()
        assert all(row["ok"] for row in rows) and len(rows) == len(said.out.splitlines()) - 1

        def bad() -> dict[str, str]:
            found = user.gotoni("doctor", "--json").ends(1).json()
            return {row["check"]: f"{row['state']} {row['advice']}" for row in found if not row["ok"]}

        mine = user.path / ".config" / "gotoni"
        mine.mkdir(parents=True, mode=0o755)
        assert bad().keys() == {"folder"}
        mine.chmod(0o700)
        (mine / "config.yaml").write_text("colour: red\n")
        assert "colour" in bad()["settings"]
        (mine / "config.yaml").unlink()
        # A program that is no OpenSSH, one that is too old, none at all.
        stubs = folder()
        user.environment["PATH"] = str(stubs)
        assert bad().keys() == {"ssh", "ssh-keygen"}
        for words, why in (("Dropbear v2022.83", "Dropbear"), ("OpenSSH_7.4p1, OpenSSL 1.0", "OpenSSH_7.4p1 Install")):
            (stubs / "ssh").write_text(f"#!/bin/sh\necho '{words}' >&2\n")
            (stubs / "ssh").chmod(0o755)
            assert why in bad()["ssh"], bad()
        (stubs / "ssh").write_text("#!/bin/sh\necho 'OpenSSH_10.0p2 Debian-5, OpenSSL' >&2\n")
        assert bad().keys() == {"ssh-keygen"}
        # A cloud that was chosen wants credentials.
        user.environment["GOTONI_CLOUD"] = "lambda"
        assert bad().keys() == {"ssh-keygen", "credentials of lambda", "cloud"}


def completion_scripts_are_scripts() -> None:
    with home() as user:
        for shell in ("bash", "zsh", "fish"):
            text = user.gotoni("completion", shell).ends(0, "gotoni", "clear-cache").out
            if shutil.which(shell):
                done = subprocess.run([shell, "-n", "/dev/stdin"], input=text, capture_output=True, text=True, timeout=60)
                assert done.returncode == 0, done.stderr
        # Bash does complete.
        script = user.path / "completion"
        script.write_text(user.gotoni("completion", "bash").out)
        line = f"source {script}; COMP_WORDS=(gotoni proxy sta); COMP_CWORD=2; COMP_LINE='gotoni proxy sta'; COMP_POINT=16; _gotoni gotoni sta proxy; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
        assert sorted(done.stdout.split()) == ["start", "status"], done
        user.gotoni("completion", "tcsh").ends(2)


def versions_agree() -> None:
    with home() as user:
        number = user.gotoni("--version").ends(0).out.strip()
        versions = user.gotoni("version", "--json").ends(0).json()
        assert versions["gotoni"] == number and re.fullmatch(r"6\.\d( or newer)?", versions["swift"]), versions
        header = (pathlib.Path(__file__).parents[2] / "include" / "gotoni.h").read_text()
        assert f"#define GOTONI_ABI_VERSION {versions['abi']}\n" in header
        user.gotoni("version").ends(0, f"gotoni {number} (")


def former_commands_lead_to_what_there_is_now() -> None:
    with home() as user:
        user.gotoni("sglang", "test-endpoints").ends(5, "No cluster was set up from here")
        user.gotoni("sglang", "setup-cluster", "--dry-run").ends(2, "Which machines?")
        user.gotoni("share", "one").ends(2, "no gotoni share any more", "gotoni keys add")
        user.gotoni("lb-remote-status").ends(2, "gotoni lb status --remote")
