"""Clusters from launch to kill: engines (simulated) and balancers that serve requests, and a proxy in front of them."""

from __future__ import annotations

import json

from clusters import ask, free_port, steps, world
from home import alive
from machines import machines


def a_cluster_serves_from_launch_to_kill() -> None:
    with world() as it:
        if it is None:
            return
        said = it.gotoni(*it.setup, "--dry-run", "--json").ends(0)
        assert {state for node in steps(said).values() for state in node.values()} == {"held", "would"}, said
        assert not (it.user.path / ".config/gotoni/clusters").exists()

        said = it.gotoni(*it.setup).ends(0, "node-1", "node-2", "mesh", "1 peers answer", "gotoni cluster status")
        assert "MACHINE" in said.out and "send gotoni-lb" in said.err
        it.gotoni("wait", "node-1", "node-2", "--for", "engine", "--timeout", "10s", *it.ssh).ends(0, "active")
        sent = [each / ".local/share/gotoni" for each in (user.path for user in it.hosts.users)]
        assert all((folder / "bin/gotoni-lb").exists() and any((folder / "lib/gotoni").iterdir()) for folder in sent)
        (ruleset,) = it.gotoni("firewall", "list", "--json").ends(0).json()[1:]
        let_in = {(rule["source_network"], *rule["port_range"]) for rule in ruleset["rules"]}
        addresses = [each["address"] for each in it.file()["members"]]
        wanted = {(f"{address}/32", port, port) for address in addresses for port in (it.port, it.engine_port)}
        assert let_in >= wanted | {("127.0.0.1/32", it.port, it.port)} and ("0.0.0.0/0", it.port, it.port) not in let_in
        for url in it.urls():
            ask(url, "hello")
        status = it.cluster("status", "--json").ends(0).json()
        assert [(row["lb"], row["engine"], row["healthy_peers"]) for row in status["nodes"]] == [("up", "up", 1)] * 2
        it.cluster("status").ends(0, "NODE", "us-west-1", "strategy gorgo")
        it.cluster("doctor").ends(0, "clock", "mesh")

        # Nothing is left to do, and nothing is done.
        before = [it.process(index, "lb") for index in range(2)]
        said = it.gotoni(*it.setup, "--json").ends(0)
        assert {state for node in steps(said).values() for state in node.values()} == {"held"}, said
        assert [it.process(index, "lb") for index in range(2)] == before

        it.cluster("upload").ends(0, "held")
        it.cluster("restart-lb", "--strategy", "prefix-tree", "--max-concurrent", "50").ends(0, "done")
        assert not any(alive(pid) for pid in before)
        policies = it.gotoni("lb", "policy", "--remote", "node-1,node-2", "--json", *it.ssh).ends(0).json()
        assert [each["answer"]["current"] for each in policies["hosts"]] == ["prefix-tree"] * 2, policies
        it.cluster("restart-lb", "--rolling", "--strategy", "no-such").ends(1, "no policy", "left")

        it.cluster("restart-lb", "--strategy", "gorgo").ends(0)
        it.cluster("start-trace").ends(0, "runs")
        for url in it.urls():
            ask(url, "traced " * 400)
        trace = it.user.path / "trace.json"
        it.cluster("stop-trace", "--output", trace).ends(0, "written:")
        events = json.loads(trace.read_text())["traceEvents"]
        names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
        assert {"node-1", "node-2"} <= names, names
        it.cluster("stop-trace", "--output", trace).ends(1, "no trace runs")

        # The engine knows a prompt that it has seen, until its cache is emptied.
        prompt = "again " * 2000
        cached = [ask(it.urls()[0], prompt)["usage"].get("prompt_tokens_details") for _ in range(2)]
        assert cached[1]["cached_tokens"] > 1000, cached
        it.cluster("flush-cache").ends(0, "emptied", "forgot")
        found = ask(it.urls()[0], prompt)["usage"].get("prompt_tokens_details")
        assert not (found or {}).get("cached_tokens"), found

        port = free_port()
        it.gotoni("proxy", "deploy", "node-1", "--listen-port", port, *it.ssh).ends(0, "gotoni proxy --remote node-1")
        for _ in range(3):
            ask(f"http://127.0.0.1:{port}", "through the proxy")
        said = it.gotoni("proxy", "--remote", "node-1", "status", *it.ssh).ends(0, "Handled", "node-2")
        assert "Handled:" in said.out
        it.gotoni("proxy", "--remote", "node-1", "clear-cache", *it.ssh).ends(0)
        it.gotoni("proxy", "prefix-stats", "--remote", "node-1", *it.ssh).ends(0, "Unique servers:")

        it.gotoni("proxy", "stop", "--remote", "node-1", *it.ssh).ends(0, "end proxy")
        it.gotoni("proxy", "--remote", "node-1", "status", *it.ssh).ends(1, "Nobody answers")

        it.cluster("restart-engine", "--rolling").ends(0, "engine")
        ask(it.urls()[1], "after the restart")
        it.cluster("stop-lb").ends(0, "end lb")
        it.cluster("status").ends(1, "down")
        it.gotoni("kill", "--cluster", "gotoni", "--yes").ends(0, "node-1: ending", "node-2: ending")
        it.cluster("status").ends(5, "No cluster was set up from here")


