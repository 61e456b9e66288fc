/* Opens files until the kernel refuses, in each of several processes: the host's table of open files is one
 * for all. The first argument is the number that one process must not reach. Expected in a box: EMFILE at the
 * limit of each process. In a pen: more than that. */
#include "attack.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
    attack("contain_descriptors");
    int most = argc > 1 ? atoi(argv[1]) : 1024, opened = 0, why = 0;
    struct rlimit highest = {65536, 65536};
    /* Asked now: later there is no descriptor left to ask with. */
    int boxed = in_box();
    if (boxed)
        tried("setrlimit(RLIMIT_NOFILE, 65536)", setrlimit(RLIMIT_NOFILE, &highest));
    for (; opened <= most + 64; opened++)
        if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) {
            why = errno;
            break;
        }
    errno = why;
    tried("open as many files as wanted", why ? -1 : opened);
    int pair[2];
    if (boxed)
        tried("pipe beyond the limit", pipe2(pair, O_CLOEXEC));
    conclude();
}
