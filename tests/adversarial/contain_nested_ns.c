/* Namespaces of our own: a user namespace opens kernel code that only root reaches, a nested PID
 * namespace hides processes from the box's init. Expected under the default filter: EPERM for
 * each, ENOSYS for clone3. Without the filter ("--seccomp off") the nested namespace may come to be,
 * and its processes must die with the box all the same: then "armed". */
#include "attack.h"
#include <sched.h>

int main(int argc, char **argv)
{
    attack("contain_nested_ns");
    static const struct { int flag; const char *name; } kinds[] = {
        {CLONE_NEWUSER, "unshare(CLONE_NEWUSER)"}, {CLONE_NEWNS, "unshare(CLONE_NEWNS)"},
        {CLONE_NEWPID, "unshare(CLONE_NEWPID)"},   {CLONE_NEWNET, "unshare(CLONE_NEWNET)"},
        {CLONE_NEWIPC, "unshare(CLONE_NEWIPC)"},   {CLONE_NEWUTS, "unshare(CLONE_NEWUTS)"},
        {CLONE_NEWCGROUP, "unshare(CLONE_NEWCGROUP)"},
    };
    int lifetime = argc > 2 && strcmp(argv[2], "nest") == 0;
    for (size_t i = 0; !lifetime && i < sizeof kinds / sizeof *kinds; i++)
        tried(kinds[i].name, unshare(kinds[i].flag));
    if (!lifetime) {
        tried("clone(CLONE_NEWUSER)", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
        unsigned long arguments[11] = {CLONE_NEWUSER};
        arguments[4] = SIGCHLD;
        tried("clone3(CLONE_NEWUSER)", syscall(SYS_clone3, arguments, sizeof arguments));
        int fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        tried("setns(own mount namespace)", fd < 0 ? -1 : setns(fd, CLONE_NEWNS));
        conclude();
    }
    ready_open();
    pid_t child = spawn();
    if (child == 0) {
        setsid();
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID))
            _exit(errno == EPERM ? 1 : INCONCLUSIVE);
        if (spawn() == 0) {
            if (spawn() >= 0)
                ready();
            forever();
        }
        forever();
    }
    await_ready(2);
    armed(argc, argv, "processes in a nested PID namespace");
}
