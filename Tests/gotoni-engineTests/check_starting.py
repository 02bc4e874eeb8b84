"""Starting, options, ending."""

import json
import os
import signal
import tempfile

import engine as kit
from engine import LIMIT_S, Raw, engine


def the_first_line_names_the_port():
    with engine("--name", "paris") as e:
        assert e.line == f"gotoni-engine paris listening on {e.url}"
        assert e.ask("/health")[0] == 200


def the_first_line_can_be_json():
    with engine("--json", "--name", 'a "b"') as e:
        first = json.loads(e.line)
        assert first["name"] == 'a "b"' and first["pid"] == e.process.pid and first["url"] == e.url


def wrong_options_are_errors():
    with tempfile.TemporaryDirectory() as folder:
        bad_model = os.path.join(folder, "model.json")
        with open(bad_model, "w") as file:
            file.write('{"name": "x", "prefil_ms": 1}')
        check_wrong_options(bad_model)
    assert kit.run("--help")[0] == 0


def check_wrong_options(bad_model):
    for options, words in [
        (["--model", "b200"], "neither a preset"),
        (["--model", bad_model], 'no "prefil_ms"'),
        (["--rtt-ms=-1"], "must be 0"),
        (["--rtt-ms", "nan"], "must be 0"),
        (["--speed", "0"], "must be"),
        (["--kv-tokens", "0"], "below 1"),
        (["--listen", "nowhere"], "not host:port"),
        (["--listen", ":1"], "no host"),
        (["--listen", "127.0.0.1:99999"], "not host:port"),
        (["--fault", '{"explode": true}'], 'no "explode"'),
        (["--fault", '{"status": 200}'], "400 to 599"),
        (["--fault", '{"crash": true}'], "crash"),
        (["--what"], "Unknown option"),
    ]:
        status, said = kit.run(*options)
        assert status == 64 and words in said, (options, status, said)


def a_port_is_taken_once():
    with engine() as e:
        status, said = kit.run("--listen", f"127.0.0.1:{e.port}")
        assert status == 64 and "cannot be listened at" in said, (status, said)


def an_answer_that_takes_longer_than_the_grace_is_cut():
    with engine("--fault", '{"slow": 100}') as e, e.stream("x", 1_000) as stream:
        stream.until(b'"content":"')
        e.process.send_signal(signal.SIGTERM)
        assert b"[DONE]" not in stream.to_the_end()
        assert e.process.wait(LIMIT_S) == 0


def a_signal_lets_answers_end_and_refuses_connections():
    for number in (signal.SIGTERM, signal.SIGINT):
        with engine() as e, e.stream("count", 60) as stream, e.stream("x", 1) as other:
            other.until(b"[DONE]")
            stream.until(b'"content":"')
            e.process.send_signal(number)
            text = stream.to_the_end()
            assert text.count(b'"content":"') == 61 and text.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), text[-200:]
            assert e.process.wait(LIMIT_S) == 0
            try:
                Raw(e.port).close()
                raise AssertionError("it still listens")
            except ConnectionRefusedError:
                pass
