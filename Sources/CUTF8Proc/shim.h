/* libutf8proc (Debian: libutf8proc-dev): Unicode's normal forms. */
#include <utf8proc.h>
