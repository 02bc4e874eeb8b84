# What `gotoni cluster` does on a machine, after service.sh: VERB ARGUMENTS…
# A verb that looks says "holds WHAT" or "wants WHAT", what would be done; what cannot be made so is an error.
data=${XDG_DATA_HOME:-$HOME/.local/share}/gotoni
verb=$1
shift

holds() {
    printf 'holds %s\n' "$1"
    exit 0
}

wants() {
    printf 'wants %s\n' "$1"
    exit 0
}

# NAME: the service that is meant.
choose() { file=$state/$1 log=$state/$1.log; }

# ARCHITECTURE GLIBC GIB: what the programs need.
look_system() {
    found=$(uname -m)
    [ "$found" = "$1" ] || fail "This is a machine of $found, and the programs are for $1."
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$2" "$libc" | sort -V | head -n 1)" = "$2" ] ||
        fail "Its glibc is ${libc:-none}; the programs want $2 or newer (Ubuntu 22.04)."
    free=$(df -Pk "$HOME" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$3" ] || fail "Only $free GiB are free in $HOME, and $3 are wanted."
    holds "$found, glibc $libc, $free GiB free"
}

# DRIVER GPUS: the least of both.
look_driver() {
    command -v nvidia-smi >/dev/null 2>&1 || fail "There is no nvidia-smi, so no driver for GPUs."
    lines=$(nvidia-smi --query-gpu=driver_version,name --format=csv,noheader) ||
        fail "nvidia-smi fails; a restart of the machine may help."
    version=$(printf '%s\n' "$lines" | head -n 1 | cut -d, -f1)
    count=$(printf '%s\n' "$lines" | grep -c .)
    [ "${version%%.*}" -ge "$1" ] ||
        fail "The driver is $version, and the engine's image wants $1 or newer; an older image may do (--image)."
    [ "$count" -ge "$2" ] || fail "There are $count GPUs, and the engine wants $2."
    holds "driver $version,$(printf '%s\n' "$lines" | head -n 1 | cut -d, -f2) x $count"
}

# Sets docker to what runs it, for who may.
find_docker() {
    if docker info >/dev/null 2>&1; then
        docker=docker
    elif sudo -n docker info >/dev/null 2>&1; then
        docker='sudo -n docker'
    else
        return 1
    fi
}

look_docker() {
    command -v docker >/dev/null 2>&1 || fail "Docker is not installed (https://docs.docker.com/engine/install)."
    find_docker || wants "start Docker"
    holds "Docker $($docker version --format '{{.Server.Version}}')"
}

act_docker() {
    sudo -n systemctl start docker || fail "Docker cannot be started without a password."
    find_docker || fail "Docker was started, and does not answer."
}

# IMAGE
look_image() {
    find_docker || wants "pull $1"
    $docker image inspect "$1" >/dev/null 2>&1 && holds "$1"
    wants "pull $1"
}

act_image() {
    find_docker || fail "Docker does not answer."
    $docker pull --quiet "$1"
}

# The token of Hugging Face's hub is on standard input; it lies where the engine's library looks for it.
look_token() {
    cmp -s - "$HOME/.cache/huggingface/token" && holds "as here"
    wants "send the token"
}

act_token() {
    mkdir -p "$HOME/.cache/huggingface"
    # Somebody's own is kept.
    [ ! -f "$HOME/.cache/huggingface/token" ] || [ -f "$HOME/.cache/huggingface/token.old" ] ||
        cp -p "$HOME/.cache/huggingface/token" "$HOME/.cache/huggingface/token.old"
    cat >"$HOME/.cache/huggingface/token.part" || fail "The token cannot be written."
    mv -f "$HOME/.cache/huggingface/token.part" "$HOME/.cache/huggingface/token"
}

# LABEL: the container that was started with it.
look_container() {
    find_docker || wants "start the engine"
    found=$($docker inspect -f '{{.State.Running}} {{index .Config.Labels "gotoni"}}' gotoni-engine 2>/dev/null)
    [ "$found" = "true $1" ] && holds "runs"
    [ -z "$found" ] || wants "replace the engine that is there"
    wants "start the engine"
}

# HOST:PORT: nobody listens there, who would answer for what is to be started. Only for addresses of IPv4.
look_free() {
    case ${1%:*} in *[!0-9.]*) return ;; esac
    port=$(printf %04X "${1##*:}")
    # shellcheck disable=SC2046 # the four numbers
    host=$(printf '%02X%02X%02X%02X' $(printf %s "${1%:*}" | awk -F. '{ print $4, $3, $2, $1 }'))
    any=00000000
    # 0A: listens.
    for found in $(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v "port=$port" '
        $4 == "0A" && split($2, place, ":") == 2 && place[2] "" == port "" { print place[1] }'); do
        case $host:$found in
        "$any":* | *:"$host" | *:"$any" | *:"$any$any$any$any")
            fail "Another program listens at $1 already. End it, or choose another port (--port, --engine-port)."
            ;;
        esac
    done
}

