#!/usr/bin/env python3
"""gotoni-proxy in front of the real vLLM and its KV events: does the router know what vLLM has cached?

    check.py --gotoni-proxy build/bin/gotoni-proxy --vllm-venv build/vllm-venv

Starts vLLM's CPU build with a tiny model of random weights, prefix caching, KV events over ZeroMQ with replays, and a KV cache so
small that it evicts; two of them, each in a network namespace of its own, and the proxy in front. Conversations that share
prefixes are streamed through it. Of each request the proxy's log says how many tokens it expected to be cached, and vLLM how many
were. Then: prompts with a salt, clients that leave, a cache that is emptied, a second proxy that begins late, vLLM killed and
started again, and a model of which half of the layers see a window only.

Needs Linux with TUN devices and network namespaces, Debian's iproute2 and util-linux, the packages of benchmark/real, and vLLM
(make install-vllm). Exit status: 0 all holds, or there is no vLLM, which is said; 1 something does not hold; 2 there is no result.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import tempfile

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
PARTS = ("full", "window")


def main() -> int:
    options = parse()
    if not (options.vllm_venv / "bin" / "python").exists():
        print(f"vllm: skipped, there is no vLLM in {options.vllm_venv}: make install-vllm", file=sys.stderr)
        return 0
    try:
        import parts
        from processes import BenchError, end_on_signals, go_on_in_own_network
    except ImportError as error:
        print(f"vllm: {error}: pip install -r benchmark/real/requirements.txt", file=sys.stderr)
        return 2
    end_on_signals()
    try:
        if not options.gotoni_proxy.exists():
            raise BenchError(f"there is no {options.gotoni_proxy}: make bin")
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.touch()
        parts.folders(options)
        go_on_in_own_network()
        with tempfile.TemporaryDirectory() as folder:
            logs = options.logs or pathlib.Path(folder)
            logs.mkdir(parents=True, exist_ok=True)
            result = parts.run(options, logs)
    except (BenchError, OSError) as error:
        print(f"vllm: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        options.json.write_text(json.dumps(result.document(), indent=1) + "\n")
    print(result.table())
    return 0 if result.holds() else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, default=BUILD / "bin" / "gotoni-proxy", metavar="PATH")
    parser.add_argument("--vllm-venv", type=pathlib.Path, default=BUILD / "vllm-venv", metavar="PATH",
                        help="where vLLM's CPU build is installed [build/vllm-venv]")
    parser.add_argument("--engines", type=int, choices=(1, 2), default=2, help="of 4 GB of memory each [%(default)s]")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help="of full (all but the last) and window (half of the layers see a window) [both]")
    parser.add_argument("--blocks", type=int, default=128, metavar="N",
                        help="of 32 tokens: the KV cache of each vLLM [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the conversations [%(default)s]")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="every request, and what was found")
    parser.add_argument("--logs", type=pathlib.Path, metavar="FOLDER", help="keep what the programs say")
    options = parser.parse_args()
    if options.blocks < 65:
        parser.error("--blocks must be above 64: a prompt of 2,048 tokens has to fit")
    return options


if __name__ == "__main__":
    sys.exit(main())
