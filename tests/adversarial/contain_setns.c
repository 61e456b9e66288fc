/* Joins the namespaces of another: /proc/PID/ns/ of init (or of the pid given), and a pidfd, which joins many
 * at once. Expected in a box: the links of init cannot be opened, and setns is EPERM by the filter. In a pen,
 * as root, they are joined. */
#include "attack.h"
#include <sched.h>

int main(int argc, char **argv)
{
    attack("contain_setns");
    pid_t target = argc > 1 ? atoi(argv[1]) : 1;
    static const struct { const char *name; int flag; } kinds[] = {
        {"mnt", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},       {"ipc", CLONE_NEWIPC},
        {"uts", CLONE_NEWUTS}, {"user", CLONE_NEWUSER}, {"cgroup", CLONE_NEWCGROUP},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64], what[96];
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)target, kinds[i].name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(what, sizeof what, "setns(%s of init)", kinds[i].name);
        tried(what, fd < 0 ? -1 : setns(fd, kinds[i].flag));
        if (fd >= 0)
            close(fd);
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i].name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        snprintf(what, sizeof what, "setns(own %s)", kinds[i].name);
        if (in_box())
            tried(what, fd < 0 ? -1 : setns(fd, kinds[i].flag));
    }
    int pidfd = (int)syscall(SYS_pidfd_open, in_box() ? getpid() : target, 0);
    tried("setns(pidfd)", pidfd < 0 ? -1 : setns(pidfd, CLONE_NEWUTS | CLONE_NEWIPC));
    conclude();
}
