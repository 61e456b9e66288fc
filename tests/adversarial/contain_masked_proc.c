/* What /proc and /sys tell about the host, and whether what masks it is what it seems (runc CVE-2025-31133: a
 * mask that was a link of the attacker's): kernel memory, keys, symbols, timers, locks, mounts of others, and
 * /dev/null itself must be the device 1:3. Expected in a box: EACCES, ENOENT, or nothing to read. In a pen, as
 * root, they can be read. */
#include "attack.h"
#include <sys/sysmacros.h>

int main(void)
{
    attack("contain_masked_proc");
    static const char *files[] = {"/proc/kcore",      "/proc/keys",       "/proc/kallsyms",   "/proc/timer_list",
                                  "/proc/kmsg",       "/proc/kpageflags", "/proc/sched_debug", "/proc/vmallocinfo",
                                  "/proc/slabinfo",   "/proc/iomem",      "/proc/1/mountinfo", "/sys/kernel/notes",
                                  "/sys/firmware/memmap", "/proc/scsi/scsi", "/dev/mem",       "/dev/kmsg"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char what[96], text[64];
        int fd = open(files[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text);
        if (fd >= 0)
            close(fd);
        snprintf(what, sizeof what, "read(%s)", files[i]);
        /* Addresses that read as zero tell nothing. */
        if (got == 0 || (got > 17 && strncmp(text, "00000000-00000000", 17) == 0))
            say("tried: %s = nothing to read", what);
        else
            tried(what, got);
    }
    struct stat st;
    if (lstat("/dev/null", &st) || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
        tried("/dev/null is something else", 0);
    else
        say("tried: lstat(/dev/null) = character device 1:3");
    conclude();
}
