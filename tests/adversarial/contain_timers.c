/* An orphan that sleeps, and is woken by timers of three kinds to make itself anew: a POSIX timer, an interval
 * timer, a timer descriptor. Nothing runs at the moment when a killer looks. Expected in a box: killed. */
#include "attack.h"
#include <poll.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>

static void woken(int number)
{
    (void)number;
    if (spawn() != 0)
        _exit(0);
}

int main(int argc, char **argv)
{
    attack("contain_timers");
    ready_open();
    for (int kind = 0; kind < 3; kind++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid > 0)
            continue;
        setsid();
        struct itimerspec often = {{0, 2000000}, {0, 2000000}};
        struct itimerval seldom = {{0, 2000}, {0, 2000}};
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        timer_t timer;
        signal(SIGUSR1, woken);
        signal(SIGVTALRM, woken);
        int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        if (fd < 0 || timerfd_settime(fd, 0, &often, NULL))
            _exit(INCONCLUSIVE);
        ready();
        /* Timers are not inherited by a fork, so each generation arms its own. */
        for (int turns = 0; turns < 200; turns++) {
            if (kind == 0 && (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL)))
                _exit(INCONCLUSIVE);
            if (kind == 1)
                setitimer(ITIMER_VIRTUAL, &seldom, NULL);
            struct pollfd readable = {.fd = fd, .events = POLLIN};
            if (kind != 2 || poll(&readable, 1, -1) < 0)
                poll(NULL, 0, 20);
            unsigned long long expired;
            if (kind == 2 && read(fd, &expired, sizeof expired) > 0)
                woken(0);
        }
        forever();
    }
    await_ready(3);
    armed(argc, argv, "three sleepers that timers make anew");
}
