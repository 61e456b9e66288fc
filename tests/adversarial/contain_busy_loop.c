/* One process that computes for ever, with SIGXCPU, SIGPROF and SIGVTALRM ignored. Expected in a box
 * with --time: TLE, tle_cpu. */
#include "attack.h"

int main(void)
{
    attack("contain_busy_loop");
    signal(SIGXCPU, SIG_IGN);
    signal(SIGPROF, SIG_IGN);
    signal(SIGVTALRM, SIG_IGN);
    say("armed: endless loop");
    for (volatile unsigned long turns = 0;; turns++)
        ;
}
