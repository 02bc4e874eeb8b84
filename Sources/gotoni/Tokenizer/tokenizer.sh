# What `gotoni tokenizer` does on a machine, here or through ssh, after service.sh: VERB SOCKET ARGUMENTS…
data=${XDG_DATA_HOME:-$HOME/.local/share}/gotoni/tokenizer
verb=$1 socket=$2
shift 2

# The program's own default, and where systemd would have put it for those that ssh gives no such variable.
if [ -n "${XDG_RUNTIME_DIR:-}" ]; then
    default=$XDG_RUNTIME_DIR/gotoni/tokenizer.sock
elif [ "$(id -u)" = 0 ]; then
    default=/run/gotoni/tokenizer.sock
elif [ -d "/run/user/$(id -u)" ]; then
    default=/run/user/$(id -u)/gotoni/tokenizer.sock
else
    default=
fi
case $socket in
'') socket=$default ;;
/*) ;;
*) socket=$PWD/$socket ;;
esac
[ -n "$socket" ] || fail "XDG_RUNTIME_DIR is not set; say where the socket is with --socket PATH."
# One file of each kind for each socket.
file=$state/tokenizer
[ "$socket" = "$default" ] || file=$file$(printf %s "$socket" | tr / %)
log=$file.log

look() {
    printf 'socket %s\n' "$socket"
    [ -S "$socket" ] && echo "exists yes"
    report
}

# What is there already of what `deploy` puts on a machine.
probe() {
    python=$(command -v python3) || fail "There is no python3; install Python 3.9 or newer."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
        fail "$("$python" --version) is too old; install Python 3.9 or newer."
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "python3 cannot make virtual environments; install it (on Debian and Ubuntu: apt install python3-venv)."
    printf 'data %s\n' "$data"
    for mark in "$data"/package.sha256 "$data"/models/*.sha256 "$data"/venv/installed; do
        [ -f "$mark" ] && printf 'mark %s %s\n' "$(cat "$mark")" "${mark#"$data"/}"
    done
    look
}

# FOLDER SHA256 <TAR: replaces the folder of `data` once all of it has come.
receive() {
    into=$data/$1
    mkdir -p "$(dirname "$into")"
    rm -rf "$into.part" "$into.tar.gz" && mkdir "$into.part"
    cat >"$into.tar.gz" || fail "$into.tar.gz cannot be written."
    [ "$(sha256sum <"$into.tar.gz" | cut -d' ' -f1)" = "$2" ] || fail "What came for $into is not what was sent."
    tar -xzf "$into.tar.gz" -C "$into.part" --no-same-owner || fail "$into.tar.gz cannot be unpacked."
    rm -rf "$into" "$into.sha256"
    mv "$into.part" "$into" && printf '%s\n' "$2" >"$into.sha256" && rm "$into.tar.gz"
}

# MARK EXTRAS: the package into an environment of its own.
install_package() {
    for found in "$data"/package/pyproject.toml "$data"/package/*/pyproject.toml; do
        [ -f "$found" ] && package=$(dirname "$found")
    done
    [ -n "${package:-}" ] || fail "The package has no pyproject.toml."
    rm -f "$data/venv/installed"
    {
        python3 -m venv "$data/venv" &&
            "$data/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package$2"
    } >"$data/install.log" 2>&1 || {
        tail -n 10 "$data/install.log" >&2
        exit 1
    }
    printf '%s\n' "$1" >"$data/venv/installed"
}

# here|host SECONDS LABEL PROGRAM MODEL…: starts it unless it runs, and waits until it is ready.
start() {
    how=$1 seconds=$2 label_wanted=$3 program=$4
    end=$(($(date +%s) + seconds))
    shift 4
    lock "$seconds"
    if ! recall; then
        [ -n "$program" ] || [ ! -x "$data/venv/bin/gotoni-tokenizer" ] || program=$data/venv/bin/gotoni-tokenizer
        program=$(command -v "${program:-gotoni-tokenizer}") || { echo "missing program" && exit 1; }
        count=$#
        while [ "$count" -gt 0 ]; do
            model=$1
            shift
            # A model that `deploy` brought can be named as it was there.
            [ ! -e "$model" ] && [ -d "$data/models/$model" ] && model=$data/models/$model
            set -- "$@" --model "$model"
            count=$((count - 1))
        done
        spawn "$how" "$label_wanted" "$program" "$@" --socket "$socket"
    fi
    printf 'socket %s\nlog %s\n' "$socket" "$log"
    while ! grep -q '^gotoni-tokenizer listening on ' "$log"; do
        recall || died
        [ "$(date +%s)" -lt "$end" ] || { printf 'slow %s\n' "$pid" && exit 124; }
        sleep 0.1
    done
    recall
    printf 'pid %s\n' "$pid"
}

# PATH OUTPUT: of a model's folder what a tokenizer needs, as the same bytes each time.
pack() {
    folder=$1 only=
    [ -d "$1" ] || { folder=$(dirname "$1") && only=./$(basename "$1"); }
    cd "$folder" || exit 1
    {
        [ -n "$only" ] && printf '%s\0' "$only"
        find -L . -maxdepth 1 -type f \( -name 'tokenizer*' -o -name '*.model' -o -name 'chat_template*' \
            -o -name special_tokens_map.json -o -name config.json \) -print0
        find -L ./additional_chat_templates -maxdepth 1 -type f -name '*.jinja' -print0 2>/dev/null
    } | sort -zu | tar --null -T - -h --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=u=rw,go=r -cf - | gzip -n >"$2"
    sha256sum <"$2" | sed 's/ .*//; s/^/hash /'
    pwd -P | sed 's/^/folder /'
    [ -n "$only" ] && printf 'only %s\n' "${only#./}"
    if [ -f tokenizer.json ] || [ -n "$only" ]; then
        echo "tokenizer yes"
    elif [ -f tokenizer.model ] || [ -f spiece.model ]; then
        printf 'tokenizer yes\nneeds sentencepiece\n'
    fi
}

digest() { sha256sum <"$1" | sed 's/ .*//; s/^/hash /'; }

"$verb" "$@"
