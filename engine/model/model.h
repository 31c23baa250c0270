/* SPDX-License-Identifier: BSD-2-Clause
 * The model of a context: its files, found in a directory or named one by one; its parts, which contexts share; and
 * which of their weights are in device memory.
 *
 * Residency. `all` holds every part from td_open() on. `stage` holds the part of the stage at work. `auto` is as `all`
 * where weights and clip fit in what is free; where they do not, a part is given up only when another one, or the
 * working memory of its stage, needs the place. */
#ifndef TD_MODEL_H
#define TD_MODEL_H

#include "model/model_conf.h"
#include "model/part.h"
#include "model/prefetch.h"
#include "model/prompt_cache.h"
#include "text/tokenizer.h"

/** What a model is made of. Text-to-video models have no DIT_LOW (the low-noise expert; DIT is then the other one) and
 *  no ENCODER (of the VAE's file): their part is NULL. */
enum TDFile {
    TD_FILE_DIT,
    TD_FILE_DIT_LOW,
    TD_FILE_TEXT,
    TD_FILE_VAE,
    TD_FILE_ENCODER,
    TD_FILE_TOKENIZER,
    TD_N_FILES
};

/** A stage of a clip: the part it computes with, and its working memory. */
typedef struct TDStep {
    enum TDFile file;
    uint64_t bytes;
} TDStep;

/** What a clip needs, by td_model_plan(). */
typedef struct TDNeed {
    uint64_t weights, clip;                      ///< of the moment with the highest sum
    uint64_t limit;                              ///< what weights and clip may take: free memory, or max_bytes
    int limited;                                 ///< the limit is max_bytes
    uint64_t others;                             ///< GPU: in use already, by the driver and other programs
} TDNeed;

typedef struct TDModel {
    TDLog *log;
    TDDev *dev;
    enum TDResidency residency;
    uint64_t max_bytes;
    int by_stage;                                ///< weights leave when others need their place; set by td_model_plan()
    char *path[TD_N_FILES];
    TDPart *part[TD_FILE_TOKENIZER];
    TDNet net[TD_FILE_TOKENIZER];                ///< views of the parts
    int held[TD_FILE_TOKENIZER];
    int may_prefetch;                            ///< both experts and the clip have room; set by td_model_plan()
    TDPrefetch *prefetch;                        ///< of DIT_LOW, or NULL
    TDTokenizer *tokenizer;
    TDTextEncoder *text;                         ///< = net[]; shapes stay valid while the weights are released
    TDDit *dit, *low;                            ///< low: NULL if there is one transformer
    TDVae *vae;
    TDVaeEncoder *encoder;                       ///< NULL for text-to-video models
    uint64_t clip_bytes;                         ///< device memory of the clip in flight
    uint64_t peak_bytes;                         ///< highest sum of weights and clip so far
    TDPromptCache prompts;
    double load_seconds;                         ///< of all loads so far
    uint64_t loaded_bytes;
    TDModelConf conf;                            ///< of its directory
    char name[64];
} TDModel;

/** Input channels of an image-to-video transformer. */
#define TD_I2V_CHANNELS 36

/** Find, open and check every file, those of the demo model if s names none; load nothing.
 *  @return 0 or a logged error */
int  td_model_open(TDModel **m, const TDSettings *s, TDDev *dev, TDLog *log);
void td_model_close(TDModel **m);

/** Compare a clip of n steps, which keeps `fixed` bytes throughout, with the memory there is, and choose by_stage.
 *  @return 0, or ENOMEM if no residency allowed fits; only logged if log is set */
int  td_model_plan(TDModel *m, const TDStep *steps, int n, uint64_t fixed, TDNeed *need, TDLog *log);
/** Load what is not there. shared (size bytes): names of the files whose weights another context had loaded. */
int  td_model_load_all(TDModel *m, char *shared, size_t size);
/** By stage: let the low-noise expert come while the other one works, if there is room for both. */
void td_model_prefetch(TDModel *m);
/** The clip is over: stop that if it still goes on. */
void td_model_prefetch_end(TDModel *m);
/** Make the weights of one file present, and room for `work` bytes more; by_stage others may be released first. */
int  td_model_require(TDModel *m, enum TDFile file, uint64_t work);
/** While one file is computed with: whether it is still what was loaded. Of no effect where the device has a copy.
 *  @return 0, or a logged EBADMSG */
int  td_model_check_file(const TDModel *m, enum TDFile file);
/** Room for bytes of a clip: by_stage, weights may be released. */
void td_model_make_room(TDModel *m, uint64_t bytes);
/** Account device memory that a clip allocates (or frees: negative). */
void td_model_account(TDModel *m, int64_t bytes);
/** All weights: device memory, and the file mapping where the backend computes from it. */
uint64_t td_model_bytes(const TDModel *m);

/** Where the files are (model_files.c): fills path[] with malloc'd strings. Those of s->model are visible, regular
 *  files (or links to such). @return 0 or a logged error */
int  td_model_find_files(char *path[TD_N_FILES], const TDSettings *s, TDLog *log);
/** Whether td_model_find_files() would look at this entry of a directory (an open one) as a file of weights. */
int  td_model_is_weight_file(int dir, const char *name);
/** Whether the transformers found go together: a pair for image to video; for text to video one, or a pair that the
 *  caller has named. in_dim: input channels of path[TD_FILE_DIT]. @return 0 or a logged error */
int  td_model_check_experts(char *const path[TD_N_FILES], const TDSettings *s, int64_t in_dim, TDLog *log);

#endif /* TD_MODEL_H */