def a_cluster_shrinks_and_grows() -> None:
    with world() as it:
        if it is None:
            return

        def let_in() -> set[str]:
            found = it.gotoni("firewall", "list", "--json").ends(0).json()[1:]
            return {rule["source_network"] for ruleset in found for rule in ruleset["rules"]}

        it.gotoni(*it.setup).ends(0)
        first, second = (each["address"] for each in it.file()["members"])
        it.gotoni("kill", "node-2", "--yes").ends(0)
        it.gotoni(*it.setup, "--nodes", "node-1").ends(0, "shut out", "0 peers answer")
        # Its address may be somebody else's by now.
        assert f"{first}/32" in let_in() and f"{second}/32" not in let_in()

        it.gotoni("launch", "other", "-t", "gpu_1x_a10", "-r", "us-west-1", "--cluster", "another", "--yes").ends(0)
        it.gotoni("kill", "other", "--yes").ends(0)
        it.gotoni("launch", "node-3", "-t", "gpu_1x_a10", "-r", "us-west-1", "--cluster", "gotoni", "--yes").ends(0)
        # What was launched for it is of it.
        it.gotoni(*it.setup).ends(0, "node-3", "1 peers answer")
        members = it.file()["members"]
        assert [each["name"] for each in members] == ["node-1", "node-3"] and f"{members[1]['address']}/32" in let_in()
        for url in it.urls():
            ask(url, "hello")
        # Wherever its machines are rented, whatever is set by now.
        it.user.environment["GOTONI_CLOUD"] = "static"
        it.gotoni("kill", "--cluster", "gotoni", "--yes").ends(0, "node-1: ending", "node-3: ending")
        it.gotoni("kill", "--cluster", "gotoni", "--yes", "--provider", "lambda").ends(5, "no machines of the cluster")
        del it.user.environment["GOTONI_CLOUD"]
        assert not let_in() & {f"{each['address']}/32" for each in members}
        it.cluster("status").ends(5, "No cluster was set up from here")


