/* A grandchild in a session of its own, whose parents have both ended: the classic daemon that a
 * process tree forgets. Expected in a box: it is reaped or killed by the box's init, and the report
 * counts it among the processes that had left the session. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_double_fork");
    ready_open();
    pid_t child = spawn();
    if (child < 0)
        inconclusive("fork");
    if (child == 0) {
        setsid();
        pid_t grandchild = spawn();
        if (grandchild != 0)
            _exit(grandchild < 0 ? INCONCLUSIVE : 0);
        /* Wait until the kernel has given us away, so that main ends beside a true orphan. */
        pid_t parent = getppid();
        for (long spins = 0; getppid() == parent && parent != 1 && spins < 100000000; spins++)
            ;
        ready();
        forever();
    }
    if (waitpid(child, NULL, 0) != child)
        inconclusive("waitpid");
    await_ready(1);
    armed(argc, argv, "orphaned grandchild in its own session");
}
