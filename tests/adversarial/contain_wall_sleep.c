/* Does nothing, for longer than anybody wants to wait, and uses no CPU time at all. Expected in a box
 * with --wall-time: TLE, tle_wall. */
#include "attack.h"

int main(void)
{
    attack("contain_wall_sleep");
    say("armed: asleep");
    forever();
}
