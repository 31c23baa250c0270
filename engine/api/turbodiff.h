/* SPDX-License-Identifier: BSD-2-Clause
 *
 * turbodiff.h - few-step video diffusion as a library. C99, clean in C++.
 *
 *   TDSettings s;  td_default_settings(&s, sizeof(s));  s.model = "models/TurboWan2.1-T2V-1.3B-480P";
 *   TDContext *c;  if (td_open(&c, &s) < 0) return;               // the reason has been logged
 *   TDParams p;    td_default_params(&p, sizeof(p));    p.prompt = "a cat surfing";
 *   if (td_start(c, &p) == 0)
 *       while ((ret = td_read_frame(c, &frame)) > 0) show(&frame);
 *   td_close(&c);
 *
 * A program runs with every later library of the same SONAME: functions keep their signatures, enumerators their
 * values, fields their places. TDSettings, TDParams, TDInfo and TDDeviceInfo grow at their ends and are passed with
 * their size; a field that a program does not know has its default, and 0 in a field that a library does not know is no
 * harm. All other structs, and TD_N_STAGES, stay as they are. A program that uses something new needs the version that
 * brought it, which the versions of symbols (TURBODIFF_0.1, ...) say as well.
 */
#ifndef TURBODIFF_H
#define TURBODIFF_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef TD_API
#define TD_API __attribute__((visibility("default")))
#endif

#define TD_API_MAJOR 0
#define TD_API_MINOR 2
#define TD_API_PATCH 0

/** Errors are negative errno values, equal to FFmpeg's AVERROR(e) on POSIX systems.
 *    EINVAL    an argument is wrong (the log says which and what was expected)
 *    ENOENT    a file is missing; EACCES it cannot be read
 *    EBADMSG   a checkpoint, tokenizer or image file is malformed
 *    ENOTSUP   the file is well formed but this model, dtype or device is not supported
 *    ENOMEM    host or device memory
 *    ECANCELED td_cancel() or the interrupt callback stopped the call
 *    EAGAIN    a bounded piece of work is done, call again (TDParams.nonblocking only)
 *    EBUSY     another thread is inside this context
 *    EIO       device fault; only td_close() is valid afterwards */
#define TD_ERR(e) (-(e))

/** One device, one set of weights, at most one clip in flight. A context belongs to one thread at a time;
 *  only td_cancel() may be called from another one. Contexts are independent of each other; those that use the same
 *  files on the same device share one copy of the weights, whichever is opened or closed first. */
typedef struct TDContext TDContext;

enum TDLogLevel { TD_LOG_ERROR, TD_LOG_WARNING, TD_LOG_INFO, TD_LOG_VERBOSE, TD_LOG_DEBUG };

typedef struct TDLogger {
    void *cookie;
    void (*callback)(void *cookie, int level, const char *line);  ///< one line, no newline; NULL = silent.
                                                                  ///< Always called on the thread inside td_*().
    int level;                                                    ///< most detailed level wanted
} TDLogger;

enum TDStage { TD_STAGE_LOAD, TD_STAGE_TEXT, TD_STAGE_IMAGE, TD_STAGE_DENOISE, TD_STAGE_DECODE, TD_N_STAGES };

typedef struct TDProgress {
    enum TDStage stage;
    int done, total;                 ///< units of the stage: blocks x prompts (text), blocks x prompts x steps
                                     ///< (denoise), latent frames (image, decode). With guidance there are two prompts
    double seconds;                  ///< wall time since the stage began
} TDProgress;

enum TDBackend { TD_BACKEND_AUTO, TD_BACKEND_CPU, TD_BACKEND_CUDA };

/** AUTO: sagesla if proj_l is in the file, else dense */
enum TDAttention { TD_ATTN_AUTO, TD_ATTN_DENSE, TD_ATTN_SLA, TD_ATTN_SAGESLA };

/** AUTO: as the file is, int8 where that has 8 bits or less; NONE: bf16, of any file but one of TurboDiffusion's int8;
 *  INT8: quantise any file at load */
enum TDQuant { TD_QUANT_AUTO, TD_QUANT_NONE, TD_QUANT_INT8 };

/** AUTO: bf16, or f16 in convolutions whose input was normed, on GPUs that are faster so; BF16: on none */
enum TDVaeDtype { TD_VAE_DTYPE_AUTO, TD_VAE_DTYPE_BF16 };

/** OFFICIAL: the official fast kernels, padded lanes included; EXACT: the textbook norms */
enum TDNorm { TD_NORM_OFFICIAL, TD_NORM_EXACT };

