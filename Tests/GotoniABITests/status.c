/* Tests of the header's section "Status". */
#include "check.h"

static void every_status_has_a_text_of_its_own(void) {
    for (gotoni_status status = GOTONI_E_UNTUNABLE; status <= GOTONI_OK; status += 1) {
        CHECK(gotoni_status_text(status) != NULL && *gotoni_status_text(status) != '\0');
        for (gotoni_status other = GOTONI_E_UNTUNABLE; other < status; other += 1)
            CHECK(strcmp(gotoni_status_text(status), gotoni_status_text(other)) != 0);
    }
}

static void an_unknown_status_has_a_text_too(void) {
    const gotoni_status unknown[] = { 1, 42, GOTONI_E_UNTUNABLE - 1, INT32_MIN, INT32_MAX };
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i += 1)
        CHECK(gotoni_status_text(unknown[i]) != NULL && *gotoni_status_text(unknown[i]) != '\0');
}

static void a_status_text_is_static(void) {
    CHECK(gotoni_status_text(GOTONI_E_RANGE) == gotoni_status_text(GOTONI_E_RANGE));
}

int main(void) {
    TEST(every_status_has_a_text_of_its_own);
    TEST(an_unknown_status_has_a_text_too);
    TEST(a_status_text_is_static);
    return check_result();
}
