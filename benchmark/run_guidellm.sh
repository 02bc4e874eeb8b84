#!/usr/bin/env bash
# GuideLLM's profiles and every policy, through one proxy or a geography of nodes: see sweep/README.md, and --help.
#   run_guidellm.sh [--python PYTHON] [--local N | --proxy URL | --geo URL --node URL... --engine URL...] [--out DIR]
# Writes guidellm_results/. Exit status: 0 done, 1 requests or runs failed, 2 nothing could be run.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python=python3 help=no rest=()
while [ $# -gt 0 ]; do
    case "$1" in
    --python)
        [ $# -gt 1 ] || { echo "sweep: --python wants the path of a Python" >&2; exit 2; }
        python=$2
        shift 2
        ;;
    -h | --help)
        help=yes
        shift
        ;;
    *)
        rest+=("$1")
        shift
        ;;
    esac
done
command -v "$python" > /dev/null || { echo "sweep: there is no $python" >&2; exit 2; }
[ $help = no ] || exec "$python" "$here/sweep/sweep.py" --help # whatever else is missing
command -v setpriv > /dev/null || { echo "sweep: setpriv is missing (Debian package: util-linux)" >&2; exit 2; }
if ! "$python" -c 'import sys, importlib.metadata as m; sys.exit(m.version("guidellm") != "0.8.1")' 2> /dev/null; then
    echo "sweep: $python lacks GuideLLM 0.8.1:" \
        "$python -m pip install --no-deps -r $here/sweep/requirements-guidellm.txt" >&2
    exit 2
fi
exec "$python" "$here/sweep/sweep.py" ${rest[@]+"${rest[@]}"}
