# The shared library exports what the header declares: nothing is missing, nothing more leaks out.
. "$HERE/binary/result.sh"

# Without comments and preprocessor lines, a name before an opening parenthesis is a prototype.
echo '#include <gotoni.h>' | "$CC" -E -P -I"$INCLUDE" - | grep -o '\bgotoni_[a-z0-9_]*(' | tr -d '(' | sort -u >"$BUILD/declared"
nm -D --defined-only "$LIBRARY_DIR/libgotoni.so.0" | awk '{ print $3 }' | sed 's/@.*//' | sort -u >"$BUILD/exported"

# No line of the first list is missing from the second.
contained() {
    [ -s "$1" ] || { echo "empty list"; return 1; }
    missing=$(comm -23 "$1" "$2")
    [ -z "$missing" ] || { echo "$missing"; return 1; }
}

result "every declared function is exported" contained "$BUILD/declared" "$BUILD/exported"
result "every exported symbol is declared" contained "$BUILD/exported" "$BUILD/declared"
exit $failed
