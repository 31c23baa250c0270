/* SPDX-License-Identifier: BSD-2-Clause
 * Frames in CUDA memory, and a CUDA context of the caller's. On the CPU backend: what it has to refuse. On a GPU
 * (TD_TEST_BACKEND=cuda): the same pictures in either memory and either context, and the thread's own context kept. The
 * driver library is opened here, as a caller would have done. */
#include <dlfcn.h>
#include <stdlib.h>
#include "golden.h"
#include "small_model.h"

enum { W = 32, H = 32, N = 5, PITCH = 96, BYTES = PITCH * H * 3 };

static char model[256];

static void test_refusals(void)
{
    static uint8_t pixels[W * H * 3];
    TDFrame f = { .format = TD_PIX_RGB24, .data = { pixels }, .stride = { 3 * W }, .memory = TD_MEMORY_CUDA };
    TDContext *c = NULL;
    TDSettings s;
    TDParams p;
    Seen seen;

    test_begin("backend cpu refuses a CUDA context, a CUDA stream and CUDA memory");
    small_settings(&s, &seen, model);
    s.cuda_context = pixels;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    CHECK(c == NULL && strstr(seen.error, "cuda_context or cuda_stream: with backend cpu") != NULL);
    s.cuda_context = NULL;
    s.cuda_stream = pixels;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    s.cuda_stream = NULL;
    s.device = -2;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    CHECK(strstr(seen.error, "device: -2, want -1 or more") != NULL);
    s.device = -1;
    small_params(&p);
    if (!CHECK_INT(td_open(&c, &s), 0) || !CHECK_INT(td_start(c, &p), 0))
        goto end;
    CHECK_INT(td_read_frame(c, &f), TD_ERR(EINVAL));
    CHECK(strstr(td_last_error(c), "frame: memory 1 on backend cpu, want 0") != NULL);
    f.memory = (enum TDMemory)2;
    CHECK_INT(td_read_frame(c, &f), TD_ERR(EINVAL));

    test_begin("10-bit samples at odd addresses are refused");
    f.memory = TD_MEMORY_HOST;
    f.format = TD_PIX_YUV444P10;
    for (int i = 0; i < 3; i++) {
        f.data[i] = pixels + (i == 1);
        f.stride[i] = 2 * W;
    }
    CHECK_INT(td_read_frame(c, &f), TD_ERR(EINVAL));
    CHECK(strstr(td_last_error(c), "plane 1") && strstr(td_last_error(c), "want multiples of 2"));
    CHECK_INT(read_clip(c, NULL), N);            /* the clip went on */
end:
    td_close(&c);
}

/* ---- on a GPU ---- */

static struct {
    int (*init)(unsigned), (*device)(int *, int), (*create)(void **, unsigned, int), (*destroy)(void *);
    int (*pop)(void **), (*push)(void *), (*current)(void **);
    int (*alloc)(uint64_t *, size_t), (*release)(uint64_t), (*down)(void *, uint64_t, size_t);
} cu;

static int open_driver(void)
{
    static const char *const names[] = { "cuInit", "cuDeviceGet", "cuCtxCreate_v2", "cuCtxDestroy_v2",
                                         "cuCtxPopCurrent_v2", "cuCtxPushCurrent_v2", "cuCtxGetCurrent",
                                         "cuMemAlloc_v2", "cuMemFree_v2", "cuMemcpyDtoH_v2" };
    void *lib = dlopen("libcuda.so.1", RTLD_NOW), **at = (void **)&cu;

    for (size_t i = 0; lib && i < sizeof(names) / sizeof(*names); i++)
        if (!(at[i] = dlsym(lib, names[i])))
            return -1;
    return lib ? 0 : -1;
}

/* one clip in one format; memory: of the frames, 2 = in turn. The bytes of all planes, PITCH a row. */
static void run(TDContext *c, enum TDPixFmt format, int memory, uint64_t device, uint8_t *out)
{
    TDParams p;

    small_params(&p);
    if (!CHECK_INT(td_start(c, &p), 0))
        return;
    memset(out, 0, N * BYTES);
    for (int n = 0; n < N; n++) {
        TDFrame f = { .format = format };

        f.memory = memory == 1 || (memory == 2 && n % 2) ? TD_MEMORY_CUDA : TD_MEMORY_HOST;
        for (int i = 0; i < 3; i++) {
            f.data[i] = (f.memory ? (uint8_t *)(uintptr_t)device : out + n * BYTES) + i * PITCH * H;
            f.stride[i] = PITCH;
        }
        CHECK_INT(td_read_frame(c, &f), 1);
        if (f.memory)
            CHECK_INT(cu.down(out + n * BYTES, device, BYTES), 0);
    }
}

