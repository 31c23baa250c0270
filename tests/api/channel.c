/* SPDX-License-Identifier: BSD-2-Clause
 * A channel on top of the library: channel PICTURE.jpg OUTPUT SECONDS DEVICE...
 *
 * Three clips of the demo model, each going on where the one before ends, as one stream of rgb24. A thread makes
 * them, on the first of the devices ("auto", a number, ...), after a fault of it on the next one; a clip that takes
 * longer than SECONDS is given up, and ends the channel. The next clip is made while the present one is written.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <turbodiff.h>

enum { N_CLIPS = 3 };

typedef struct Clip {
    unsigned char *rgb;              /* its frames, one after the other; NULL: not made yet */
    int n_frames;
} Clip;

static struct {
    char **devices;                  /* those that are left, the present one first; NULL at the end */
    double seconds, deadline;
    TDContext *td;
    TDInfo info;                     /* of the model, on any device */
    pthread_mutex_t lock;            /* of what follows */
    pthread_cond_t changed;
    Clip clips[N_CLIPS];
    int begun, written, ended;       /* clips; whether the thread makes no more */
} ch = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void on_line(void *cookie, int level, const char *line)
{
    (void)cookie;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

/* the library asks often: a clip that has had its time ends with ECANCELED */
static int is_overdue(void *cookie)
{
    (void)cookie;
    return ch.deadline > 0 && now() > ch.deadline;
}

static int open_model(void)
{
    TDSettings s;

    td_default_settings(&s, sizeof(s));
    s.image_to_video = 1;            /* no file is named: the demo model */
    s.card = ch.devices[0];
    s.logger.callback = on_line;
    s.interrupt = is_overdue;
    return td_open(&ch.td, &s);
}

/* all frames of a clip, and the picture that the next one begins with */
static int make(Clip *clip, const TDParams *p, float *last)
{
    size_t size = (size_t)ch.info.default_width * ch.info.default_height * 3;
    TDFrame f;
    int ret;

    ch.deadline = now() + ch.seconds;
    if ((ret = td_start(ch.td, p)) < 0)
        return ret;
    clip->n_frames = 0;
    for (;;) {
        memset(&f, 0, sizeof(f));
        f.format = TD_PIX_RGB24;
        f.data[0] = clip->rgb + clip->n_frames * size;
        f.stride[0] = ch.info.default_width * 3;
        if ((ret = td_read_frame(ch.td, &f)) <= 0)
            return ret;
        if (++clip->n_frames == ch.info.default_frames && (ret = td_last_picture(ch.td, last)) < 0)
            return ret;
    }
}

static void *work(void *image)
{
    static const char *const prompts[N_CLIPS] = {
        "a red circle moves to the right", "a red circle stays", "a red circle shrinks"
    };
    size_t size = (size_t)ch.info.default_width * ch.info.default_height * 3;
    float *last = malloc(2 * size * sizeof(*last)), *from = last + size;
    int ret = last ? 0 : TD_ERR(ENOMEM);

    for (int i = 0; i < N_CLIPS && ret == 0; i++) {
        Clip clip = { malloc(size * (size_t)ch.info.default_frames), 0 };
        TDParams p;

        pthread_mutex_lock(&ch.lock);
        while (i > ch.written + 1)                           /* one clip ahead of the one that is written */
            pthread_cond_wait(&ch.changed, &ch.lock);
        ch.begun = i + 1;
        pthread_cond_broadcast(&ch.changed);
        pthread_mutex_unlock(&ch.lock);
        td_default_params(&p, sizeof(p));
        p.prompt = prompts[i];
        p.seed = (uint64_t)i;
        p.image = i ? NULL : image;
        p.picture = i ? from : NULL;
        ret = clip.rgb ? make(&clip, &p, last) : TD_ERR(ENOMEM);
        while (ret == TD_ERR(EIO) && ch.devices[1]) {        /* the context is of no more use */
            td_close(&ch.td);
            ch.devices++;
            ret = open_model();
            if (ret == 0)
                ret = make(&clip, &p, last);
        }
        if (ret < 0) {
            fprintf(stderr, "clip %d is given up: %s\n", i, td_strerror(ret));
            free(clip.rgb);
            break;
        }
        memcpy(from, last, size * sizeof(*from));
        pthread_mutex_lock(&ch.lock);
        ch.clips[i] = clip;
        pthread_cond_broadcast(&ch.changed);
        pthread_mutex_unlock(&ch.lock);
    }
    free(last);
    pthread_mutex_lock(&ch.lock);
    ch.ended = 1;
    pthread_cond_broadcast(&ch.changed);
    pthread_mutex_unlock(&ch.lock);
    return NULL;
}

int main(int argc, char **argv)
{
    TDImage image = { 0 };
    TDLogger logger = { NULL, on_line, TD_LOG_ERROR };
    pthread_t thread;
    FILE *out = argc > 4 ? fopen(argv[2], "wb") : NULL;

    if (!out || td_image_load_jpeg(&image, argv[1], &logger) < 0)
        return 2;
    ch.seconds = atof(argv[3]);
    ch.devices = argv + 4;
    if (open_model() < 0 || td_get_info(ch.td, &ch.info, sizeof(ch.info)) < 0 ||
        pthread_create(&thread, NULL, work, &image))
        return 2;
    for (int i = 0; i < N_CLIPS; i++) {
        size_t size = (size_t)ch.info.default_width * ch.info.default_height * 3;
        int first = i > 0;                                   /* the same picture as the one before it */

        pthread_mutex_lock(&ch.lock);
        while (!ch.clips[i].rgb && !ch.ended)
            pthread_cond_wait(&ch.changed, &ch.lock);
        pthread_mutex_unlock(&ch.lock);
        if (!ch.clips[i].rgb)
            break;
        for (int n = first; n < ch.clips[i].n_frames; n++) {
            if (n == first + 1) {                            /* the one that is next is being made by now */
                pthread_mutex_lock(&ch.lock);
                while (ch.begun <= i + 1 && !ch.ended)
                    pthread_cond_wait(&ch.changed, &ch.lock);
                pthread_mutex_unlock(&ch.lock);
            }
            fwrite(ch.clips[i].rgb + n * size, 1, size, out);
        }
        free(ch.clips[i].rgb);
        pthread_mutex_lock(&ch.lock);
        printf("clip %d is written, clip %d is begun\n", i, ch.begun - 1);
        ch.written++;
        pthread_cond_broadcast(&ch.changed);
        pthread_mutex_unlock(&ch.lock);
    }
    pthread_join(thread, NULL);
    td_close(&ch.td);
    td_image_free(&image);
    return fclose(out) || ch.written < N_CLIPS;
}
