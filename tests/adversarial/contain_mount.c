/* Every way to change what is mounted: old calls, new mount API, pivot_root, chroot, umount of what
 * masks something. Expected in a box: EPERM for each, from the filter; without the filter EPERM for
 * want of CAP_SYS_ADMIN. In a pen (root, private mount namespace) the mounts succeed. */
#include "attack.h"
#include <sys/mount.h>

int main(void)
{
    attack("contain_mount");
    mkdir("/tmp/m", 0700);
    mkdir("/tmp/n", 0700);
    tried("mount(tmpfs)", mount("none", "/tmp/m", "tmpfs", 0, NULL));
    tried("mount(proc)", mount("none", "/tmp/n", "proc", 0, NULL));
    tried("mount(bind)", mount("/", "/tmp/m", NULL, MS_BIND | MS_REC, NULL));
    tried("mount(remount)", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    tried("fsopen(tmpfs)", syscall(SYS_fsopen, "tmpfs", 0));
    tried("open_tree(clone)", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    unsigned long attributes[4] = {0, 1, 0, 0};
    tried("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, attributes, sizeof attributes));
    if (in_box()) {
        tried("move_mount", syscall(SYS_move_mount, AT_FDCWD, "/tmp", AT_FDCWD, "/tmp/n", 0));
        tried("umount2(/proc)", umount2("/proc", MNT_DETACH));
        tried("umount2(/tmp)", umount2("/tmp", MNT_DETACH));
        tried("pivot_root", syscall(SYS_pivot_root, ".", "."));
        tried("chroot", chroot("/tmp"));
    }
    umount2("/tmp/n", MNT_DETACH);
    umount2("/tmp/m", MNT_DETACH);
    umount2("/tmp/m", MNT_DETACH);
    rmdir("/tmp/n");
    rmdir("/tmp/m");
    conclude();
}
