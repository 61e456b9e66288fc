/* Takes the names of others: the comm and the command line of rustbox's own processes, of the kernel's and
 * of a forged line of /proc, from a program file that is deleted. Who audits by name takes it for one of its
 * own, or not for a process at all. Expected in a box: killed with it, by what the kernel knows. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_rename");
    static const char *names[] = {"rustbox-init", "kworker/u8:3", "x) Z 1 1\nUid:\t0", "rustbox-keeper", ""};
    ready_open();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pid_t pid = spawn();
        if (pid < 0)
            inconclusive("fork");
        if (pid > 0)
            continue;
        setsid();
        if (spawn() != 0)
            _exit(0);
        clearenv();
        size_t room = strlen(argv[0]);
        memset(argv[0], 0, room);
        memcpy(argv[0], names[i], strlen(names[i]) < room ? strlen(names[i]) : room);
        prctl(PR_SET_NAME, names[i], 0, 0, 0);
        ready();
        /* And again and again: a name that was read a moment ago is another one now. */
        for (int turns = 0; turns < 1000; turns++)
            prctl(PR_SET_NAME, names[turns % 2 ? i : 0], 0, 0, 0);
        prctl(PR_SET_NAME, names[i], 0, 0, 0);
        forever();
    }
    await_ready(sizeof names / sizeof *names);
    armed(argc, argv, "five daemons with forged names");
}
