/* Device nodes: a block or memory device is the whole host. Expected in a box: EPERM for each, and
 * the devices that /dev does hold are the harmless ones. */
#include "attack.h"
#include <dirent.h>
#include <sys/sysmacros.h>

int main(void)
{
    attack("contain_mknod");
    char directory[] = "/tmp/contain-XXXXXX";
    if (!mkdtemp(directory) || chdir(directory))
        inconclusive("mkdtemp");
    tried("mknod(c 1:1)", mknod("mem", S_IFCHR | 0600, makedev(1, 1)));
    tried("mknod(c 1:3)", mknod("null", S_IFCHR | 0600, makedev(1, 3)));
    tried("mknod(b 7:0)", mknod("loop0", S_IFBLK | 0600, makedev(7, 0)));
    tried("mknod(b 259:0)", mknod("disk", S_IFBLK | 0600, makedev(259, 0)));
    unlink("mem");
    unlink("null");
    unlink("loop0");
    unlink("disk");
    if (chdir("/") || rmdir(directory))
        inconclusive("rmdir");
    DIR *dev = opendir("/dev");
    struct stat st;
    for (struct dirent *entry; dev && (entry = readdir(dev));) {
        if (fstatat(dirfd(dev), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 1))) {
            say("found: /dev/%s", entry->d_name);
            int fd = openat(dirfd(dev), entry->d_name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
            tried("open a block or memory device", fd);
        }
    }
    conclude();
}
