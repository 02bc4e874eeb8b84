/* Tests of the header's section "Keys". */
#include "check.h"

static void a_key_is_xxh3_of_the_bytes(void) {
    /* Written down from libxxhash 0.8.1: keys must never change, as they live in stored session tables. */
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text);
    CHECK(gotoni_key("", 0) == UINT64_C(0x2d06800538d394c2));
    CHECK(gotoni_key("a", 1) == UINT64_C(0xe6c632b61e964e1f));
    CHECK(gotoni_key("gotoni", 6) == UINT64_C(0x265d807811198885));
    CHECK(gotoni_key("0123456789abcdef0123456789abcdef", 32) == UINT64_C(0x01121d5b6c0ac055));
    CHECK(gotoni_key(long_text, sizeof long_text) == UINT64_C(0xc0a4877b962cba82));
}

static void a_key_of_nothing_may_be_asked_with_null(void) {
    CHECK(gotoni_key(NULL, 0) == gotoni_key("", 0));
}

static void a_key_of_null_with_a_size_does_not_crash(void) {
    (void)gotoni_key(NULL, 5);
    (void)gotoni_namespace_key(NULL, 5, NULL, 5, NULL, 5);
}

static void the_same_namespace_has_the_same_key(void) {
    CHECK(gotoni_namespace_key("m", 1, "a", 1, "s", 1) == gotoni_namespace_key("m", 1, "a", 1, "s", 1));
    CHECK(gotoni_namespace_key("m", 1, NULL, 0, NULL, 0) == gotoni_namespace_key("m", 1, "", 0, "", 0));
}

static void each_part_of_a_namespace_counts(void) {
    const uint64_t key = gotoni_namespace_key("m", 1, "a", 1, "s", 1);
    CHECK(key != gotoni_namespace_key("n", 1, "a", 1, "s", 1));
    CHECK(key != gotoni_namespace_key("m", 1, "b", 1, "s", 1));
    CHECK(key != gotoni_namespace_key("m", 1, "a", 1, "t", 1));
}

static void the_borders_between_the_parts_of_a_namespace_count(void) {
    CHECK(gotoni_namespace_key("ab", 2, "c", 1, "", 0) != gotoni_namespace_key("a", 1, "bc", 2, "", 0));
    CHECK(gotoni_namespace_key("m", 1, "x", 1, "", 0) != gotoni_namespace_key("m", 1, "", 0, "x", 1));
    CHECK(gotoni_namespace_key("", 0, "m", 1, "", 0) != gotoni_namespace_key("m", 1, "", 0, "", 0));
}

int main(void) {
    TEST(a_key_is_xxh3_of_the_bytes);
    TEST(a_key_of_nothing_may_be_asked_with_null);
    TEST(a_key_of_null_with_a_size_does_not_crash);
    TEST(the_same_namespace_has_the_same_key);
    TEST(each_part_of_a_namespace_counts);
    TEST(the_borders_between_the_parts_of_a_namespace_count);
    return check_result();
}
