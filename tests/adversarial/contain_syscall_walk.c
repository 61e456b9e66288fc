/* Every number from 0 to 1024, by the native table, by the x32 bit and by int 0x80, with arguments of which no kernel
 * can make anything. What the policy denies whatever the arguments must answer exactly so; a number beyond the
 * kernel's table, and every number of another ABI, must answer ENOSYS. A child makes the calls, so that one which does not
 * return ends nobody else. Expected in a box: as listed. Without the filter the kernel's own errors come through. */
#include "attack.h"
#include <sys/mman.h>
#include <sys/time.h>

/* Newer than some headers. */
#ifndef SYS_statmount
#define SYS_statmount 457
#define SYS_listmount 458
#endif
#ifndef SYS_open_tree_attr
#define SYS_open_tree_attr 467
#endif

enum { LAST = 1024, BEYOND_THE_TABLE = 469, X32 = 0x40000000, UNANSWERED = -4096, LEFT_OUT = -4097 };

/* The lists of docs/seccomp.md: a test compares them. */
static const int denied_eperm[] = {
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_fspick, SYS_open_tree,
    SYS_open_tree_attr, SYS_move_mount, SYS_mount_setattr, SYS_setns, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev,
    SYS_pidfd_getfd, SYS_kcmp, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_keyctl, SYS_add_key, SYS_request_key,
    SYS_open_by_handle_at, SYS_name_to_handle_at, SYS_fanotify_init, SYS_fanotify_mark, SYS_init_module,
    SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot, SYS_swapon, SYS_swapoff,
    SYS_acct, SYS_quotactl, SYS_quotactl_fd, SYS_syslog, SYS_vhangup, SYS_sethostname, SYS_setdomainname, SYS_iopl,
    SYS_ioperm, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_move_pages,
    SYS_migrate_pages,
};
static const int denied_enosys[] = {
    SYS_statmount, SYS_listmount, SYS_clone3, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_openat2, SYS_memfd_secret,
    SYS_modify_ldt, SYS_uselib, SYS_ustat, SYS_sysfs, SYS__sysctl, SYS_create_module, SYS_get_kernel_syms,
    SYS_query_module, SYS_nfsservctl, SYS_getpmsg, SYS_putpmsg, SYS_afs_syscall, SYS_tuxcall, SYS_security,
    SYS_lookup_dcookie, SYS_epoll_ctl_old, SYS_epoll_wait_old, SYS_vserver,
};
/* They make a process or end one; without the filter they are the kernel's own business. */
static const int left_out[] = {SYS_fork, SYS_vfork, SYS_clone, SYS_exit, SYS_exit_group};

static int is_in(const int *list, size_t count, int number)
{
    while (count-- > 0)
        if (list[count] == number)
            return 1;
    return 0;
}
#define IS_IN(list, number) is_in(list, sizeof list / sizeof *list, number)

static long by_int80(long number)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(-1), "c"(-1), "d"(-1) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static long made(int door, int number)
{
    if (door == 2)
        return by_int80(number);
    long result = syscall(door ? X32 | number : number, -1L, -1L, -1L, -1L, -1L, -1L);
    return result < 0 ? -errno : result;
}

/* Calls one number after the other; one that does not come back costs a child, and the next goes on behind it. */
static void walk(int door, volatile long *answers)
{
    static const struct itimerval soon = {{0, 0}, {0, 50000}};
    volatile long *next = &answers[LAST + 1];
    for (*next = 0; *next <= LAST;) {
        pid_t child = spawn();
        if (child < 0)
            inconclusive("fork");
        while (child == 0 && *next <= LAST) {
            int number = (int)(*next)++;
            answers[number] = door == 0 && IS_IN(left_out, number) ? LEFT_OUT : UNANSWERED;
            if (answers[number] == LEFT_OUT)
                continue;
            signal(SIGALRM, SIG_DFL);
            setitimer(ITIMER_REAL, &soon, NULL);
            answers[number] = made(door, number);
        }
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
}

static long expected(int door, int number)
{
    if (door || number > BEYOND_THE_TABLE || IS_IN(denied_enosys, number))
        return -ENOSYS;
    return IS_IN(denied_eperm, number) ? -EPERM : 0;
}

int main(void)
{
    static const char *const doors[] = {"by the native table", "by the x32 bit", "by int 0x80"};
    attack("contain_syscall_walk");
    size_t bytes = (LAST + 2) * sizeof(long);
    volatile long *answers = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (answers == MAP_FAILED)
        inconclusive("mmap");
    for (int door = 0; door < 3; door++) {
        int wrong = 0, held = 0;
        walk(door, answers);
        for (int number = 0; number <= LAST; number++) {
            long wanted = expected(door, number);
            held += wanted && answers[number] == wanted;
            if (wanted && answers[number] != wanted && ++wrong <= 10)
                say("call %d %s answered %ld, not %ld", number, doors[door], answers[number], wanted);
        }
        say("walked: %d calls %s answered as listed, %d did not", held, doors[door], wrong);
        char what[64];
        snprintf(what, sizeof what, "a denied call %s", doors[door]);
        errno = EPERM;
        if (wrong)
            tried(what, wrong);
        else
            say("tried: %s = never answered", what);
        if (attack_escapes)
            break;
    }
    conclude();
}
