/* SPDX-License-Identifier: BSD-2-Clause
 * tsclock: what a receiver of MPEG-TS over UDP sees of the sender's clock. usage: tsclock PORT SECONDS
 *
 * 1. Listens at 127.0.0.1. The first PCR after SETTLE seconds sets the clocks equal, as a receiver follows the sender
 *    after a while: a muxer begins with what an encoder has kept, at once. From there on the last line says, in
 *    seconds:
 *    "PACKETS pcrs N behind B ahead A gap G": how far PCRs came after and before their time, and the longest time
 *    between two packets that begin a picture (payload_unit_start of the stream with the PCR).
 * 2. Ends SECONDS after the first datagram, or 60 s after the last; status 1 where there was no PCR. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PACKET 188
#define SETTLE 5.0

typedef struct Clock {
    long packets, pcrs;
    int pid;                                     /* of the stream with the PCR; -1: none yet */
    double began, first_here, first_pcr, last_picture;
    double behind, ahead, gap;
} Clock;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + t.tv_nsec / 1e9;
}

static void see(Clock *c, const uint8_t *p, double here)
{
    int pid = (p[1] & 0x1f) << 8 | p[2], has_field = p[3] & 0x20;
    double pcr, late;

    if (!c->packets++)
        c->began = here;
    if (here - c->began < SETTLE)
        return;
    if (has_field && p[4] >= 7 && p[5] & 0x10) {
        uint64_t base = (uint64_t)p[6] << 25 | (uint64_t)p[7] << 17 | (uint64_t)p[8] << 9 | (uint64_t)p[9] << 1 |
                        p[10] >> 7;

        pcr = (double)(base * 300 + ((uint64_t)(p[10] & 1) << 8 | p[11])) / 27e6;
        if (!c->pcrs++) {
            c->pid = pid;
            c->first_here = here;
            c->first_pcr = pcr;
        }
        late = here - c->first_here - (pcr - c->first_pcr);
        c->behind = late > c->behind ? late : c->behind;
        c->ahead = -late > c->ahead ? -late : c->ahead;
    }
    if (pid == c->pid && p[1] & 0x40) {
        if (c->last_picture > 0 && here - c->last_picture > c->gap)
            c->gap = here - c->last_picture;
        c->last_picture = here;
    }
}

int main(int argc, char **argv)
{
    Clock c = { .pid = -1 };
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { .tv_sec = 60 };
    int room = 4 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    double seconds = argc > 2 ? atof(argv[2]) : 0;
    uint8_t buf[65536];

    at.sin_port = htons((uint16_t)(argc > 2 ? atoi(argv[1]) : 0));
    if (argc != 3 || fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
        fprintf(stderr, "tsclock: %s; want a port and a number of seconds\n",
                argc == 3 ? strerror(errno) : "not 2 arguments");
        return 2;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    while (!c.packets || now() < c.began + seconds) {
        ssize_t n = recv(fd, buf, sizeof(buf), 0);

        if (n < 0)
            break;
        for (ssize_t i = 0; i + PACKET <= n && buf[i] == 0x47; i += PACKET)
            see(&c, buf + i, now());
    }
    printf("%ld pcrs %ld behind %.3f ahead %.3f gap %.3f\n", c.packets, c.pcrs, c.behind, c.ahead, c.gap);
    close(fd);
    return !c.pcrs;
}
