# What gotoni's scripts on machines have in common: sh -c THIS-AND-THE-SCRIPT gotoni VERB ARGUMENTS…
# Answers are lines "word value" on standard output; what went wrong is on standard error, the last lines count.
# A service is a process that stays; `file`, which the script sets, is what its files begin with, and `log` its output.
set -u
umask 077
export LC_ALL=C
state=${XDG_STATE_HOME:-$HOME/.local/state}/gotoni

fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

# PID: "PID START BOOT" if it lives. Numbers of processes are given out again; with the start and the boot it is that one.
identity() {
    found=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 1
    case $found in '' | Z* | X*) return 1 ;; esac
    printf '%s %s %s\n' "$1" "$(printf %s "$found" | cut -d' ' -f20)" "$(cat /proc/sys/kernel/random/boot_id)"
}

# Sets pid and label to the service's process, if it lives; foreign to one that has its number.
recall() {
    pid='' label='' foreign='' written=''
    [ -f "$file.pid" ] || return 1
    { IFS= read -r written && IFS= read -r label; } <"$file.pid"
    number=${written%% *}
    case $number in '' | *[!0-9]*) return 1 ;; esac
    now=$(identity "$number") || return 1
    if [ "$now" = "$written" ]; then pid=$number; else foreign=$number label='' && return 1; fi
}

# What is known of the service.
report() {
    recall || true
    printf 'log %s\n' "$log"
    [ -n "$pid" ] && printf 'pid %s\nlabel %s\n' "$pid" "$label"
    [ -n "$foreign" ] && printf 'foreign %s\n' "$foreign"
    true
}

# SECONDS: until this script ends, no other starts the service.
lock() {
    mkdir -p "$state"
    # Of two that start at once, the second finds what the first has started.
    exec 9>"$file.lock"
    flock -w "$1" 9 || fail "Another start is under way."
}

# here|host LABEL COMMAND…: starts the service, so that it stays when we go; sets pid. Under the user's systemd where
# that stays too.
spawn() {
    how=$1 label_wanted=$2
    shift 2
    [ -f "$log" ] && mv -f "$log" "$log.old"
    : >"$log"
    unit=gotoni-$(printf %s "${file##*/}" | tr -c 'a-zA-Z0-9' -)-$$
    if [ "$how" = host ] && loginctl enable-linger >/dev/null 2>&1 &&
        systemd-run --user --quiet --collect --unit "$unit" -p Type=exec -p "StandardOutput=append:$log" \
            -p "StandardError=append:$log" -- "$@" >/dev/null 2>&1 9>&-; then
        pid=$(systemctl --user show -p MainPID --value "$unit")
    else
        setsid nohup "$@" >>"$log" 2>&1 </dev/null 9>&- &
        pid=$!
    fi
    { identity "$pid" || echo; } >"$file.pid" 2>/dev/null
    printf '%s\n' "$label_wanted" >>"$file.pid"
}

# The service has ended although it should not have.
died() {
    rm -f "$file.pid"
    tail -n 10 "$log" >&2
    echo "died $log"
    exit 1
}

# SECONDS: ends the service's process, which `recall` has found; 1 if it still runs then.
halt() {
    end=$(($(date +%s) + $1))
    # It may have ended just now.
    kill -TERM "$pid" 2>/dev/null || true
    while recall; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.05
    done
    rm -f "$file.pid"
}

# SECONDS: ends the service, nothing else.
stop() {
    if ! recall; then
        [ -n "$foreign" ] && printf 'foreign %s\n' "$foreign"
        rm -f "$file.pid"
        echo "none $file" && exit 0
    fi
    stopped=$pid
    halt "$1" || { printf 'slow %s\n' "$stopped" && exit 124; }
    printf 'stopped %s\n' "$stopped"
}