def machines_are_reached_by_their_names() -> None:
    with world() as it:
        if it is None:
            return
        it.gotoni("wait", "node-1", "--for", "ssh", "--timeout", "10s", *it.ssh).ends(0)
        it.gotoni("wait", "node-1", "--for", "engine", *it.ssh).ends(5, "belongs to no cluster")
        it.gotoni("run", *it.ssh, "node-1", "echo $HOME; exit 3").ends(3, str(it.hosts.users[0].path))
        it.gotoni("run", *it.ssh, "node-1", "--", "echo", "$HOME; *").ends(0, "$HOME; *")
        it.gotoni("run", *it.ssh, "node-1,node-2", "echo $SSH_CONNECTION").ends(0, "node-1: 127.0.0.1", "node-2: 127.0.0.1")
        it.gotoni("run", *it.ssh, "node-1,node-2", 'test "$HOME" = ' + str(it.hosts.users[0].path)).ends(7, "ended with 1")
        it.gotoni("run", *it.ssh, "node-3", "true").ends(5, 'no machine "node-3"')
        assert it.gotoni("connect", *it.ssh, "node-1", text="echo from $HOME\n").out.count(str(it.hosts.users[0].path)) >= 1

        here = it.user.path / "a file"
        here.write_text("some words")
        # sftp begins in the user's folder as the system has it, which is not this machine's.
        there = it.hosts.users[1].path / "there"
        it.gotoni("cp", *it.ssh, here, f"node-2:{there}").ends(0)
        assert there.read_text() == "some words"
        it.gotoni("cp", *it.ssh, f"node-2:{there}", it.user.path / "back").ends(0)
        assert (it.user.path / "back").read_text() == "some words"
        it.gotoni("cp", here, it.user.path / "back").ends(2, "Neither is on a machine")

        said = it.gotoni("ssh-config").ends(0, "Host gotoni-", "node-1", "HostKeyAlias", "User ubuntu")
        for _ in range(2):
            it.gotoni("ssh-config", "--install").ends(0, "2 machines")
        config = (it.user.path / ".ssh/config").read_text()
        assert config.count("Include") == 1 and (it.user.path / ".config/gotoni/ssh_hosts").read_text() in said.out + "\n"
        it.gotoni("logs", *it.ssh, "node-1").ends(1, "gotoni did not start this here")


def machines_of_a_file_form_a_cluster() -> None:
    with machines() as found:
        if found is None:
            return
        user, hosts = found
        file = user.path / "machines.yaml"
        entry = "  - {{name: {}, host: 127.0.0.{}, user: {}, port: {}, identity: {}, private_address: 127.21.0.{}}}\n"
        login = hosts.names[0].split("@")[0]
        names = ("left", "right")
        file.write_text(
            "machines:\n"
            + "".join(entry.format(names[at], at + 1, login, hosts.port, hosts.key, at + 1) for at in range(2))
        )
        # Of other providers there is nothing here.
        user.environment["GOTONI_MACHINES"] = str(file)
        user.gotoni("list").ends(0, "left", "right", "active")
        user.gotoni("run", "left,right", "--", "true").ends(0)
        user.gotoni("launch", "-t", "x", "--yes").ends(2, "neither rented nor ended here")
        port, engine_port = free_port(), free_port()
        setup = ["cluster", "setup", "--engine", "simulated", "--port", port, "--engine-port", engine_port]
        user.gotoni(*setup).ends(0, "1 peers answer")
        ask(f"http://127.21.0.2:{port}", "hello")
        user.gotoni("cluster", "status").ends(0, "left", "right")
        user.gotoni("lb", "status", "--remote", "left,right").ends(0, "healthy")
        user.gotoni("cluster", "stop-lb").ends(0)

        text = file.read_text()
        for wrong, said in (
            (text + "more: 1\n", 'no key "more"'),
            (text.replace("identity", "key"), 'no key "key"'),
            (text.replace("name: right", "name: left"), "two machines have one name"),
            (text.replace("127.0.0.2", "-oProxyCommand=x"), "is no host"),
            (text.replace("name: right", "name: 'a b'"), "is no name"),
            ("machines:\n  - {name: a}\n", '"host" is missing'),
        ):
            file.write_text(wrong)
            user.gotoni("list").ends(2, said)
        file.unlink()
        user.gotoni("list").ends(2, "cannot be read")
