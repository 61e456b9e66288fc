/* Writes one file until something stops it. Expected in a box with --fsize: SIGXFSZ ends it, FSE.
 * With "ignore" it ignores the signal and sees EFBIG instead: then contained, and no byte more. The
 * second argument is the limit in bytes. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_fsize");
    long long limit = argc > 2 ? atoll(argv[2]) : 1 << 20;
    int ignore = argc > 1 && strcmp(argv[1], "ignore") == 0;
    if (ignore)
        signal(SIGXFSZ, SIG_IGN);
    char path[] = "/tmp/contain-fsize-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0)
        inconclusive("mkstemp");
    unlink(path);
    static char block[4096];
    long long written = 0;
    while (written <= limit) {
        ssize_t got = write(fd, block, sizeof block);
        if (got < 0)
            break;
        written += got;
    }
    int why = errno;
    say("tried: write %lld bytes", written);
    if (written > limit)
        tried("a file beyond the limit", 0);
    else if (why != EFBIG)
        inconclusive("write failed for another reason");
    conclude();
}
