/* A binary format of our own (binfmt_misc): the kernel would start an interpreter that we name, with the file
 * of others, on the host. Expected in a box: nothing to register with, and the mount is EPERM. In a pen, as
 * root in a mount namespace of its own, it can be opened; nothing is registered. */
#include "attack.h"
#include <sys/mount.h>

int main(void)
{
    attack("contain_binfmt");
    tried_open("/proc/sys/fs/binfmt_misc/register", O_WRONLY);
    mkdir("/tmp/contain-bm", 0700);
    int mounted = mount("none", "/tmp/contain-bm", "binfmt_misc", 0, NULL);
    tried("mount(binfmt_misc)", mounted);
    if (mounted == 0) {
        tried_open("/tmp/contain-bm/register", O_WRONLY);
        umount2("/tmp/contain-bm", MNT_DETACH);
    }
    tried("fsopen(binfmt_misc)", syscall(SYS_fsopen, "binfmt_misc", 0));
    rmdir("/tmp/contain-bm");
    conclude();
}
