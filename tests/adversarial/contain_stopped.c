/* Children that stop themselves (SIGSTOP, and SIGTSTP in a session of their own): a stopped process
 * does not answer SIGTERM. The main process ends only when the kernel confirms that they are
 * stopped. Expected in a box: killed with the box. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_stopped");
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = spawn();
        if (pids[i] < 0)
            inconclusive("fork");
        if (pids[i] == 0) {
            for (;;)
                raise(SIGSTOP);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status;
        if (waitpid(pids[i], &status, WUNTRACED) != pids[i] || !WIFSTOPPED(status))
            inconclusive("a child did not stop");
    }
    if (argc > 2 && strcmp(argv[2], "self") == 0) {
        say("armed: four stopped children, and now the main process stops");
        raise(SIGSTOP);
    }
    armed(argc, argv, "four stopped children");
}
