/* The main process and four children ignore every signal that can be ignored and block all others.
 * Whoever asks politely waits for ever. Expected in a box: the wall limit ends it (TLE, tle_wall). */
#include "attack.h"

int main(void)
{
    attack("contain_sigterm_ignore");
    ready_open();
    sigset_t all;
    sigfillset(&all);
    for (int number = 1; number <= SIGRTMAX; number++)
        if (number != SIGALRM)
            signal(number, SIG_IGN);
    sigdelset(&all, SIGALRM); /* the fuse */
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < 4; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0) {
            ready();
            forever();
        }
    }
    await_ready(4);
    for (int number = SIGTERM; number == SIGTERM; number++)
        raise(number);
    say("armed: five processes that ignore and block every signal");
    forever();
}
