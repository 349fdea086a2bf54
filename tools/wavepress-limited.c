/* Runs a program within limits, without new privileges, and for as long as the thread lives that has started it:
 *     wavepress-limited [NAME=VALUE ...] PROGRAM [ARGUMENT ...]
 * The names are those of setrlimit(2): cpu, fsize, nofile, core, as. Each value is the soft and the hard limit.
 *
 * util-linux' prlimit and setpriv do the same, one after the other; wavepress uses them where this is not built. This
 * starts in less than half of their time, which counts for a short recording.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* What a shell, prlimit and setpriv exit with, too. */
enum { CANNOT_RUN = 126, NOT_FOUND = 127 };

static const struct {
    const char *name;
    int resource;
} LIMITS[] = {
    {"cpu=", RLIMIT_CPU}, {"fsize=", RLIMIT_FSIZE}, {"nofile=", RLIMIT_NOFILE}, {"core=", RLIMIT_CORE}, {"as=", RLIMIT_AS},
};

static void fail(const char *what)
{
    int status = errno == ENOENT ? NOT_FOUND : CANNOT_RUN;
    fprintf(stderr, "wavepress-limited: %s: %s\n", what, strerror(errno));
    exit(status);
}

/* Sets a limit and returns 1, or returns 0 if this is none. */
static int set_limit(const char *argument)
{
    for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
        size_t length = strlen(LIMITS[i].name);
        if (strncmp(argument, LIMITS[i].name, length) != 0)
            continue;
        char *end;
        errno = 0;
        rlim_t value = strtoull(argument + length, &end, 10);
        if (errno == 0 && (end == argument + length || *end != '\0'))
            errno = EINVAL;
        if (errno != 0 || setrlimit(LIMITS[i].resource, &(struct rlimit){value, value}) != 0)
            fail(argument);
        return 1;
    }
    return 0;
}

int main(int count, char **arguments)
{
    int next = 1;
    while (next < count && set_limit(arguments[next]))
        next++;
    if (next == count) {
        fputs("usage: wavepress-limited [NAME=VALUE ...] PROGRAM [ARGUMENT ...]\n", stderr);
        return CANNOT_RUN;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        fail("prctl");
    execv(arguments[next], arguments + next);
    fail(arguments[next]);
}
