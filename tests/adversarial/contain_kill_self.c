/* Ends itself with the signal given as the first argument, or with the exit code given as the second.
 * Expected in a box: SIG with exactly that signal, or RE with exactly that code, whatever it is; a
 * raised SIGSYS or SIGXFSZ is not mistaken for a limit. */
#include "attack.h"
#include <sys/resource.h>

int main(int argc, char **argv)
{
    attack("contain_kill_self");
    if (argc > 2)
        return atoi(argv[2]);
    int number = argc > 1 ? atoi(argv[1]) : SIGKILL;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(number, SIG_DFL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, number);
    sigprocmask(SIG_UNBLOCK, &only, NULL);
    kill(getpid(), number);
    inconclusive("the signal did not end us");
}
