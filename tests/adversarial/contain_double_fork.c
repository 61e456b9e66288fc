/* A grandchild in a session of its own, whose parents have both ended: the classic daemon that a
 * process tree forgets. Expected in a box: it is reaped or killed by the box's init, and the report
 * counts it among the processes that had left the session. */
#include "attack.h"

/* An orphan that ends by itself: somebody has to reap it. In a box that is init, and its pid is then gone. */
static void orphan_that_ends(void)
{
    int announced[2];
    pid_t orphan = 0;
    if (pipe2(announced, O_CLOEXEC))
        inconclusive("pipe2");
    pid_t child = spawn();
    if (child == 0) {
        orphan = spawn();
        if (orphan == 0)
            _exit(0);
        _exit(write(announced[1], &orphan, sizeof orphan) == sizeof orphan ? 0 : INCONCLUSIVE);
    }
    if (child < 0 || read(announced[0], &orphan, sizeof orphan) != sizeof orphan || waitpid(child, NULL, 0) != child)
        inconclusive("an orphan");
    for (long tries = 0; kill(orphan, 0) == 0; tries++)
        if (tries > 1000000)
            inconclusive("nobody reaps orphans");
}

int main(int argc, char **argv)
{
    attack("contain_double_fork");
    if (in_box())
        orphan_that_ends();
    ready_open();
    pid_t child = spawn();
    if (child < 0)
        inconclusive("fork");
    if (child == 0) {
        setsid();
        pid_t parent = getpid(), grandchild = spawn();
        if (grandchild != 0)
            _exit(grandchild < 0 ? INCONCLUSIVE : 0);
        /* Wait until the kernel has given us away, so that main ends beside a true orphan. */
        for (long spins = 0; getppid() == parent; spins++)
            if (spins > 10000000)
                _exit(INCONCLUSIVE);
        ready();
        forever();
    }
    if (waitpid(child, NULL, 0) != child)
        inconclusive("waitpid");
    await_ready(1);
    armed(argc, argv, "orphaned grandchild in its own session");
}
