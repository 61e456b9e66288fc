/* Prints what the kernel says about this process (uid, gid, groups, capabilities, no_new_privs,
 * seccomp, session, keyring) and tries to get back each power it may have had: uids, gids, groups,
 * capabilities, securebits, no_new_privs, dumpable, a looser seccomp. Expected in a box: EPERM, and
 * EINVAL for clearing no_new_privs. */
#include "attack.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>

int main(void)
{
    attack("contain_credentials");
    static const char *wanted[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
                                   "CapAmb:", "NoNewPrivs:", "Seccomp:", "Seccomp_filters:", "SigBlk:", "SigIgn:"};
    char line[512];
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        inconclusive("/proc/self/status");
    while (fgets(line, sizeof line, status))
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strncmp(line, wanted[i], strlen(wanted[i])) == 0) {
                line[strcspn(line, "\n")] = 0;
                say("is: %s", line);
            }
    fclose(status);
    say("is: session %d group %d pid %d parent %d", getsid(0), getpgrp(), getpid(), getppid());
    gid_t zero = 0;
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
    tried("setresuid(0)", setresuid(0, 0, 0));
    tried("setuid(0)", setuid(0));
    tried("seteuid(0)", seteuid(0));
    tried("setresgid(0)", setresgid(0, 0, 0));
    tried("setgroups(0)", setgroups(1, &zero));
    tried("capset(all)", syscall(SYS_capset, &header, all));
    tried("PR_CAPBSET_DROP(1)", prctl(PR_CAPBSET_DROP, CAP_CHOWN, 0, 0, 0));
    tried("PR_CAP_AMBIENT_RAISE", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0));
    tried("PR_SET_SECUREBITS(0)", prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS, 0, 0, 0));
    tried("PR_SET_NO_NEW_PRIVS(0)", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    tried("setuid(another uid of the range)", setuid(getuid() == BOX_UID_LAST ? BOX_UID_FIRST : getuid() + 1));
    int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        tried("write /proc/self/loginuid", write(fd, "0", 1));
    fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        tried("write /proc/self/oom_score_adj -1000", write(fd, "-1000", 5));
    conclude();
}
