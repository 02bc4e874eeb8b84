/* Tests of the header's section "Version". */
#include "check.h"

static void the_loaded_library_has_the_abi_number_of_this_header(void) {
    EQUAL(gotoni_abi_version(), GOTONI_ABI_VERSION);
}

static void the_library_says_the_version_of_this_header(void) {
    CHECK(strcmp(gotoni_version(), GOTONI_VERSION) == 0);
}

static void the_version_text_is_static(void) {
    CHECK(gotoni_version() == gotoni_version());
}

int main(void) {
    TEST(the_loaded_library_has_the_abi_number_of_this_header);
    TEST(the_library_says_the_version_of_this_header);
    TEST(the_version_text_is_static);
    return check_result();
}