# LABEL HOST:PORT IMAGE COMMAND…: host's network, because a GPU machine serves nothing else, and because that costs no time.
act_container() {
    find_docker || fail "Docker does not answer."
    wanted=$1 place=$2 image=$3
    shift 3
    $docker rm -f gotoni-engine >/dev/null 2>&1
    # An engine of another kind.
    choose engine
    if recall; then halt 30 || fail "The engine that runs (process $pid) does not end."; fi
    look_free "$place"
    mkdir -p "$HOME/.cache/huggingface"
    $docker run -d --name gotoni-engine --label "gotoni=$wanted" --restart unless-stopped --gpus all --network host \
        --ipc host --shm-size 32g --ulimit memlock=-1 --ulimit stack=67108864 \
        -v "$HOME/.cache/huggingface:/root/.cache/huggingface" "$image" "$@" >/dev/null
}

# Whether the container still runs, and was not started again just now; otherwise its last words.
alive_container() {
    find_docker || fail "Docker does not answer."
    found=$($docker inspect -f '{{.State.Running}} {{.RestartCount}} {{.State.StartedAt}}' gotoni-engine 2>/dev/null)
    case $found in
    'true 0 '*) exit 0 ;;
    'true '*) [ $(($(date +%s) - $(date -d "${found##* }" +%s))) -lt 300 ] || exit 0 ;;
    esac
    $docker logs --tail 10 gotoni-engine >&2
    echo "died gotoni-engine"
    exit 1
}

stop_container() {
    find_docker || fail "Docker does not answer."
    $docker rm -f gotoni-engine >/dev/null
}

# FILE SHA256: a program, or a library of one, below `data`.
look_program() {
    [ "$(sha256sum "$data/$1" 2>/dev/null | cut -d' ' -f1)" = "$2" ] && holds "as here"
    wants "send ${1##*/}"
}

# FILE SHA256 <GZIP: what runs goes on with what it was started as.
act_program() {
    into=$data/$1
    mkdir -p "$(dirname "$into")"
    trap 'rm -f "$into.part"' EXIT
    gunzip -c >"$into.part" || fail "$into cannot be written."
    [ "$(sha256sum <"$into.part" | cut -d' ' -f1)" = "$2" ] || fail "What came is not what was sent."
    chmod 755 "$into.part" && mv -f "$into.part" "$into"
}

# SERVICE LABEL <VARIABLES: the process that was started with both.
look_service() {
    choose "$1"
    recall || wants "start $1"
    [ "$label" = "$2" ] && cmp -s - "$file.env" && holds "process $pid"
    wants "restart $1"
}

# SERVICE LABEL SECONDS HOST:PORT PROGRAM ARGUMENTS… <VARIABLES: a program that was sent, or another. Variables are a
# shell's.
act_service() {
    choose "$1"
    name=$1 wanted=$2 seconds=$3 place=$4 program=$5
    shift 5
    lock "$seconds"
    [ ! -x "$data/bin/$program" ] || program=$data/bin/$program
    cat >"$file.env.part" || fail "$file.env.part cannot be written."
    if recall; then
        # Somebody else has started it since we looked.
        [ "$label" = "$wanted" ] && cmp -s "$file.env.part" "$file.env" && rm -f "$file.env.part" && return
        halt "$seconds" || fail "The $name that runs (process $pid) does not end."
    fi
    if [ "$name" = engine ] && command -v docker >/dev/null && find_docker; then
        # An engine of another kind.
        $docker rm -f gotoni-engine >/dev/null 2>&1
    fi
    look_free "$place"
    mv -f "$file.env.part" "$file.env"
    # shellcheck disable=SC2016 # for the shell that is started
    spawn host "$wanted" sh -c 'set -a && . "$1" && shift && exec "$@"' sh "$file.env" "$program" "$@"
}

# SERVICE: whether it still runs; otherwise its last words.
alive_service() {
    choose "$1"
    recall || died
}

# SERVICE: its process, if it lives.
status_service() {
    choose "$1"
    report
}

# Whether the engine's container is there.
status_container() {
    find_docker || fail "Docker does not answer."
    $docker inspect -f 'runs {{.State.Running}}' gotoni-engine 2>/dev/null || true
}

# SERVICE SECONDS
stop_service() {
    choose "$1"
    stop "$2"
}

# SERVICE LINES [follow]
logs() {
    choose "$1"
    if [ "$1" = engine ] && find_docker && $docker inspect gotoni-engine >/dev/null 2>&1; then
        exec $docker logs --tail "$2" ${3:+--follow} gotoni-engine 2>&1
    fi
    [ -f "$log" ] || fail "There is no $log: gotoni did not start this here."
    exec tail -n "$2" ${3:+-F} "$log"
}

# Where we come from, and what time it is there, in milliseconds.
facts() {
    printf 'client %s\n' "${SSH_CLIENT%% *}"
    printf 'time %s\n' "$(date +%s%3N)"
}

"$verb" "$@"
