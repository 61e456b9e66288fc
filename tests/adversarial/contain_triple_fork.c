/* Three forks deep, each generation in a session of its own and gone before the next one acts: nobody who
 * follows parents finds the last one. Expected in a box: killed with it. */
#include "attack.h"

static void generation(int left)
{
    pid_t parent = getpid(), pid = spawn();
    if (pid < 0)
        _exit(INCONCLUSIVE);
    if (pid > 0)
        return;
    setsid();
    if (left > 0) {
        generation(left - 1);
        _exit(0);
    }
    /* The parent's end is awaited, so that the one who stays is an orphan and known to be one. */
    for (long spins = 0; getppid() == parent && spins < 100000000; spins++)
        ;
    ready();
    forever();
}

int main(int argc, char **argv)
{
    attack("contain_triple_fork");
    ready_open();
    for (int i = 0; i < 3; i++)
        generation(2);
    await_ready(3);
    armed(argc, argv, "three orphans, three generations and three sessions away");
}
