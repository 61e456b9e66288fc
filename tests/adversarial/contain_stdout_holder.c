/* A child that keeps standard output and error open, and a second one that is blocked in a write to
 * them: whoever waits for the end of the output waits for ever. Expected in a box: the run ends with
 * the main process. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_stdout_holder");
    ready_open();
    for (int which = 0; which < 2; which++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid > 0)
            continue;
        setsid();
        for (int fd = 10; fd < 20; fd++)
            dup2(fd % 2 ? 1 : 2, fd);
        if (which == 1 && argc > 2 && strcmp(argv[2], "write") == 0) {
            static char block[65536];
            ready();
            for (;;)
                if (write(1, block, sizeof block) < 0)
                    forever();
        }
        ready();
        forever();
    }
    await_ready(2);
    armed(argc, argv, "two holders of stdout and stderr");
}
