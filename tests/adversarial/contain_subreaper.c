/* A process that makes itself the reaper of its descendants and then reaps none: orphans do not
 * come to the box's init, and zombies pile up below it. Expected in a box: nothing is left, and the
 * zombies are gone too. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_subreaper");
    ready_open();
    pid_t reaper = spawn();
    if (reaper < 0)
        inconclusive("fork");
    if (reaper == 0) {
        setsid();
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
            _exit(INCONCLUSIVE);
        for (int i = 0; i < 6; i++) {
            pid_t child = spawn();
            if (child < 0)
                _exit(INCONCLUSIVE);
            if (child == 0) {
                /* Its child is an orphan at once; half of those become zombies of the reaper. */
                if (spawn() == 0) {
                    ready();
                    if (i % 2)
                        forever();
                }
                _exit(0);
            }
        }
        forever();
    }
    await_ready(6);
    armed(argc, argv, "a subreaper with zombies and live orphans");
}