/** queries x keys */
enum TDSlaBlock { TD_SLA_BLOCK_AUTO, TD_SLA_BLOCK_128X64, TD_SLA_BLOCK_64X128 };

enum TDResidency {
    TD_RESIDENT_AUTO,  ///< all weights if they and the clip fit in free memory, else as many as do, or a few blocks
    TD_RESIDENT_ALL,   ///< all weights, from td_open() to td_close(); ENOMEM where they do not fit
    TD_RESIDENT_STAGE  ///< those of the stage at work, or a few blocks of them
};

/** How a model's weights and a clip fit in a GPU's free memory. */
enum TDFit {
    TD_FIT_UNKNOWN,    ///< nobody asked, or the GPU cannot be used
    TD_FIT_NONE,
    TD_FIT_STAGE,      ///< while weights come and go
    TD_FIT_ALL
};

struct TDParams;

/** Fixed for the life of a context. Strings are copied by td_open(). */
typedef struct TDSettings {
    size_t struct_size;              ///< set by td_default_settings()
    const char *model;               ///< directory with files under their official names; NULL if all files are given
                                     ///< below. With no file given at all: the small demo model that is installed
                                     ///< with the library
    const char *dit;                 ///< transformer: a .pth, .safetensors, .safetensors.index.json or .gguf file,
                                     ///< told by its first bytes and not by its name; NULL = from model. With model,
                                     ///< dit, dit_low, text_encoder and vae may also be a part of a file's name there
                                     ///< (or else of its folders), in any case of letters
    const char *text_encoder;        ///< umT5 encoder weights; NULL = from model
    const char *tokenizer;           ///< spiece.model; NULL = from model
    const char *vae;                 ///< Wan 2.1 VAE weights, or those of a tiny VAE; NULL = from model
    enum TDBackend backend;          ///< default AUTO: CUDA if usable, else CPU
    int device;                      ///< CUDA ordinal: that GPU or an error, never the CPU; -1 (default) = that of
                                     ///< cuda_context, else as card says
    int n_threads;                   ///< CPU threads, 0 = number of cores (default)
    enum TDAttention attention;      ///< default AUTO
    enum TDQuant quant;              ///< default AUTO
    enum TDNorm norm;                ///< default OFFICIAL
    enum TDSlaBlock sla_block;       ///< default AUTO: 128x64 unless the model's turbodiff.conf says another
    enum TDResidency residency;      ///< default AUTO
    uint64_t max_bytes;              ///< limit on device (CPU backend: host) memory for weights and clip, 0 = none
                                     ///< (default); exceeding it is ENOMEM before any work
    TDLogger logger;                 ///< default: silent
    void (*progress)(void *cookie, const TDProgress *p);  ///< on the thread inside td_*(); default NULL
    int (*interrupt)(void *cookie);  ///< polled often on the thread inside td_*(); nonzero: the call returns
                                     ///< ECANCELED; default NULL
    void *cookie;                    ///< for progress and interrupt
    const char *dit_low;             ///< low-noise expert of a model of two, dit being the other one; NULL = from
                                     ///< model. Of text to video two that are there are both used where their paths
                                     ///< differ in high and low alone (or in diffusers' folders), or the name of the
                                     ///< first has the word high; of others dit says which one is used alone, dit_low
                                     ///< that both are. A path in dit, without dit_low, means that file alone
    void *cuda_context;              ///< the caller's CUcontext to run in, which must outlive this context;
                                     ///< NULL (default) = the primary one of the device
    void *cuda_stream;               ///< CUstream of that context: frames in CUDA memory are written after all that it
                                     ///< holds when td_read_frame() is called; NULL = its default stream
    const char *card;                ///< 0.2. As device, but by any name: a number, a UUID as nvidia-smi prints it,
                                     ///< a PCI bus id. NULL (default), "" or "auto" = chosen: of the GPUs that the
                                     ///< first clip has room on the fastest, but one that has the weights before all
    const struct TDParams *clip;     ///< 0.2. That first clip, borrowed during td_open(), without prompt and image;
                                     ///< NULL (default) = what the model makes by itself
    int image_to_video;              ///< 0.2. Where no file is given at all: the demo model for image to video in place
                                     ///< of the one for text to video; default 0
    enum TDVaeDtype vae_dtype;       ///< 0.2. Default AUTO
} TDSettings;

enum TDSampler { TD_SAMPLER_RCM, TD_SAMPLER_UNIPC };

