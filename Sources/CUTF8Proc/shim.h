/* libutf8proc (Debian: libutf8proc-dev): Unicode's normal forms. */
#include <utf8proc.h>

/* Whether a character may be composed with what comes before it. The property's layout changed with 2.10. */
static inline _Bool gotoni_utf8proc_ends_composition(const utf8proc_property_t *properties) {
#if UTF8PROC_VERSION_MAJOR > 2 || UTF8PROC_VERSION_MINOR >= 10
    return properties->comb_issecond;
#else
    return properties->comb_index != UINT16_MAX && properties->comb_index >= 0x8000;
#endif
}
