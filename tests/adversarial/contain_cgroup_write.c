/* Leaving the box by moving to another cgroup: every cgroup.procs, tasks and release_agent that can be
 * reached is opened for writing, and a cgroup file system of our own is mounted. Expected in a box:
 * there is none to open, the mount is EPERM, and /proc/self/cgroup shows / only. */
#include "attack.h"
#include <ftw.h>
#include <sys/mount.h>

static int found;

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    static const char *names[] = {"cgroup.procs", "tasks", "release_agent", "cgroup.kill", "notify_on_release"};
    for (size_t i = 0; type == FTW_F && i < sizeof names / sizeof *names; i++)
        if (strcmp(path + ftw->base, names[i]) == 0 && found++ < 50)
            tried(path, open(path, O_WRONLY | O_CLOEXEC));
    return 0;
}

int main(void)
{
    attack("contain_cgroup_write");
    nftw("/sys", visit, 16, FTW_PHYS);
    nftw("/proc/1/root/sys/fs/cgroup", visit, 16, FTW_PHYS);
    say("found: %d files of a cgroup file system", found);
    mkdir("/tmp/cg", 0700);
    /* Not in a pen: the one cgroup2 of the host would take on the options of this mount. */
    if (in_box())
        tried("mount(cgroup2)", mount("none", "/tmp/cg", "cgroup2", 0, NULL));
    tried("mount(cgroup)", mount("none", "/tmp/cg", "cgroup", 0, "memory"));
    char line[512];
    FILE *own = fopen("/proc/self/cgroup", "r");
    if (!own)
        inconclusive("/proc/self/cgroup");
    while (fgets(line, sizeof line, own)) {
        line[strcspn(line, "\n")] = 0;
        const char *path = strrchr(line, ':');
        if (in_box() && path && strstr(path, "rustbox-"))
            tried("the box's cgroup is visible from inside", 0);
    }
    conclude();
}
