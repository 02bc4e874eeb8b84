# What `gotoni tokenizer` does on a machine, here or through ssh: sh -c THIS gotoni VERB SOCKET ARGUMENTS…
# Answers are lines "word value" on standard output; what went wrong is on standard error, the last lines count.
set -u
umask 077
export LC_ALL=C
data=${XDG_DATA_HOME:-$HOME/.local/share}/gotoni/tokenizer
state=${XDG_STATE_HOME:-$HOME/.local/state}/gotoni
verb=$1 socket=$2
shift 2

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

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

# PID: "PID START BOOT" if it lives. Numbers of processes are given out again; with the start and the boot it is that one.
identity() {
    found=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
    case $found in '' | Z* | X*) return 1 ;; esac
    printf '%s %s %s\n' "$1" "$(printf %s "$found" | cut -d' ' -f20)" "$(cat /proc/sys/kernel/random/boot_id)"
}

# Sets pid and label to the process that was started for the socket, if it lives; foreign to one that has its number.
recall() {
    pid='' label='' foreign='' written=''
    [ -f "$file.pid" ] || return 1
    { IFS= read -r written && IFS= read -r label; } <"$file.pid"
    number=${written%% *}
    case $number in '' | *[!0-9]*) return 1 ;; esac
    now=$(identity "$number") || return 1
    if [ "$now" = "$written" ]; then pid=$number; else foreign=$number label='' && return 1; fi
}

look() {
    recall || true
    printf 'socket %s\nlog %s\n' "$socket" "$log"
    [ -S "$socket" ] && echo "exists yes"
    [ -n "$pid" ] && printf 'pid %s\nlabel %s\n' "$pid" "$label"
    [ -n "$foreign" ] && printf 'foreign %s\n' "$foreign"
    true
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
    mkdir -p "$state"
    # Of two that start at once, the second finds what the first has started.
    exec 9>"$file.lock"
    flock -w "$seconds" 9 || fail "Another start is under way."
    if ! recall; then
        [ -n "$program" ] || [ ! -x "$data/venv/bin/gotoni-tokenizer" ] || program=$data/venv/bin/gotoni-tokenizer
        program=$(command -v "${program:-gotoni-tokenizer}") || { echo "missing program" && exit 1; }
        [ -f "$log" ] && mv -f "$log" "$log.old"
        : >"$log"
        spawn "$how" "$@"
        { identity "$pid" || echo; } >"$file.pid" 2>/dev/null
        printf '%s\n' "$label_wanted" >>"$file.pid"
    fi
    printf 'socket %s\nlog %s\n' "$socket" "$log"
    while ! grep -q '^gotoni-tokenizer listening on ' "$log"; do
        if ! recall; then
            rm -f "$file.pid"
            tail -n 10 "$log" >&2
            echo "died $log" && exit 1
        fi
        [ "$(date +%s)" -lt "$end" ] || { printf 'slow %s\n' "$pid" && exit 124; }
        sleep 0.1
    done
    recall
    printf 'pid %s\n' "$pid"
}

# Starts `program`, so that it stays when we go; sets pid. Under the user's systemd where that stays too.
spawn() {
    how=$1
    shift
    count=$#
    while [ "$count" -gt 0 ]; do
        model=$1
        shift
        # A model that `deploy` brought can be named as it was there.
        [ ! -e "$model" ] && [ -d "$data/models/$model" ] && model=$data/models/$model
        set -- "$@" --model "$model"
        count=$((count - 1))
    done
    set -- "$program" "$@" --socket "$socket"
    unit=gotoni-tokenizer-$$
    if [ "$how" = host ] && loginctl enable-linger >/dev/null 2>&1 &&
        systemd-run --user --quiet --collect --unit "$unit" -p Type=exec -p "StandardOutput=append:$log" \
            -p "StandardError=append:$log" -- "$@" >/dev/null 2>&1 9>&-; then
        pid=$(systemctl --user show -p MainPID --value "$unit")
    else
        setsid nohup "$@" >>"$log" 2>&1 </dev/null 9>&- &
        pid=$!
    fi
}

# SECONDS: ends what was started for the socket, nothing else.
stop() {
    end=$(($(date +%s) + $1))
    if ! recall; then
        [ -n "$foreign" ] && printf 'foreign %s\n' "$foreign"
        rm -f "$file.pid"
        echo "none $socket" && exit 0
    fi
    stopped=$pid
    kill -TERM "$pid" || exit 1
    while recall; do
        [ "$(date +%s)" -lt "$end" ] || { printf 'slow %s\n' "$pid" && exit 124; }
        sleep 0.05
    done
    rm -f "$file.pid"
    printf 'stopped %s\n' "$stopped"
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