/* of the picture alone: the rest of a row is whatever was there */
static int differ(const uint8_t *a, const uint8_t *b, enum TDPixFmt format)
{
    int half = format == TD_PIX_YUV420P || format == TD_PIX_NV12 || format == TD_PIX_P010, bytes = 1, n = 0;
    int pair = format == TD_PIX_NV12 || format == TD_PIX_P010, planes = format == TD_PIX_RGB24 ? 1 : pair ? 2 : 3;

    if (format == TD_PIX_YUV444P10 || format == TD_PIX_P010)
        bytes = 2;
    for (int f = 0; f < N; f++)
        for (int p = 0; p < planes; p++)
            for (int y = 0; y < (p && half ? H / 2 : H); y++) {
                size_t at = (size_t)f * BYTES + (size_t)(p * H + y) * PITCH;

                n += memcmp(a + at, b + at, (size_t)(format == TD_PIX_RGB24 ? 3 * W
                                                     : p && half && !pair  ? W / 2
                                                                           : W * bytes)) != 0;
            }
    return n;
}

static void test_gpu(void)
{
    static const enum TDPixFmt formats[] = { TD_PIX_NV12,     TD_PIX_P010,      TD_PIX_YUV420P,
                                             TD_PIX_YUV444P, TD_PIX_YUV444P10, TD_PIX_RGB24 };
    static uint8_t want[N * BYTES], got[N * BYTES];
    void *mine = NULL, *other = NULL, *now = NULL, *spare;
    TDContext *c = NULL, *d = NULL;
    uint64_t memory = 0, memory_other = 0;
    TDSettings s;
    TDFrame f = { .format = TD_PIX_RGB24, .stride = { 3 * W }, .memory = TD_MEMORY_CUDA };
    TDParams p;
    Seen seen;
    int gpu;

    test_begin("CUDA: a context of the caller's");
    if (!CHECK_INT(open_driver(), 0) || !CHECK_INT(cu.init(0), 0) || !CHECK_INT(cu.device(&gpu, 0), 0) ||
        !CHECK_INT(cu.create(&other, 0, gpu), 0) || !CHECK_INT(cu.alloc(&memory_other, BYTES), 0) ||
        !CHECK_INT(cu.create(&mine, 0, gpu), 0) || !CHECK_INT(cu.alloc(&memory, BYTES), 0))
        return;
    small_settings(&s, &seen, model);
    s.backend = TD_BACKEND_CUDA;
    s.cuda_context = mine;
    s.device = 1 << 20;
    CHECK_INT(td_open(&c, &s), TD_ERR(EINVAL));
    s.device = -1;
    cu.pop(&spare);                              /* `other` is current from here on */
    if (!CHECK_INT(td_open(&c, &s), 0))
        goto end;
    cu.current(&now);
    CHECK(now == other);
    s.cuda_context = NULL;
    if (!CHECK_INT(td_open(&d, &s), 0))          /* in the primary context, with weights of its own */
        goto end;
    cu.current(&now);
    CHECK(now == other);
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        run(d, formats[i], 0, 0, want);
        cu.push(mine);
        run(c, formats[i], 1, memory, got);
        cu.pop(&spare);
        CHECK_INT(differ(want, got, formats[i]), 0);
        run(c, formats[i], 0, 0, got);
        CHECK_INT(differ(want, got, formats[i]), 0);
    }
    cu.current(&now);
    CHECK(now == other);

    test_begin("CUDA: host and device memory in turn");
    run(d, TD_PIX_NV12, 0, 0, want);
    cu.push(mine);
    run(c, TD_PIX_NV12, 2, memory, got);
    cu.pop(&spare);
    CHECK_INT(differ(want, got, TD_PIX_NV12), 0);

    test_begin("CUDA: host memory said to be the device's is refused, the clip goes on");
    small_params(&p);
    CHECK_INT(td_start(c, &p), 0);
    f.data[0] = got;
    CHECK_INT(td_read_frame(c, &f), TD_ERR(EINVAL));
    CHECK(strstr(td_last_error(c), "want memory of CUDA device") != NULL);
    CHECK_INT(read_clip(c, NULL), N);
    td_close(&c);
    td_close(&d);
    cu.current(&now);
    CHECK(now == other);
end:
    td_close(&c);
    td_close(&d);
    cu.destroy(mine);
    cu.destroy(other);
}

int main(void)
{
    test_begin("model");
    if (small_model_make("m", golden_backend() == TD_BACKEND_CUDA ? "--vae-dim=16" : "") < 0)
        return test_end();
    small_path(model, "m");
    test_refusals();
    if (golden_backend() == TD_BACKEND_CUDA)
        test_gpu();
    small_model_remove();
    return test_end();
}
