/* A tree of processes each of which clears its parent-death signal, again and again, in a session of
 * its own. What kills a box when its supervisor dies must not hang on a mark that the payload can
 * remove. Expected in a box whose supervisor is killed: nothing is left. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_pdeathsig_cleared");
    ready_open();
    if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0))
        inconclusive("prctl(PR_SET_PDEATHSIG, 0)");
    for (int i = 0; i < 3; i++) {
        pid_t child = spawn();
        if (child < 0)
            inconclusive("fork");
        if (child == 0) {
            setsid();
            if (spawn() != 0)
                _exit(0);
            int armed_with = -1;
            if (prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0) || prctl(PR_GET_PDEATHSIG, &armed_with, 0, 0, 0) || armed_with)
                _exit(INCONCLUSIVE);
            ready();
            forever();
        }
    }
    await_ready(3);
    armed(argc, argv, "three orphans without a parent-death signal");
}
