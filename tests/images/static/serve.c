// serve PORT FILE: a one-thread HTTP server that answers every request with FILE, read anew each time.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int signal)
{
    _exit(signal == SIGTERM ? 0 : 1);
}

static void answer(int client, const char *path)
{
    char request[4096], body[4096], head[128];
    if (read(client, request, sizeof request) <= 0)
        return;
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, body, sizeof body);
    close(file);
    int length = snprintf(head, sizeof head, "HTTP/1.0 %s\r\nContent-Length: %zd\r\n\r\n",
                          size < 0 ? "404 Not Found" : "200 OK", size < 0 ? 0 : size);
    if (write(client, head, length) == length && size > 0 && write(client, body, size) != size)
        perror("write");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: serve PORT FILE\n");
        return 2;
    }
    signal(SIGTERM, stop);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 16) != 0) {
        perror("listen");
        return 1;
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        answer(client, argv[2]);
        close(client);
    }
}
