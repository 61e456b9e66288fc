/* As many processes as the first argument says (2,000 by the battery), half of them orphans in sessions of
 * their own: a kill that goes process by process is outrun. Expected in a box: all killed, and the time until
 * it is empty is measured. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_many_processes");
    int wanted = argc > 1 ? atoi(argv[1]) : 2000;
    ready_open();
    for (int i = 0; i < wanted; i++) {
        /* vfork would block; a plain fork of this small program is as cheap as it gets. */
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid > 0)
            continue;
        if (i % 2)
            setsid();
        ready();
        forever();
    }
    await_ready(wanted);
    armed(0, NULL, "as many processes as asked for");
}
