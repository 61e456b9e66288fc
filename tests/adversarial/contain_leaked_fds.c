/* What did the runtime leave open? A descriptor of a host directory, of a cgroup or of a socket is a
 * way out (runc CVE-2024-21626). Expected in a box: exactly 0, 1 and 2. Each other open number is an
 * escape; so is a working directory outside the root. */
#include "attack.h"
#include <sys/resource.h>

int main(void)
{
    attack("contain_leaked_fds");
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        inconclusive("getrlimit");
    /* Numbers, not /proc: a descriptor above the limit would still be open, so look far beyond it. */
    for (int fd = 0; fd < 70000; fd++) {
        char link[64], target[256] = "?";
        if (fcntl(fd, F_GETFD) < 0) {
            if (fd < 3)
                say("closed: %d", fd);
            continue;
        }
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t got = readlink(link, target, sizeof target - 1);
        if (got > 0)
            target[got] = 0;
        say("open: %d -> %.200s", fd, target);
        if (fd > 2)
            tried("an inherited descriptor", fd);
    }
    char cwd[4096];
    if (!getcwd(cwd, sizeof cwd) || cwd[0] != '/')
        tried("a working directory outside the root", 0);
    conclude();
}
