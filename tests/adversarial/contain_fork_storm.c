/* Every process forks as fast as it can, for ever. The main process ends when the kernel has refused
 * a fork, which is the evidence that the process limit holds; the storm goes on behind it. Expected
 * in a box: pids_refusals above 0, nothing left. With "exec" each child executes itself first. */
#include "attack.h"

static void storm(const char *self)
{
    for (;;) {
        pid_t pid = spawn();
        if (pid == 0 && self) {
            char *again[] = {"storm", "storm", (char *)self, NULL};
            execv(self, again);
        }
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
}

int main(int argc, char **argv)
{
    attack("contain_fork_storm");
    if (argc > 2 && strcmp(argv[1], "storm") == 0)
        storm(argv[2]);
    int with_exec = argc > 2 && strcmp(argv[2], "exec") == 0;
    for (int count = 0;; count++) {
        pid_t pid = spawn();
        if (pid == 0)
            storm(with_exec ? argv[0] : NULL);
        if (pid < 0 && errno == EAGAIN)
            break;
        if (pid < 0)
            inconclusive("fork");
        if (count > 5000)
            break;
    }
    armed(argc, argv, "fork storm at the process limit");
}
