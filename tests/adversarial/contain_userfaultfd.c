/* userfaultfd: a page fault of the kernel's that we answer when we like, which stretches every race in it.
 * Expected in a box: EPERM, and no /dev/userfaultfd. Without the filter the user mode of it opens. */
#include "attack.h"

int main(void)
{
    attack("contain_userfaultfd");
    enum { USER_MODE_ONLY = 1 };
    tried("userfaultfd(user mode)", syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY));
    tried("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
    tried_open("/dev/userfaultfd", O_RDWR);
    conclude();
}
