"""Start, stop, status and test on this machine."""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import signal
import subprocess
import time

from home import GOTONI, alive, folder, home, process, until
from tokenizer_process import asked, listener, model, program

TEXT = "Hello, hello world!"


def help_and_wrong_arguments() -> None:
    with home() as user:
        user.run("--help").ends(0, "deploy", "start", "stop", "status", "test")
        for command in ("deploy", "start", "stop", "status", "test"):
            user.run(command, "--help").ends(0, "--socket", "--json", "--identity", "--ssh-port")
        user.run("start").ends(2, "--model")
        user.run("deploy", "--model", "m").ends(2, "USER@HOST")
        user.run("test", "text", "--file", "x").ends(2, "not both")
        user.run("test", "--file", "/nowhere").ends(2, "cannot be read")
        user.run("status", "--on", "-oProxyCommand=x").ends(2)
        user.run("status", "--on", "a b").ends(2, "is no machine")
        user.run("status", "--on", "a", "a").ends(2, "named twice")
        user.run("stop", "--timeout", "never").ends(2, "never")


def it_starts_answers_and_stops() -> None:
    with home() as user:
        user.run("status").ends(1, "not_running", "0/1 hosts have the tokenizer running")
        words = user.run("start", "--model", model(), "--program", program()).ends(0, "(model tiny, ")
        assert f"unix:{user.socket}" in words.out and not words.err, words
        pid = user.pid()
        user.run("start", "--model", model("other")).ends(0, "tiny", "it ran already")
        assert user.pid() == pid

        lines = user.run("status").ends(0, "1/1 hosts have the tokenizer running").out.splitlines()
        columns = [lines[0].index(word) for word in ("NAME", "STATUS", "INFO")]
        assert [lines[1][column - 1 : column] for column in columns[1:]] == [" ", " "], lines
        assert lines[1][columns[1] :].startswith("running ") and lines[1][columns[2] :].startswith("tiny, version ")
        document = user.run("status", "--json").ends(0).json()
        (host,) = document["hosts"]
        assert (document["running"], document["total"]) == (1, 1)
        assert host["status"] == "running" and host["pid"] == pid and host["socket"] == str(user.socket), host
        assert host["health"]["model"] == "tiny" and host["health"]["uptime_seconds"] >= 0
        assert {"python", "tokenizers"} <= host["health"]["versions"].keys()

        user.run("stop").ends(0, f"stopped, process {pid}")
        assert not alive(pid) and not user.socket.exists() and not (user.state / "tokenizer.pid").exists()
        user.run("stop").ends(0, "not running")
        user.run("status").ends(1, "not_running")


def it_counts() -> None:
    with home() as user:
        user.run("test").ends(1, "Nobody answers", "gotoni tokenizer start")
        user.run("start", "--model", model(), "--program", program()).ends(0)
        lines = user.run("test").ends(0, "model tiny").out.splitlines()
        assert len(lines) == 5 and lines[1].split() == ["TOKENS", "ESTIMATE", "IDS", "TEXT"], lines
        assert lines[2].split() == ["4", "4", "1", "3", "2", "4", "Hello,", "world!"], lines
        columns = [lines[1].index("TEXT"), *(line.index(text) for line, text in zip(lines[2:], ("Hello", "The", "na")))]
        assert len(set(columns)) == 1, lines
        ids = asked(user.socket, "/tokenize", {"prompt": TEXT})["tokens"]
        file = folder() / "text"
        file.write_text(TEXT)
        for arguments, text in (((TEXT,), None), (("--file", file), None), (("--file", "-"), TEXT)):
            (host,) = user.run("test", *arguments, "--json", text=text).ends(0).json()["hosts"]
            assert host["texts"] == [{"text": TEXT, "count": 5, "estimate": 5, "tokens": ids}], host
        user.run("test", "many words " * 50).ends(0, "…")
        user.run("test", "two\nlines").ends(0, "two lines")


def several_sockets_are_several_services() -> None:
    with home() as user:
        other = user.path / "other.sock"
        user.run("start", "--model", model(), "--program", program()).ends(0)
        user.run("start", "--model", model("second"), "--program", program(), "--socket", other).ends(0, str(other))
        user.run("stop").ends(0, "stopped")
        user.run("status", "--socket", other).ends(0, "second")
        user.run("stop", "--socket", other).ends(0, "stopped")


