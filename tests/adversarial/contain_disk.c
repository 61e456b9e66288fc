/* Fills the places that can be written, /tmp or the directory given second, with so many MiB as given first:
 * through write, through fallocate, and through a hole that is mapped. Expected in a box with a smaller
 * --tmp-size: ENOSPC. In a pen: all of it. */
#include "attack.h"

static char block[1 << 20];

int main(int argc, char **argv)
{
    attack("contain_disk");
    long wanted = argc > 1 ? atol(argv[1]) : 16, written = 0;
    char path[256];
    snprintf(path, sizeof path, "%s/contain-disk-XXXXXX", argc > 2 ? argv[2] : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        inconclusive("mkstemp");
    unlink(path);
    memset(block, 'x', sizeof block);
    int why = 0;
    for (; written < wanted; written++) {
        ssize_t got = write(fd, block, sizeof block);
        if (got != (ssize_t)sizeof block) {
            if (got >= 0)
                got = write(fd, block, sizeof block);
            why = errno;
            break;
        }
    }
    errno = why;
    tried("write as much as wanted", why ? -1 : written);
    if (in_box()) {
        if (ftruncate(fd, 0))
            inconclusive("ftruncate");
        tried("fallocate as much as wanted", fallocate(fd, 0, 0, wanted << 20));
    }
    conclude();
}
