/* The release agent of cgroup v1 (CVE-2022-0492): a program that the kernel starts as root, on the host, when
 * a cgroup becomes empty. Every release_agent that can be reached is opened for writing, a hierarchy of our own
 * is mounted, and a user namespace is made to get the right to do so. Expected in a box: none is there, EPERM.
 * In a pen, as root, it can be opened; nothing is written. */
#include "attack.h"
#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>

int main(void)
{
    attack("contain_release_agent");
    int found = 0;
    DIR *mounts = opendir("/sys/fs/cgroup");
    for (struct dirent *entry; mounts && (entry = readdir(mounts));) {
        char path[180];
        snprintf(path, sizeof path, "/sys/fs/cgroup/%.120s/release_agent", entry->d_name);
        if (entry->d_name[0] == '.' || access(path, F_OK))
            continue;
        found++;
        tried_open(path, O_WRONLY);
    }
    say("found: %d release agents", found);
    if (!found) {
        /* Named, without a controller, so that it takes none away from anybody; gone with the unmount. */
        mkdir("/tmp/contain-ra", 0700);
        int mounted = mount("none", "/tmp/contain-ra", "cgroup", 0, "none,name=contain");
        tried("mount(cgroup v1)", mounted);
        if (mounted == 0) {
            tried_open("/tmp/contain-ra/release_agent", O_WRONLY);
            umount2("/tmp/contain-ra", MNT_DETACH);
        }
        rmdir("/tmp/contain-ra");
    }
    if (in_box())
        tried("unshare(CLONE_NEWUSER | CLONE_NEWCGROUP)", unshare(CLONE_NEWUSER | CLONE_NEWCGROUP | CLONE_NEWNS));
    conclude();
}