/** Whose torch.randn a seed reproduces: torch's CUDA generator depends on the GPU model (doc/numerics.md). */
enum TDNoise { TD_NOISE_AUTO, TD_NOISE_H100, TD_NOISE_RTX5090, TD_NOISE_RTX4090, TD_NOISE_A100, TD_NOISE_CPU };

/** Rows of RGB, 3 bytes a pixel, top down. */
typedef struct TDImage {
    int width, height;
    ptrdiff_t stride;                ///< bytes from a row to the next
    uint8_t *data;
} TDImage;

/** One clip. Pointers are borrowed during td_start() only. */
typedef struct TDParams {
    size_t struct_size;              ///< set by td_default_params()
    const char *prompt;              ///< UTF-8, required
    const char *negative_prompt;     ///< UniPC with guidance only; NULL = the official one
    int width, height;               ///< pixels, 16 to 2048; 0 = model default: 832x480 (image to video: 1280x720)
                                     ///< unless its turbodiff.conf says another. Made at the next multiple of 16, and
                                     ///< cut at the right and the bottom
    int n_frames;                    ///< pixel frames, 4k+1; 0 = model default: 81 unless its turbodiff.conf says
                                     ///< another
    enum TDSampler sampler;          ///< default RCM
    int n_steps;                     ///< 1..4 (rCM, default 4) or 1..1000 (UniPC, default 50); 0 = default
    uint64_t seed;                   ///< default 0
    enum TDNoise noise;              ///< default AUTO: the GPU at hand; H100 on the CPU backend
    double sigma_max;                ///< rCM: initial sigma, 0 = model default: 80 (image to video: 200)
    int ode;                         ///< rCM: deterministic ODE step instead of SDE, default 0
    double sla_topk;                 ///< fraction of key blocks that sparse attention keeps, in (0,1]; 0 (default) =
                                     ///< model default: 0.1 unless its turbodiff.conf says another
    double guidance;                 ///< UniPC: classifier-free guidance scale, 0 to 100, default 5; 1 = off
    double shift;                    ///< UniPC: timestep shift; 0 (default) = model default: as its directory
                                     ///< says, else 5, of two experts of text to video 12
    int nonblocking;                 ///< td_read_frame() returns EAGAIN after each bounded piece of work, default 0
    const TDImage *image;            ///< the first frame, of any size; stretched to width x height. Image-to-video
                                     ///< models need it, others take none. Default NULL
    double boundary;                 ///< two experts: the low-noise one works where t < boundary, in 0..1; 0 = model
                                     ///< default: boundary_ratio of the model_index.json in its directory, else 0.875
                                     ///< (image to video: 0.9)
    const char *timesteps;           ///< 0.2. rCM: the times of its steps in place of sigma_max's, 1 to 1000, falling
                                     ///< from at most 1: "1|0.9375|0.8333|0.625". NULL (default) = as sigma_max says
    double guidance_low;             ///< 0.2. Two experts: guidance of the low-noise one, guidance being that of the
                                     ///< other; 0 (default) = the same for both
    const char *lora;                ///< 0.2. LoRA files of the transformer (of two experts the high-noise one), each
                                     ///< with a strength unless it is 1: "a.safetensors|b.safetensors*0.7". Other ones
                                     ///< than before are laid onto the weights anew (TurboDiffusion's int8: beside
                                     ///< them, at once); NULL (default) or "" = none
    const char *lora_low;            ///< 0.2. Two experts: the same for the low-noise one
    const float *picture;            ///< 0.2. In place of image, and not of 8 bits: width x height pixels of RGB, 3
                                     ///< values from 0 to 1 each, rows top down without a gap, as td_last_picture()
                                     ///< writes them. Default NULL
} TDParams;

/** yuv formats: BT.709, limited range, chroma sited left (420). 10-bit samples are native-endian uint16_t; those of
 *  p010 are in the upper bits. */
enum TDPixFmt {
    TD_PIX_RGB24, TD_PIX_GBRP, TD_PIX_YUV420P, TD_PIX_YUV444P, TD_PIX_YUV420P10, TD_PIX_YUV444P10, TD_PIX_NV12,
    TD_PIX_P010
};

enum TDMemory {
    TD_MEMORY_HOST,
    TD_MEMORY_CUDA                   ///< of the device in use, and of the context in use
};

/** Caller's memory: set format, data, stride (bytes) and memory; the library writes the pixels and width, height and
 *  index. Pixels are there when td_read_frame() returns, in CUDA memory, too. 10-bit samples want even addresses.
 *  Planes: rgb24 one; gbrp G,B,R; yuv Y,U,V; nv12 and p010 Y,UV. */
