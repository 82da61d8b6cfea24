// loop open|stat DIR FILES ROUNDS: opens (and closes), or stats, DIR/0000 .. DIR/(FILES-1), ROUNDS
// times over, and prints the nanoseconds that this took, and those of the round to which nine of
// ten are slower: what else the machine does meanwhile disturbs most, and that one little. The
// timed part holds nothing else. It begins when standard input yields a byte or ends: a benchmark
// attaches its tracer before.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int touch(int do_open, const char *path)
{
    struct stat unused;
    if (!do_open)
        return stat(path, &unused);
    int fd = open(path, O_RDONLY);
    return fd < 0 ? -1 : close(fd);
}

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    long long left = *(const long long *)a, right = *(const long long *)b;
    return (left > right) - (left < right);
}

int main(int argc, char **argv)
{
    int files = argc == 5 ? atoi(argv[3]) : 0, rounds = argc == 5 ? atoi(argv[4]) : 0;
    if (files < 1 || rounds < 1) {
        fprintf(stderr, "usage: loop open|stat DIR FILES ROUNDS\n");
        return 2;
    }
    int do_open = strcmp(argv[1], "open") == 0;
    char(*paths)[256] = calloc(files, sizeof *paths);
    long long *took = calloc(rounds, sizeof *took);
    for (int i = 0; i < files; i++)
        snprintf(paths[i], sizeof *paths, "%s/%04d", argv[2], i);

    char go;
    if (read(STDIN_FILENO, &go, 1) < 0) {
        perror("standard input");
        return 1;
    }
    long long begin = now(), last = begin;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < files; i++)
            if (touch(do_open, paths[i]) != 0) {
                perror(paths[i]);
                return 1;
            }
        long long end = now();
        took[round] = end - last;
        last = end;
    }
    qsort(took, rounds, sizeof *took, ascending);
    printf("%lld %lld\n", last - begin, took[rounds / 10]);
    return 0;
}
