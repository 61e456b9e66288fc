/* Typing into the terminal that the run was started from: TIOCSTI, the same with high bits set in the
 * request (which a 64-bit filter misses), TIOCLINUX, and /dev/tty. Standard input must be a terminal;
 * the harness reads its master side. Expected in a box: EPERM from the filter, ENXIO or ENOENT for
 * /dev/tty, a session of its own. */
#include "attack.h"
#include <sys/ioctl.h>

int main(void)
{
    attack("contain_tiocsti");
    if (!isatty(0))
        inconclusive("standard input is no terminal");
    char typed = 'X', selection[] = {3, 0};
    tried("ioctl(TIOCSTI)", syscall(SYS_ioctl, 0L, (long)TIOCSTI, &typed));
    tried("ioctl(TIOCSTI with high bits)", syscall(SYS_ioctl, 0L, (long)TIOCSTI | (1L << 32), &typed));
    tried("ioctl(TIOCLINUX)", syscall(SYS_ioctl, 0L, (long)TIOCLINUX, selection));
    tried("ioctl(TIOCLINUX with high bits)", syscall(SYS_ioctl, 0L, (long)TIOCLINUX | (1L << 33), selection));
    tried("open(/dev/tty)", open("/dev/tty", O_RDWR | O_CLOEXEC));
    tried("ioctl(TIOCSCTTY)", ioctl(0, TIOCSCTTY, 0));
    pid_t foreground = tcgetpgrp(0);
    if (foreground > 0)
        tried("the terminal is ours: tcgetpgrp", foreground);
    conclude();
}
