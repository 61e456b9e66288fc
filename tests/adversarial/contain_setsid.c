/* Children in sessions and process groups of their own: a kill of the process group or of the
 * session misses them. Expected in a box: killed, and left_session counts them. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_setsid");
    ready_open();
    for (int i = 0; i < 3; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0) {
            if (i == 0 ? setpgid(0, 0) : setsid() < 0)
                _exit(INCONCLUSIVE);
            ready();
            forever();
        }
    }
    await_ready(3);
    armed(argc, argv, "three children, two of them in sessions of their own");
}
