/* Four processes that do nothing but fork, let the parent end, and execute themselves again: their
 * pid, command line and start time change all the time, so whoever lists and then kills by pid comes
 * too late. Expected in a box: all of them are gone when the run is. */
#include "attack.h"

static void churn(char *name, char *self, int first)
{
    char *again[] = {name, self, "churn", NULL};
    if (first)
        ready();
    for (int tries = 0; tries < 1000; tries++) {
        pid_t pid = spawn();
        if (pid > 0)
            _exit(0);
        if (pid == 0) {
            execv(self, again);
            _exit(INCONCLUSIVE);
        }
    }
    /* The process limit holds: keep on executing without the fork. */
    alarm(FUSE_SECONDS);
    execv(self, again);
}

int main(int argc, char **argv)
{
    attack("contain_exec_churn");
    if (argc > 2 && strcmp(argv[2], "churn") == 0)
        churn("churn", argv[1], 0);
    ready_open();
    char self[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        inconclusive("readlink /proc/self/exe");
    self[length] = 0;
    for (int i = 0; i < 4; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0)
            churn("churn", self, 1);
    }
    await_ready(4);
    armed(argc, argv, "four chains of fork and exec");
}
