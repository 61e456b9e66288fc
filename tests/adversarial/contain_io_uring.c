/* io_uring: system calls that no filter sees, because the kernel makes them itself (isolate 2.6 was left that
 * way to AF_VSOCK). Expected in a box: EPERM for setup, enter and register. Without the filter it opens. */
#include "attack.h"

int main(void)
{
    attack("contain_io_uring");
    unsigned char parameters[120] = {0};
    int ring = (int)syscall(SYS_io_uring_setup, 4, parameters);
    tried("io_uring_setup", ring);
    if (in_box()) {
        int descriptor = ring < 0 ? 0 : ring;
        tried("io_uring_enter", syscall(SYS_io_uring_enter, descriptor, 1, 0, 0, NULL, 0));
        tried("io_uring_register", syscall(SYS_io_uring_register, descriptor, 2, NULL, 1));
    }
    conclude();
}
