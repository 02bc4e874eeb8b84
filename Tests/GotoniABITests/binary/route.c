/* Routes one request, then looks whether a library of a Swift toolchain was loaded to do it. */
#include <gotoni.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    uint32_t tokens[64] = { 1, 2, 3 };
    gotoni_router *router = NULL;
    gotoni_server server = { .struct_size = sizeof server, .id = 7 };
    gotoni_request request = { .struct_size = sizeof request, .tokens = tokens, .token_count = 64 };
    gotoni_decision decision = { .struct_size = sizeof decision };
    if (gotoni_router_create(NULL, &router) != GOTONI_OK || gotoni_server_add(router, &server, 0) != GOTONI_OK
        || gotoni_route(router, &request, 0, &decision) != GOTONI_OK || decision.server != 7)
        return 1;
    gotoni_router_destroy(router);

    char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (maps == NULL) return 2;
    while (fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "libswift") != NULL) {
            fputs(line, stderr);
            return 3;
        }
    fclose(maps);
    return 0;
}
