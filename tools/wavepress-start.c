/* Starts a program within limits, without new privileges, and for no longer than the thread lives that calls this; for
 * service/audio/starting.py.
 *
 * Python's subprocess knows none of this. util-linux' prlimit and setpriv do it one after the other, as two programs that
 * must be loaded first. This is a millisecond sooner, which counts for a short recording.
 *
 * Source: the rules for the child of vfork(2), and how CPython's _posixsubprocess.c keeps them.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* on every architecture */
#endif

enum { STANDARD_COUNT = 3, FAILED = 127, MOST_CLOSED_ONE_BY_ONE = 65536 };

/* A resource's number, and the value of its soft and its hard limit. */
typedef const uint64_t limit[2];

struct start {
    char *const *arguments;
    const int *descriptors; /* the program's stdin, stdout and stderr, and one that keeps its number; -1 is none */
    limit *limits;
    size_t limit_count;
};

/* A handler of ours must not run in the child. Python ignores two signals, which a program expects to end it. */
static void reset_signals(void)
{
    struct sigaction action, by_default = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        int is_ignored = sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
        if (!is_ignored || number == SIGPIPE || number == SIGXFSZ)
            sigaction(number, &by_default, NULL);
    }
}

/* Python's own descriptors close by themselves. These are of libraries, and of whoever has started the service. */
static void close_all(unsigned first, unsigned last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    /* Linux before 5.9, or a container that refuses a call it does not know. The limit may be a billion. */
    for (unsigned descriptor = first; descriptor <= last && descriptor < MOST_CLOSED_ONE_BY_ONE; descriptor++)
        close((int)descriptor);
}

/* Gives the program its descriptors and no other. Returns 0, or -1 with errno. */
static int pass_descriptors(const int *descriptors)
{
    int copies[STANDARD_COUNT], more = descriptors[STANDARD_COUNT];
    for (int i = 0; i < STANDARD_COUNT; i++) /* first out of the way of what they become */
        if ((copies[i] = fcntl(descriptors[i], F_DUPFD_CLOEXEC, STANDARD_COUNT)) < 0)
            return -1;
    for (int i = 0; i < STANDARD_COUNT; i++)
        if (dup2(copies[i], i) < 0)
            return -1;
    if (more < STANDARD_COUNT) {
        close_all(STANDARD_COUNT, UINT_MAX);
        return 0;
    }
    close_all(STANDARD_COUNT, (unsigned)more - 1);
    close_all((unsigned)more + 1, UINT_MAX);
    return fcntl(more, F_SETFD, 0);
}

/* Makes this child the program. Returns the error if it cannot. */
static int become(const struct start *start, pid_t parent, const sigset_t *signals)
{
    char *const no_environment[] = {NULL};
    reset_signals();
    if (setpgid(0, 0) != 0 || chdir("/") != 0 || pass_descriptors(start->descriptors) != 0)
        return errno;
    for (size_t i = 0; i < start->limit_count; i++) {
        const rlim_t value = start->limits[i][1];
        if (setrlimit((int)start->limits[i][0], &(struct rlimit){value, value}) != 0)
            return errno;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return errno;
    if (getppid() != parent) /* it was killed before we asked for its end to be ours */
        return ESRCH;
    if (sigprocmask(SIG_SETMASK, signals, NULL) != 0)
        return errno;
    execve(start->arguments[0], start->arguments, no_environment);
    return errno;
}

/* Returns the pid, or an error's number, negative. The program is in a process group of its own, without environment. */
pid_t wavepress_start(char *const *arguments, const int *descriptors, limit *limits, size_t limit_count)
{
    const struct start start = {arguments, descriptors, limits, limit_count};
    const pid_t parent = getpid();
    volatile int error = 0; /* the child shares our memory, and this thread waits until it has become the program */
    sigset_t all, before;
    sigfillset(&all);
    if ((error = pthread_sigmask(SIG_BLOCK, &all, &before)) != 0)
        return -error;
    const pid_t child = vfork();
    if (child == 0) {
        error = become(&start, parent, &before);
        _exit(FAILED);
    }
    if (child < 0)
        error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0 && error != 0)
        waitpid(child, NULL, 0);
    return error == 0 ? child : -error;
}
