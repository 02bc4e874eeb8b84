# Sourced by the scripts beside it: one line per test, and a failed one makes the script fail at its end.
failed=0

# result NAME COMMAND ...: runs the command; its output is shown only if it fails.
result() {
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "ok   $name"
    else
        [ -z "$output" ] || echo "$output" | sed 's/^/     /'
        echo "FAIL $name"
        failed=1
    fi
}
