/* A parent that the kernel keeps in vfork (state D, killable) because its child never executes
 * anything. Expected in a box: both die with it. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_vfork_blocked");
    ready_open();
    pid_t parent = spawn();
    if (parent < 0)
        inconclusive("fork");
    if (parent == 0) {
        setsid();
        pid_t child = vfork();
        if (child == 0) {
            ready();
            for (;;)
                pause();
        }
        _exit(INCONCLUSIVE);
    }
    await_ready(1);
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)parent);
    for (int tries = 0;; tries++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (got <= 0)
            inconclusive("read /proc/PID/stat");
        text[got] = 0;
        char *end = strrchr(text, ')');
        if (end && end[2] == 'D')
            break;
        if (tries > 1000000)
            inconclusive("the parent is not blocked in vfork");
    }
    armed(argc, argv, "parent blocked in vfork, state D");
}
