/* daemon(3) by the book: new session, second fork, working directory /, descriptors on /dev/null,
 * SIGHUP ignored, environment and name wiped. Expected in a box: killed with the box, counted in
 * left_session. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_daemon");
    ready_open();
    if (dup2(ready_pipe[1], 63) != 63)
        inconclusive("dup2");
    pid_t child = spawn();
    if (child < 0)
        inconclusive("fork");
    if (child == 0) {
        signal(SIGHUP, SIG_IGN);
        if (daemon(0, 0))
            _exit(INCONCLUSIVE);
        if (spawn() != 0)
            _exit(0);
        umask(0);
        clearenv();
        memset(argv[0], 'k', strlen(argv[0]));
        prctl(PR_SET_NAME, "kworker/0:1", 0, 0, 0);
        ready();
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        forever();
    }
    close(63);
    if (waitpid(child, NULL, 0) != child)
        inconclusive("waitpid");
    await_ready(1);
    armed(argc, argv, "daemon with a forged name");
}
