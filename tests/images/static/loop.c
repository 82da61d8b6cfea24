// loop open|stat DIR FILES ROUNDS: opens (and closes), or stats, DIR/0000 .. DIR/(FILES-1), ROUNDS
// times over, and prints the nanoseconds that this took: the timed part holds nothing else. It
// begins when standard input yields a byte or ends: a benchmark attaches its tracer before.
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

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: loop open|stat DIR FILES ROUNDS\n");
        return 2;
    }
    int do_open = strcmp(argv[1], "open") == 0;
    int files = atoi(argv[3]), rounds = atoi(argv[4]);
    char(*paths)[256] = calloc(files, sizeof *paths);
    for (int i = 0; i < files; i++)
        snprintf(paths[i], sizeof *paths, "%s/%04d", argv[2], i);

    char go;
    if (read(STDIN_FILENO, &go, 1) < 0) {
        perror("standard input");
        return 1;
    }
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < files; i++)
            if (touch(do_open, paths[i]) != 0) {
                perror(paths[i]);
                return 1;
            }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%lld\n", (end.tv_sec - begin.tv_sec) * 1000000000LL + (end.tv_nsec - begin.tv_nsec));
    return 0;
}
