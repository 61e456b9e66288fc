/* Writes to standard output as fast as it can and for ever; with "stderr" to standard error; with
 * "both" a child floods the other one. Expected in a box with --output-limit: OLE, ole_output_cap,
 * and not a byte more than the limit is passed on. In a pen: as much as the second argument says. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_output_flood");
    static char block[65536];
    memset(block, 'x', sizeof block);
    const char *where = argc > 1 ? argv[1] : "stdout";
    long long most = argc > 2 ? atoll(argv[2]) : -1, written = 0;
    int fd = strcmp(where, "stderr") == 0 ? 2 : 1;
    if (strcmp(where, "both") == 0 && spawn() == 0)
        fd = 2;
    while (most < 0 || written < most) {
        ssize_t got = write(fd, block, sizeof block);
        if (got < 0)
            inconclusive("write");
        written += got;
    }
    return ESCAPED;
}
