#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
static void *run(void *x) { return x; }
int main(int n, char **v) { pthread_t t; pthread_create(&t, 0, run, 0); pthread_join(t, 0); printf("%.0f %d\n", sqrt(n * 1764.0), v != NULL); return 0; }