def two_at_once_start_one() -> None:
    with home() as user, concurrent.futures.ThreadPoolExecutor(4) as threads:
        arguments = ("start", "--model", model(), "--program", program())
        for said in [threads.submit(user.run, *arguments) for _ in range(4)]:
            said.result().ends(0, f"process {user.pid()}")
        user.run("stop").ends(0, "stopped")


def what_lies_beside_gotoni_is_found() -> None:
    with home() as user:
        place = folder() / "bin"
        place.mkdir()
        shutil.copy(GOTONI, place / "gotoni")
        shutil.copy(program(), place / "gotoni-tokenizer")
        user.environment["PATH"] = "/usr/bin:/bin"
        user.run("start", "--model", model(), by=place / "gotoni").ends(0, "tiny")
        user.run("stop").ends(0, "stopped")


def what_dies_at_once_is_told_with_its_log() -> None:
    with home() as user:
        user.run("start", "--model", "/nowhere", "--program", program()).ends(1, "ended at once", "there is no such folder")
        many = program("import sys\nfor line in range(30): print('line', line)\nsys.exit(3)\n")
        words = user.run("start", "--model", "m", "--program", many).ends(1, "  line 29", "  line 20").err
        assert "line 19" not in words
        assert not (user.state / "tokenizer.pid").exists()
        user.run("start", "--model", "m", "--program", "/nowhere").ends(1, "/nowhere is no program")
        user.environment["PATH"] = "/usr/bin:/bin"
        user.run("start", "--model", "m").ends(1, "make install-tokenizer")


def what_is_slow_is_starting() -> None:
    with home() as user:
        slow = program("import signal\nsignal.pause()\n")
        began = time.monotonic()
        user.run("start", "--model", "m", "--program", slow, "--timeout", "1s").ends(124, "not ready", "see status")
        assert time.monotonic() - began < 10
        pid = user.pid()
        user.run("status").ends(1, "starting", str(pid))
        user.run("stop").ends(0, f"stopped, process {pid}")
        assert not alive(pid)
        deaf = program("import signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: signal.pause()\n")
        user.run("start", "--model", "m", "--program", deaf, "--timeout", "1s").ends(124)
        user.run("stop", "--timeout", "1s").ends(124, "still runs")


def a_stale_socket_is_replaced() -> None:
    with home() as user:
        listener(user.socket).close()
        (host,) = user.run("status", "--json").ends(1).json()["hosts"]
        assert host["status"] == "socket_only", host
        user.run("start", "--model", model(), "--program", program()).ends(0)
        os.kill(user.pid(), signal.SIGKILL)
        until("killed", lambda: not alive(user.pid()))
        user.run("status").ends(1, "socket_only")
        user.run("start", "--model", model(), "--program", program()).ends(0)
        user.run("stop").ends(0)


def a_silent_socket_is_no_service() -> None:
    with home() as user:
        made = listener(user.socket)
        user.run("status").ends(1, "socket_only", "not answered within 5")
        made.close()


def other_programs_are_left_alone() -> None:
    with home() as user, process("sleep", "600") as other:
        user.state.mkdir(parents=True)
        for written in (f"{other.pid} 1 boot\nlabel\n", f"{other.pid}\n\n", f"{other.pid}"):
            (user.state / "tokenizer.pid").write_text(written)
            user.run("stop").ends(0, "not running")
            assert other.poll() is None
        (user.state / "tokenizer.pid").write_text(f"{other.pid} 1 boot\nlabel\n")
        user.run("stop").ends(0, f"process {other.pid}", "left alone")
        for written in ("-1 1 boot\n\n", "$(touch x)\n\n", ""):
            (user.state / "tokenizer.pid").write_text(written)
            user.run("stop").ends(0, "not running")


def a_service_of_others_is_not_stopped() -> None:
    with home() as user:
        own = [program(), "--model", model(), "--socket", user.socket]
        with process(*own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
            until("listening", user.socket.exists)
            user.run("status").ends(0, "running", "tiny")
            user.run("stop").ends(1, "not started by gotoni")
            assert other.poll() is None
            user.run("start", "--model", model()).ends(0, "it ran already")


def what_answers_otherwise_is_told() -> None:
    with home() as user:
        source = """
import http.server, socketserver, sys
path = sys.argv[sys.argv.index("--socket") + 1]
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return ""
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"{}")
import os; os.makedirs(os.path.dirname(path), exist_ok=True)
server = socketserver.UnixStreamServer(path, Handler)
print("gotoni-tokenizer listening on unix:", flush=True)
server.serve_forever()
"""
        user.run("start", "--model", "m", "--program", program(source)).ends(1, "is no gotoni-tokenizer")
        user.run("stop").ends(0)
