/* Two unrelated processes that watch each other through pipes: as soon as one dies, the other forks
 * it again. Killing them one after the other never ends. Expected in a box: both die at once. */
#include "attack.h"
#include <poll.h>

static void guard(int mine, int theirs);

/* Starts the partner: it writes nothing, it only keeps its end of a pipe open while it lives. */
static void start_partner(int *watched)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        _exit(INCONCLUSIVE);
    for (;;) {
        pid_t pid = spawn();
        if (pid == 0) {
            close(there[1]);
            close(back[0]);
            setsid();
            if (spawn() != 0)
                _exit(0);
            guard(back[1], there[0]);
        }
        if (pid > 0)
            break;
    }
    close(there[0]);
    close(back[1]);
    *watched = back[0];
}

static void guard(int mine, int theirs)
{
    (void)mine;
    ready();
    for (int respawns = 0; respawns < 100000; respawns++) {
        struct pollfd poll_one = {.fd = theirs, .events = POLLIN};
        while (poll(&poll_one, 1, -1) < 0 && errno == EINTR)
            ;
        close(theirs);
        start_partner(&theirs);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    attack("contain_respawning_pair");
    ready_open();
    int watched;
    pid_t first = spawn();
    if (first < 0)
        inconclusive("fork");
    if (first == 0) {
        setsid();
        start_partner(&watched);
        guard(-1, watched);
    }
    await_ready(2);
    armed(argc, argv, "two processes that respawn each other");
}