typedef struct TDFrame {
    enum TDPixFmt format;
    uint8_t *data[4];
    ptrdiff_t stride[4];
    int width, height;               ///< pixels
    int64_t index;                   ///< 0-based number in the clip
    enum TDMemory memory;            ///< where data is, default HOST
} TDFrame;

/** As td_get_info() writes it. */
typedef struct TDInfo {
    const char *model;               ///< e.g. "Wan2.1-T2V-1.3B"; "Wan-T2V-dim256-blocks2" for other sizes; valid until
                                     ///< td_close()
    const char *backend;             ///< "cpu", "cuda"
    const char *device_name;         ///< e.g. "2 threads, avx2"
    const char *noise;               ///< noise profile of the clip in flight ("h100", ...), else ""
    int default_width, default_height, fps_num, fps_den;
    int clip_width, clip_height, clip_frames;     ///< of the clip in flight, else 0
    int n_steps;                                  ///< of the clip in flight, else 0
    enum TDAttention attention;                   ///< in use
    enum TDQuant quant;                           ///< in use
    uint64_t seed;                                ///< of the clip in flight
    uint64_t weight_bytes;                        ///< of all stages: device memory (CPU: and mapped files)
    uint64_t workspace_bytes;                     ///< device memory of the last td_start()'s clip, else 0
    double stage_seconds[TD_N_STAGES];            ///< wall time of each stage of this clip. LOAD: of td_open() if the
                                                  ///< clip is the first one, and of weights that came after it
    double first_frame_seconds;                   ///< from td_start() to the first frame's return, 0 before it
    double copy_seconds;                          ///< converting frames and storing them in the caller's memory
    double caller_seconds;                        ///< between the calls of this clip
    double wall_seconds;                          ///< sum of stage_seconds, copy_seconds and caller_seconds
    int frames_out;                               ///< frames returned of this clip
    int text_cached;                              ///< the prompt's embedding was kept from an earlier clip
    uint64_t predicted_bytes;                     ///< weights and working memory that td_start() reckons with
    uint64_t others_bytes;                        ///< GPU: what driver and other programs took when it did; CPU: 0
    uint64_t peak_bytes;                          ///< what they were at most: the library's own allocations on the
                                                  ///< device (CPU: and mapped weights), without those of the driver
    uint64_t device_used_bytes;                   ///< GPU: highest use of all the device, driver and other programs
                                                  ///< included, seen when a stage ended; CPU: 0
    int needs_image;                              ///< an image-to-video model
    int default_frames;                           ///< as default_width and default_height: what TDParams leaves at 0
    double topk;                                  ///< 0.2. Of the clip in flight: fraction of key blocks kept (dense:
                                                  ///< 1); else 0
    int transformers;                ///< 0.2. Of the model: 2 where there is one each for high and low noise, else 1
} TDInfo;

/** A GPU of this machine, as td_list_devices() tells of it; strings are valid during the call alone. */
typedef struct TDDeviceInfo {
    int number;                      ///< as TDSettings.device has it
    const char *name, *uuid, *pci;   ///< uuid as nvidia-smi prints it; "" what is not known
    const char *driver;              ///< its version
    const char *fault;               ///< why the GPU cannot be used, in words; NULL: it can
    int capability;                  ///< compute capability: 89 for 8.9
    int multiprocessors, clock_khz;
    uint64_t free_bytes, total_bytes;            ///< free_bytes is total_bytes where nothing tells
    enum TDFit fit;                  ///< of the model and the first clip of the settings, as residency asks for it
    uint64_t all_bytes, stage_bytes; ///< what these take: all weights at once; at most while they come and go; else 0
    int chosen;                      ///< the one that td_open() takes now if the settings name none
} TDDeviceInfo;

TD_API const char *td_version(void);              ///< "0.2.0"
TD_API unsigned    td_version_api(void);          ///< 0x00XXYYZZ; check the major number
TD_API const char *td_strerror(int err);          ///< static text for a TD_ERR() code

/** Fill a struct with defaults. @param struct_size sizeof the caller's struct: what is beyond those that this library
 *  knows becomes 0. @return 0, or EINVAL where it is less than in 0.1.0, or over 4096 */
TD_API int  td_default_settings(TDSettings *s, size_t struct_size);
TD_API int  td_default_params(TDParams *p, size_t struct_size);

