/* The classic way out of a root that is only a directory: keep a descriptor of the root, chroot below it, and
 * climb up from the descriptor; then pivot_root, and ".." from the root itself. Expected in a box: EPERM, and
 * "/.." is "/". In a pen, as root, the chroot succeeds. */
#include "attack.h"

int main(void)
{
    attack("contain_chroot");
    char directory[] = "/tmp/contain-XXXXXX";
    if (!mkdtemp(directory))
        inconclusive("mkdtemp");
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat up, here;
    if (root < 0 || stat("/..", &up) || stat("/", &here))
        inconclusive("stat /");
    if (up.st_ino != here.st_ino || up.st_dev != here.st_dev)
        tried("/.. is above /", 0);
    else
        say("tried: stat(/..) = the root itself");
    tried("pivot_root(., .)", syscall(SYS_pivot_root, ".", "."));
    int inside = chroot(directory);
    tried("chroot", inside);
    if (inside == 0) {
        tried("fchdir(descriptor of the old root)", fchdir(root));
        for (int i = 0; i < 64; i++)
            if (chdir(".."))
                break;
        tried("chroot(.) at the top", chroot("."));
    }
    rmdir(directory);
    conclude();
}
