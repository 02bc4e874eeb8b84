/* libxxhash (Debian: libxxhash-dev). Only XXH3_64bits and XXH3_64bits_withSeed are used. */
#include <xxhash.h>
