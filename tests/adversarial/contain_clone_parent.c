/* Siblings made with CLONE_PARENT: they are children of the box's init, as the main process is, and
 * end with other codes before it does. A supervisor that takes "a child of init has ended" for the
 * end of the main process is told a forged status. The main process ends with 23; the report must
 * say 23, and must not come before. */
#include "attack.h"
#include <sched.h>

enum { TRUE_STATUS = 23 };

static pid_t sibling(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
}

int main(void)
{
    attack("contain_clone_parent");
    ready_open();
    static const int forged[] = {0, 1, 77, 124, 255};
    for (size_t i = 0; i < sizeof forged / sizeof *forged; i++) {
        pid_t pid = sibling();
        if (pid < 0)
            inconclusive("clone(CLONE_PARENT)");
        if (pid == 0) {
            ready();
            _exit(forged[i]);
        }
    }
    pid_t killed = sibling();
    if (killed == 0) {
        alarm(FUSE_SECONDS);
        ready();
        forever();
    }
    pid_t stays = sibling();
    if (stays == 0) {
        alarm(FUSE_SECONDS);
        setsid();
        ready();
        forever();
    }
    if (killed < 0 || stays < 0)
        inconclusive("clone(CLONE_PARENT)");
    await_ready(7);
    kill(killed, SIGKILL);
    /* The forged ends are on their way to init; the true one comes last. */
    for (int i = 0; i < 200; i++)
        sched_yield();
    say("armed: five forged statuses, one killed sibling, one that stays");
    return TRUE_STATUS;
}
