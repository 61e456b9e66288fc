/* CPU time spent by children that live for a few milliseconds each: whoever samples processes, or adds
 * up those that are alive, misses it. Expected in a box with --time: TLE, tle_cpu, close to the limit.
 * The first argument is the CPU time in milliseconds after which it gives up. */
#include "attack.h"
#include <sys/resource.h>
#include <time.h>

static double cpu_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    attack("contain_cpu_children");
    double most = argc > 1 ? atof(argv[1]) : 5000;
    for (;;) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid == 0) {
            /* A grandchild does the work, so that it is nobody's waited-for child but init's. */
            if (spawn() == 0)
                while (cpu_ms(CLOCK_PROCESS_CPUTIME_ID) < 3)
                    ;
            while (cpu_ms(CLOCK_PROCESS_CPUTIME_ID) < 3)
                ;
            _exit(0);
        }
        waitpid(pid, NULL, 0);
        struct rusage children;
        getrusage(RUSAGE_CHILDREN, &children);
        double used = (double)children.ru_utime.tv_sec * 1e3 + (double)children.ru_utime.tv_usec / 1e3;
        if (used > most)
            break;
    }
    tried("burn CPU time in short-lived children", (long)most);
    conclude();
}
