/* What every payload of this directory shares: how it learns whether it may attack, how it tells
 * what it tried, and the exit codes.
 *
 * A payload attacks in three places only:
 *   in a box     the kernel says so: all its uids and gids are one number of the range that rustbox
 *                leases, no_new_privs is set, and it holds no capability. A name is never asked.
 *   in a target  another sandbox inside such a pen: a resource limit says so, see in_target().
 *   in a pen     the harness's control run. CONTAIN_PEN names a cgroup that the harness made, with a
 *                ceiling on processes, and the kernel confirms that this process is in it.
 * Anywhere else it says "not in a box", touches nothing and returns NOT_IN_BOX.
 *
 * Every process of an attack burns a fuse: should containment fail, it ends by itself after
 * FUSE_SECONDS, so that a red test does not leave a daemon on the machine for good.
 */
#ifndef ATTACK_H
#define ATTACK_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CONTAINED = 0,     /* every attempt failed as it should, or the attack is set up and runs on */
    ESCAPED = 90,      /* an attempt succeeded */
    INCONCLUSIVE = 91, /* the attack could not be tried: proves nothing */
    NOT_IN_BOX = 92,   /* started bare: did nothing */
};

enum { FUSE_SECONDS = 60, BOX_UID_FIRST = 70000, BOX_UID_LAST = 70999, TARGET_MARK = 600613 };

static const char *attack_name;
static int attack_escapes;

/* One line on stdout, in one write, so that lines of several processes do not mix. */
__attribute__((format(printf, 1, 2), unused)) static void say(const char *format, ...)
{
    char line[512];
    int at = snprintf(line, sizeof line, "%s: ", attack_name);
    va_list list;
    va_start(list, format);
    int more = vsnprintf(line + at, sizeof line - (size_t)at - 1, format, list);
    va_end(list);
    at = at + more < (int)sizeof line - 1 ? at + more : (int)sizeof line - 2;
    line[at++] = '\n';
    if (write(1, line, (size_t)at) < 0)
        _exit(INCONCLUSIVE);
}

__attribute__((noreturn, unused)) static void inconclusive(const char *what)
{
    say("inconclusive: %s: %s", what, strerrorname_np(errno) ? strerrorname_np(errno) : "0");
    _exit(INCONCLUSIVE);
}

/* Tells one attempt and its errno; a result of 0 or more is an escape. Returns the result. */
__attribute__((unused)) static long tried(const char *what, long result)
{
    const char *name = result < 0 ? strerrorname_np(errno) : "OK";
    say("tried: %s = %s", what, name ? name : "?");
    if (result >= 0)
        attack_escapes++;
    return result;
}

/* Opens, tells, and closes again: that it could be opened is the evidence, nothing is done with it. */
__attribute__((unused)) static long tried_open(const char *path, int flags)
{
    char what[200];
    const char *how = (flags & O_ACCMODE) == O_RDONLY ? "O_RDONLY" : (flags & O_ACCMODE) == O_WRONLY ? "O_WRONLY" : "O_RDWR";
    snprintf(what, sizeof what, "open(%.180s, %s)", path, how);
    int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    tried(what, fd);
    if (fd >= 0)
        close(fd);
    return fd;
}

/* The verdict of a payload whose attempts have all been told through tried(). */
__attribute__((noreturn, unused)) static void conclude(void)
{
    say(attack_escapes ? "escaped: %d attempts succeeded" : "contained", attack_escapes);
    exit(attack_escapes ? ESCAPED : CONTAINED);
}

static int no_capability(void)
{
    char text[4096], *line;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return 0;
    text[got] = 0;
    line = strstr(text, "\nCapEff:");
    return line && strtoull(line + 8, NULL, 16) == 0;
}

/* In another sandbox, by the harness's word: a limit that nobody else sets, which exec, namespaces and a change of
 * uid keep, and which only the pen around that sandbox has set. */
static int in_target(void)
{
    struct rlimit mark;
    return getrlimit(RLIMIT_MSGQUEUE, &mark) == 0 && mark.rlim_cur == TARGET_MARK && mark.rlim_max == TARGET_MARK;
}

static int in_box(void)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    if (in_target())
        return 1;
    if (getresuid(&r, &e, &s) || getresgid(&gr, &ge, &gs))
        return 0;
    return r == e && e == s && gr == ge && ge == gs && r == gr && r >= BOX_UID_FIRST && r <= BOX_UID_LAST &&
           prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && no_capability();
}

__attribute__((unused)) static int in_pen(void)
{
    const char *pen = getenv("CONTAIN_PEN");
    char text[4096], want[128];
    if (!pen || strncmp(pen, "containment-pen-", 16) || strlen(pen) > 100)
        return 0;
    int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (got <= 0)
        return 0;
    text[got] = 0;
    snprintf(want, sizeof want, "/%s\n", pen);
    return strstr(text, want) != NULL;
}

/* First statement of every main(): returns only where the payload may attack. */
__attribute__((unused)) static void attack(const char *name)
{
    attack_name = name;
    signal(SIGPIPE, SIG_IGN);
    if (!in_box() && !in_pen()) {
        say("not in a box: nothing was tried");
        exit(NOT_IN_BOX);
    }
    alarm(FUSE_SECONDS);
}

/* fork() with a fuse of its own: alarm() is not inherited. */
__attribute__((unused)) static pid_t spawn(void)
{
    pid_t pid = fork();
    if (pid == 0)
        alarm(FUSE_SECONDS);
    return pid;
}

/* A pipe over which the part of the attack that stays behind says that it is in place. The main
 * process must not end before: an attack that was never set up proves nothing. */
static int ready_pipe[2];

__attribute__((unused)) static void ready_open(void)
{
    if (pipe2(ready_pipe, O_CLOEXEC))
        inconclusive("pipe2");
}

__attribute__((unused)) static void ready(void)
{
    if (write(ready_pipe[1], "r", 1) != 1)
        _exit(INCONCLUSIVE);
}

__attribute__((unused)) static void await_ready(int count)
{
    char byte;
    close(ready_pipe[1]);
    for (int i = 0; i < count; i++)
        if (read(ready_pipe[0], &byte, 1) != 1)
            inconclusive("the attack did not get into place");
}

/* Announces what stays behind, and leaves the main process: with "stay" as first argument it lives on. */
__attribute__((noreturn, unused)) static void armed(int argc, char **argv, const char *what)
{
    say("armed: %s", what);
    while (argc > 1 && strcmp(argv[1], "stay") == 0)
        pause();
    _exit(CONTAINED);
}

__attribute__((noreturn, unused)) static void forever(void)
{
    for (;;)
        pause();
}

#endif
