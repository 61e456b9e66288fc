/* Overwriting the runtime through /proc/PID/exe (runc CVE-2019-5736): every process that can be named
 * is tried, for writing and as a path to be opened again. Expected in a box: EACCES for its init.
 * ETXTBSY counts as an escape: permission was there, the file was only busy. */
#include "attack.h"

int main(int argc, char **argv)
{
    attack("contain_exe_write");
    pid_t first = argc > 1 ? atoi(argv[1]) : 1;
    const char *files[] = {"exe", "mem", "root/etc/passwd", "cwd"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[96], what[160];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)first, files[i]);
        for (int as_path = 0; as_path < 2; as_path++) {
            int fd = open(path, as_path ? O_PATH | O_CLOEXEC : O_RDWR | O_CLOEXEC);
            if (fd < 0 && errno == ETXTBSY)
                fd = 1000;
            snprintf(what, sizeof what, "open(%s, %s)", path, as_path ? "O_PATH" : "O_RDWR");
            /* O_PATH of a directory entry that no permission guards is harmless only for mem. */
            if (as_path && i == 1)
                continue;
            tried(what, fd);
        }
    }
    conclude();
}
