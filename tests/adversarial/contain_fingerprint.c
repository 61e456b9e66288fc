/* Prints everything that a box is made of, as this process sees it: ids, groups, capabilities,
 * no_new_privs, seccomp, signals, namespaces, cgroup, descriptors, limits, mounts, umask, directory,
 * host name, keyring, who else there is. Two prints of the same kind of box are the same; one that was
 * set up with a fault must be, too. An orphan that clears its death signal stays behind, so that
 * there is something to kill. Expected in every box: this same print, and nothing left. */
#include "attack.h"
#include <dirent.h>
#include <linux/keyctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static void lines(const char *path, const char *const *wanted)
{
    static char line[4096];
    FILE *file = fopen(path, "re");
    if (!file)
        inconclusive(path);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        int found = !wanted;
        for (int i = 0; wanted && wanted[i]; i++)
            found |= strncmp(line, wanted[i], strlen(wanted[i])) == 0;
        if (found)
            say("%s %s", path, line);
    }
    fclose(file);
}

static void links(const char *directory, int own_fd_is_shown)
{
    static char path[512], target[512];
    DIR *all = opendir(directory);
    if (!all)
        inconclusive(directory);
    for (struct dirent *entry; (entry = readdir(all));) {
        if (entry->d_name[0] == '.' || (!own_fd_is_shown && atoi(entry->d_name) == dirfd(all)))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        target[length < 0 ? 0 : length] = 0;
        say("%s %s", path, target);
    }
    closedir(all);
}

int main(void)
{
    static const char *const status[] = {"Umask:", "Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
                                         "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "SigBlk:",
                                         "SigIgn:", "SigCgt:", "NSpid:", "NSsid:", "CoreDumping:", NULL};
    attack("contain_fingerprint");
    ready_open();
    if (spawn() == 0) {
        prctl(PR_SET_PDEATHSIG, 0);
        setsid();
        ready();
        forever();
    }
    await_ready(1);
    close(ready_pipe[0]);
    say("armed: an orphan without a parent-death signal");
    lines("/proc/self/status", status);
    lines("/proc/self/cgroup", NULL);
    lines("/proc/self/mountinfo", NULL);
    lines("/proc/self/limits", NULL);
    lines("/proc/self/oom_score_adj", NULL);
    links("/proc/self/ns", 1);
    links("/proc/self/fd", 0);
    struct utsname host;
    char directory[512] = "";
    if (uname(&host) || !getcwd(directory, sizeof directory))
        inconclusive("uname, getcwd");
    say("host %s directory %s dumpable %d", host.nodename, directory, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
    say("session %d group %d pid %d parent %d", getsid(0), getpgrp(), getpid(), getppid());
    say("keyring %ld", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0));
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc));)
        if (atoi(entry->d_name) > 0)
            say("sees process %s", entry->d_name);
    say("complete");
    return CONTAINED;
}
