/* Forks until the kernel refuses, and fails because of it, as a program does that needed the process.
 * The first argument is the number of children that it wants. Expected in a box with a lower limit:
 * PLE, ple_pids, and the payload's own code 1. With "threads" it makes threads instead. */
#include "attack.h"
#include <pthread.h>

static void *wait_for_ever(void *unused)
{
    (void)unused;
    forever();
}

int main(int argc, char **argv)
{
    attack("contain_pids_limit");
    int wanted = argc > 1 ? atoi(argv[1]) : 100, threads = argc > 2 && strcmp(argv[2], "threads") == 0;
    for (int i = 0; i < wanted; i++) {
        pthread_t thread;
        int failed = 0;
        if (threads) {
            pthread_attr_t small;
            pthread_attr_init(&small);
            pthread_attr_setstacksize(&small, 65536);
            failed = errno = pthread_create(&thread, &small, wait_for_ever, NULL);
        } else {
            pid_t pid = spawn();
            if (pid == 0)
                forever();
            failed = pid < 0;
        }
        if (failed) {
            say("tried: %d children = %s after %d", wanted, strerrorname_np(errno), i);
            return errno == EAGAIN ? 1 : INCONCLUSIVE;
        }
    }
    tried("as many children as wanted", wanted);
    kill(0, SIGCONT);
    conclude();
}
