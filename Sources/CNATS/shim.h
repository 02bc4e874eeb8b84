/* libnats (Debian: libnats-dev): messages, streams and key-value buckets that proxies share. */
#include <nats/nats.h>
