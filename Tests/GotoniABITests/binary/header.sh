# The header is good C and C++ of every year, without a warning, and may be included twice.
. "$HERE/binary/result.sh"

compiles() { # COMPILER LANGUAGE STANDARD
    printf '#include <gotoni.h>\n#include <gotoni.h>\nuint32_t number(void);\nuint32_t number(void) { return gotoni_abi_version(); }\n' |
        "$1" -x "$2" "-std=$3" -Wall -Wextra -pedantic -Werror -I"$INCLUDE" -c -o "$BUILD/header.o" -
}

for standard in c99 c11 c17; do
    result "compiles as $standard" compiles "$CC" c $standard
done
result "compiles as c++17" compiles "$CXX" c++ c++17
exit $failed
