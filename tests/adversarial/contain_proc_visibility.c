/* Which processes does /proc show? Expected in a box: only its own, so no number but those of the
 * box's own PID namespace: 1 (if at all), this process and its child. */
#include "attack.h"
#include <dirent.h>

int main(void)
{
    attack("contain_proc_visibility");
    pid_t child = spawn();
    if (child == 0)
        forever();
    DIR *proc = opendir("/proc");
    if (!proc)
        inconclusive("opendir /proc");
    int seen_self = 0, strangers = 0;
    for (struct dirent *entry; (entry = readdir(proc));) {
        int pid = atoi(entry->d_name);
        if (pid <= 0)
            continue;
        if (pid == getpid())
            seen_self = 1;
        else if (pid != 1 && pid != child)
            strangers++;
    }
    if (!seen_self)
        inconclusive("/proc does not show this very process");
    /* Not only the listing: every number is tried by name and by signal 0. */
    for (int pid = 2; pid < 33000; pid++) {
        if (pid == getpid() || pid == child)
            continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        if (access(path, F_OK) == 0 || kill(pid, 0) == 0 || errno == EPERM)
            strangers++;
    }
    kill(child, SIGKILL);
    if (strangers)
        tried("processes of others are visible", strangers);
    else
        say("tried: list /proc, open /proc/N, kill(N, 0) = ENOENT");
    conclude();
}
