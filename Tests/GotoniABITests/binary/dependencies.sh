# What the shared library asks of the machine it is installed on.
. "$HERE/binary/result.sh"
library=$LIBRARY_DIR/libgotoni.so.0

needs_only_libc_and_xxhash() {
    others=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -vE '^(libc|libm|libxxhash|ld-linux[-a-z0-9_]*)\.so\.[0-9]+$')
    [ -z "$others" ] || { echo "$others"; return 1; }
}

loads_only_libc_and_xxhash() {
    others=$(ldd "$library" | awk '{ print $1 }' | sed 's|.*/||' |
        grep -vE '^(linux-vdso|libc|libm|libxxhash|ld-linux[-a-z0-9_]*)\.so\.[0-9]+$')
    [ -z "$others" ] || { echo "$others"; return 1; }
}

# $ORIGIN, the library's own folder, is fine.
names_no_folder_of_this_machine() {
    folders=$(readelf -d "$library" | grep -E '\((RPATH|RUNPATH)\).*/')
    [ -z "$folders" ] || { echo "$folders"; return 1; }
}

is_named_with_its_abi_number() {
    readelf -d "$library" | grep -q '(SONAME).*\[libgotoni\.so\.0\]' || { readelf -d "$library"; return 1; }
}

is_small() {
    strip -o "$BUILD/stripped.so" "$library" || return 1
    size=$(wc -c <"$BUILD/stripped.so")
    [ "$size" -le 1048576 ] || { echo "$size bytes"; return 1; }
}

# Ubuntu 22.04 and Debian 12 have glibc 2.35 and 2.36.
needs_no_newer_glibc() {
    newest=$( (echo 2.35; objdump -T "$library" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//') | sort -V | tail -n 1)
    [ "$newest" = 2.35 ] || { objdump -T "$library" | grep "GLIBC_$newest"; return 1; }
}

result "needs only libc, libm and libxxhash" needs_only_libc_and_xxhash
result "loads only libc, libm and libxxhash" loads_only_libc_and_xxhash
result "names no folder of this machine" names_no_folder_of_this_machine
result "is named libgotoni.so.0" is_named_with_its_abi_number
result "is at most 1 MiB when stripped" is_small
result "needs no glibc newer than 2.35" needs_no_newer_glibc
exit $failed
