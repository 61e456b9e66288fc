/* Lives on from a program that is in no file system: copied into a memfd, sealed, executed from there, and the
 * descriptor passed on through a socket whose ends are closed but for each other. Expected in a box: killed
 * with it, whatever its executable is called. */
#include "attack.h"
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    attack("contain_memfd");
    if (argc > 1 && strcmp(argv[1], "ghost") == 0) {
        ready_pipe[1] = atoi(argv[2]);
        ready();
        forever();
    }
    int source = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), ghost = (int)memfd_create("ghost", MFD_ALLOW_SEALING);
    struct stat st;
    if (source < 0 || ghost < 0 || fstat(source, &st) || sendfile(ghost, source, NULL, (size_t)st.st_size) != st.st_size)
        inconclusive("memfd_create");
    fcntl(ghost, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    int pair[2];
    if (pipe(ready_pipe) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        inconclusive("pipe");
    /* A socket in its own queue: kept alive by the kernel's garbage collection alone. */
    union { struct cmsghdr header; char space[CMSG_SPACE(2 * sizeof(int))]; } control = {0};
    struct iovec byte = {"x", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int))};
    memcpy(CMSG_DATA(&control.header), (int[]){pair[1], ghost}, 2 * sizeof(int));
    if (sendmsg(pair[0], &message, 0) != 1)
        inconclusive("sendmsg");
    pid_t child = spawn();
    if (child == 0) {
        setsid();
        char number[16], *arguments[] = {"[ghost]", "ghost", number, NULL};
        snprintf(number, sizeof number, "%d", ready_pipe[1]);
        extern char **environ;
        fexecve(ghost, arguments, environ);
        _exit(INCONCLUSIVE);
    }
    await_ready(1);
    armed(argc, argv, "a process whose program is in no file system");
}
