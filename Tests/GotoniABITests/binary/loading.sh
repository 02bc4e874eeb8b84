# The shared library loads quickly, and without a Swift toolchain on the machine.
. "$HERE/binary/result.sh"
library=$LIBRARY_DIR/libgotoni.so.0

# The median of 11 fresh processes, so that a busy moment of the machine does not count.
loads_quickly() {
    "$CC" -std=c99 -O1 -Wall -Wextra -pedantic -Werror "$HERE/binary/load_time.c" -o "$BUILD/load_time" -ldl || return 1
    for process in 1 2 3 4 5 6 7 8 9 10 11; do
        "$BUILD/load_time" "$library" || return 1
    done >"$BUILD/load_times"
    median=$(sort -n "$BUILD/load_times" | sed -n 6p)
    [ "$median" -le 2000 ] || { echo "median $median us"; return 1; }
}

"$CC" -std=c99 -O1 -Wall -Wextra -pedantic -Werror -I"$INCLUDE" "$HERE/binary/route.c" -o "$BUILD/route" \
    -L"$LIBRARY_DIR" -lgotoni || exit 1

# The toolchain's folder is covered by an empty one where this user may do that. A toolchain that lives in
# /usr itself cannot be covered without covering everything else.
toolchain=$(command -v swift) && toolchain=$(dirname "$(dirname "$(readlink -f "$toolchain")")")
if [ -n "$toolchain" ] && [ "$toolchain" != /usr ] && [ "$toolchain" != / ] \
    && unshare -m mount -t tmpfs none "$toolchain" 2>/dev/null; then
    how="with the Swift toolchain's folder hidden"
else
    toolchain=
    how="with no Swift library mapped"
fi

# Runs a command with a bare environment, and behind an empty toolchain folder if there is one to cover.
without_swift() {
    set -- env -i PATH=/usr/bin:/bin LD_LIBRARY_PATH="$LIBRARY_DIR" "$@"
    [ -z "$toolchain" ] || set -- unshare -m sh -c 'mount -t tmpfs none "$0" && exec "$@"' "$toolchain" "$@"
    "$@"
}

python=$(python3 -c 'import sys; print(sys.executable)') # past any wrapper that needs its environment

result "takes at most 2 ms (median of 11 processes)" loads_quickly
result "routes from C $how" without_swift "$BUILD/route"
result "routes from Python $how" without_swift "$python" "$HERE/binary/route.py" "$library"
exit $failed
