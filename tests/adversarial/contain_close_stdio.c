/* Closes its standard streams and those of a child that stays, puts other things in their places, and ends
 * with 7: a supervisor that takes the end of the output for the end of the run, or a closed pipe for an error
 * of its own, reports something else. Expected in a box: RE with exactly 7, and the child killed. */
#include "attack.h"

int main(int argc, char **argv)
{
    (void)argc, (void)argv;
    attack("contain_close_stdio");
    ready_open();
    say("armed: streams are closed next");
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    pid_t child = spawn();
    if (child < 0)
        _exit(INCONCLUSIVE);
    if (child == 0) {
        setsid();
        for (int fd = 0; fd < 3; fd++)
            if (open("/dev/null", O_RDWR) < 0)
                _exit(INCONCLUSIVE);
        ready();
        forever();
    }
    char byte;
    close(ready_pipe[1]);
    if (read(ready_pipe[0], &byte, 1) != 1)
        _exit(INCONCLUSIVE);
    _exit(7);
}
