/* Settings by which the kernel starts a program on the host, or does worse: core_pattern, modprobe, the uevent
 * helper, sysrq, and settings of the host as a whole. They are opened for writing and nothing is written: that
 * they open is the hole. Expected in a box: EROFS, EACCES or ENOENT. In a pen, as root, they open. */
#include "attack.h"
#include <linux/magic.h>
#include <sys/vfs.h>

/* What is bound over a file to hide it may be opened: it is not the file. */
static int is_a_mask(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC;
}

int main(void)
{
    attack("contain_core_pattern");
    static const char *files[] = {
        "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",      "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",     "/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/pid_max",
        "/proc/sys/fs/suid_dumpable",    "/proc/sys/kernel/hostname",      "/proc/sys/vm/drop_caches",
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (is_a_mask(files[i]))
            say("tried: open(%s, O_WRONLY) = a mask", files[i]);
        else
            tried_open(files[i], O_WRONLY);
    conclude();
}
