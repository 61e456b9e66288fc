/* Doors into kernel code that a program of no importance never needs, each of which has had its flaw: bpf,
 * perf_event_open, the kernel log, modules, kexec, quotas, clocks, I/O ports, fanotify, name handles, the
 * scheduler of others. None is given arguments that could do harm. Expected in a box: EPERM from the filter.
 * In a pen, as root, the kernel log and perf events open. */
#include "attack.h"
#include <linux/perf_event.h>

int main(void)
{
    attack("contain_kernel_surface");
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_TASK_CLOCK};
    tried("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    tried("syslog(size)", syscall(SYS_syslog, 10, NULL, 0));
    tried("fanotify_init", syscall(SYS_fanotify_init, 0, O_RDONLY));
    unsigned char map[72] = {1, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1};
    tried("bpf(BPF_MAP_CREATE)", syscall(SYS_bpf, 0, map, sizeof map));
    if (!in_box())
        conclude();
    int mount_id;
    char handle[128] = {64};
    tried("open_by_handle_at", syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY));
    tried("name_to_handle_at", syscall(SYS_name_to_handle_at, AT_FDCWD, "/", handle, &mount_id, 0));
    tried("init_module", syscall(SYS_init_module, "", 0L, ""));
    tried("finit_module", syscall(SYS_finit_module, -1, "", 0));
    tried("delete_module", syscall(SYS_delete_module, "no-such-module", O_NONBLOCK));
    tried("kexec_load", syscall(SYS_kexec_load, 0L, 0L, NULL, 0L));
    tried("quotactl", syscall(SYS_quotactl, 0, NULL, 0, NULL));
    tried("iopl(3)", syscall(SYS_iopl, 3));
    tried("settimeofday", syscall(SYS_settimeofday, NULL, NULL));
    tried("swapoff", syscall(SYS_swapoff, "/no-such-file"));
    tried("acct", syscall(SYS_acct, "/no-such-file"));
    tried("reboot(wrong magic)", syscall(SYS_reboot, 0, 0, 0, NULL));
    conclude();
}