/** Load weights and open the device. @return 0; on error *c is NULL and the reason has been logged. */
TD_API int  td_open(TDContext **c, const TDSettings *s);
/** The GPUs of this machine, one call of `tell` for each, the first one first, or for that alone which device or card
 *  name; nothing is opened on any. Where the settings name a model or files of one, with what of it fits how; what is
 *  wrong with it, with the clip or with LoRAs is an error on any machine.
 *  @param tell  gets the cookie, and sizeof(TDDeviceInfo) as the library has it
 *  @return how many were told, 0 after a line at level INFO that says why there is none; or an error: of the model or
 *  the clip, no GPU where backend is cuda or one is named, backend cpu */
TD_API int  td_list_devices(const TDSettings *s, void (*tell)(void *cookie, const TDDeviceInfo *d, size_t struct_size),
                            void *cookie);                                      ///< since 0.2
/** What there is to know at any time, as many bytes of it as the caller's struct has; 0 in what this library does not
 *  know. @param struct_size sizeof the caller's struct. @return 0 or EINVAL */
TD_API int  td_get_info(const TDContext *c, TDInfo *out, size_t struct_size);   ///< since 0.2
/** The same for programs that were built with 0.1: what was there then, up to default_frames. */
TD_API int  td_info(const TDContext *c, TDInfo *out);
#define td_info(c, out) td_get_info(c, out, sizeof(TDInfo))
/** The numbers of the clip in flight, or of the last one, as one line of JSON without a newline; like those of
 *  td_info(), in bytes and seconds. @return length without the 0, also if it does not fit in size; EINVAL before the
 *  first clip */
TD_API int  td_stats_json(const TDContext *c, char *dst, size_t size);

/** Check everything and reserve all memory of a clip. Abandons a clip still in flight. */
TD_API int  td_start(TDContext *c, const TDParams *p);

/** Run the clip as far as the next frame: early calls encode the prompt and denoise, later ones decode as needed.
 *  @return 1 frame written, 0 end of clip, EAGAIN (see TDParams.nonblocking; f is untouched), other < 0 error.
 *  After 0 or an error (except EIO) td_start() may be called again. */
TD_API int  td_read_frame(TDContext *c, TDFrame *f);

/** The picture of the frame that td_read_frame() wrote last, as the VAE made it, before anything was rounded: a clip
 *  that goes on from it (TDParams.picture) begins where this one ends. Right after a call that returned 1; the format
 *  of that frame does not matter.
 *  @param rgb  the caller's, of clip_width x clip_height pixels (TDInfo), 3 values from 0 to 1 each, rows top down
 *  @return 0, EINVAL where there is no such frame, ENOMEM, EIO. Since 0.2 */
TD_API int  td_last_picture(TDContext *c, float *rgb);

/** Any thread, any time: the running or next td_read_frame() returns ECANCELED soon. td_start() clears it. */
TD_API void td_cancel(TDContext *c);
/** @return text of the last failure, "" if none; valid until the next call */
TD_API const char *td_last_error(const TDContext *c);
TD_API void td_close(TDContext **c);              ///< NULL-safe, sets *c = NULL

/** Read a JPEG file (grey, YCbCr, RGB or CMYK; baseline or progressive; up to 134 million pixels and 256 MiB), turned
 *  upright as its Exif orientation says. logger: where an error is told, or NULL. @return 0; ENOENT, EACCES, EBADMSG
 *  (malformed or cut short), ENOTSUP (too large) or ENOMEM. To be freed with td_image_free(). */
TD_API int  td_image_load_jpeg(TDImage *out, const char *path, const TDLogger *logger);
TD_API void td_image_free(TDImage *image);        ///< of td_image_load_jpeg(); NULL-safe
/** A prompt as the model sees it: without what is cleaned from it (markup entities, odd spaces, a byte order mark), one
 *  line, and without control characters. For logs and metadata; TDParams.prompt takes the prompt as it was written.
 *  size: bytes at dst, which is cut to fit. prompt: UTF-8, at most 64 KiB. logger: where errors are told, or NULL.
 *  @return length in bytes without the 0, also if it does not fit in size; 0 is an empty prompt. EINVAL (NULL, not
 *  UTF-8 or too long) or ENOMEM. Since 0.2 */
TD_API int  td_clean_prompt(char *dst, size_t size, const char *prompt, const TDLogger *logger);
/** The size in multiples of 16 that is nearest to the shape of a picture and to the area *width x *height, as the
 *  official script's adaptive resolution. @return 0, or EINVAL if a size is not positive or over 2048, or the result
 *  would have such a side or none (a narrow picture, or a tiny area) */
TD_API int  td_adaptive_size(int *width, int *height, int image_width, int image_height);

#ifdef __cplusplus
}
#endif
#endif /* TURBODIFF_H */
