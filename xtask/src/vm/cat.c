/* cat(1) of the guest. Busybox looks at argv[0] to know what it is, and a test starts cat under another name. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static int copy(int from) {
    char buffer[65536];
    ssize_t length;
    while ((length = read(from, buffer, sizeof buffer)) > 0) {
        for (ssize_t done = 0; done < length;) {
            ssize_t written = write(1, buffer + done, (size_t)(length - done));
            if (written < 0) {
                perror("cat: write");
                return 1;
            }
            done += written;
        }
    }
    if (length < 0)
        perror("cat: read");
    return length < 0;
}

int main(int argc, char **argv) {
    int failed = argc < 2 ? copy(0) : 0;
    for (int i = 1; i < argc; i++) {
        int file = open(argv[i], O_RDONLY | O_CLOEXEC);
        if (file < 0) {
            perror(argv[i]);
            failed = 1;
            continue;
        }
        failed |= copy(file);
        close(file);
    }
    return failed;
}
