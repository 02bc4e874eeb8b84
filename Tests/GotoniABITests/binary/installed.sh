# What `make install` put under the prefix is enough for a newcomer to compile and run the C example.
. "$HERE/binary/result.sh"
pc=$(find "$PREFIX" -name gotoni.pc | head -n 1)
export PKG_CONFIG_PATH="${pc%/gotoni.pc}"

compiles_the_example() {
    [ -n "$pc" ] || { echo "no gotoni.pc under $PREFIX"; return 1; }
    # pkg-config's answer is left unquoted to fall apart into its words.
    "$CC" -std=c99 -Wall -Wextra -pedantic -Werror "$HERE/../../examples/c/route.c" \
        $(pkg-config --cflags --libs gotoni) -o "$BUILD/example"
}

compiles_the_example_statically() {
    "$CC" -std=c99 "$HERE/../../examples/c/route.c" $(pkg-config --cflags gotoni) \
        "$(pkg-config --variable=libdir gotoni)/libgotoni.a" \
        $(pkg-config --static --libs-only-l gotoni | sed 's/-lgotoni//') -o "$BUILD/example-static"
}

has_the_version_of_the_header() {
    version=$(sed -n 's/^#define GOTONI_VERSION "\(.*\)"/\1/p' "$INCLUDE/gotoni.h")
    [ "$(pkg-config --modversion gotoni)" = "$version" ]
}

result "pkg-config has the header's version" has_the_version_of_the_header
result "the example compiles with pkg-config" compiles_the_example
result "the example runs" env LD_LIBRARY_PATH="$(pkg-config --variable=libdir gotoni)" "$BUILD/example"
result "the example compiles with the static library" compiles_the_example_statically
result "the example runs with the static library" "$BUILD/example-static"
exit $failed
