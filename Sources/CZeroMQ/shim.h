/* libzmq (Debian: libzmq3-dev): the sockets on which engines publish KV events. */
#include <zmq.h>
