/* SPDX-License-Identifier: BSD-2-Clause
 * The model of a context: its files, found in a directory or named one by one; its parts, which contexts share; and
 * which of their weights are in device memory (residency.h). */
#ifndef TD_MODEL_H
#define TD_MODEL_H

#include "model/model_conf.h"
#include "model/part.h"
#include "model/prefetch.h"
#include "model/prompt_cache.h"
#include "model/residency.h"
#include "text/tokenizer.h"

/** Bytes of the text that says which of several files are used. */
#define TD_CHOSEN 256

typedef struct TDModel {
    TDLog *log;
    TDDev *dev;
    enum TDResidency residency;
    uint64_t max_bytes;
    TDPlan plan;                                 ///< of the clip in flight, or the last one; set by who starts it
    char *path[TD_N_FILES];
    char chosen[TD_CHOSEN];                      ///< which files of several these are; or ""
    TDPart *part[TD_N_PARTS];
    struct {                                     ///< of DIT and DIT_LOW
        char *text;                              ///< as TDParams has it; NULL: none
        TDLora *side;                            ///< what of it is beside int8 weights, or NULL
        TDWeights weights;                       ///< of that, once there are n_bufs of them
        uint64_t bytes;                          ///< that they want
    } lora[2];
    union {                                      ///< views of the parts; shapes stay valid while weights are released
        TDNet net[TD_N_PARTS];
        struct {
            TDDit *dit, *low;                        ///< low: NULL if there is one transformer
            TDTextEncoder *text;
            TDVae *vae;
            TDVaeEncoder *encoder;                   ///< NULL for text-to-video models
        };
    };
    int held[TD_N_PARTS];
    struct {                                     ///< of a part that comes block by block
        enum TDFile file;                        ///< TD_N_FILES: none does
        TDWeights rest, block[2];                ///< what lies outside of the blocks; these in turn
        int turn;                                ///< of block[]: the one that the device may be at work with
    } stream;
    int told[TD_N_PARTS];                        ///< that it does is said once
    TDPrefetch *prefetch;                        ///< of DIT_LOW, or NULL
    TDTokenizer *tokenizer;
    uint64_t clip_bytes;                         ///< device memory of the clip in flight
    uint64_t peak_bytes;                         ///< highest sum of weights and clip so far
    TDPromptCache prompts;
    double load_seconds;                         ///< of all loads so far
    uint64_t loaded_bytes;
    TDModelConf conf;                            ///< of its directory
    double boundary, shift;                      ///< between two experts; of UniPC. As its directory's JSON says, or 0
    char name[64];
} TDModel;

/** Input channels of an image-to-video transformer. */
#define TD_I2V_CHANNELS 36

/** Whether the settings say nothing of a model, which is then the demo model. */
int  td_model_unnamed(const TDSettings *s);
/** Find, open and check every file, those of the demo model if s names none; load nothing.
 *  @return 0 or a logged error */
int  td_model_open(TDModel **m, const TDSettings *s, TDDev *dev, TDLog *log);
void td_model_close(TDModel **m);

/** From now on a transformer has these LoRAs, and no others; lora: as TDParams has it, NULL or "": none. Another one
 *  than before makes it another part, which is loaded when it is needed; beside int8 weights, which stay, there are
 *  other sides. On error all is as before.
 *  @return 1 for others than before, 0 for the same, or a logged error */
int  td_model_set_lora(TDModel *m, enum TDFile file, const char *lora);
/** Have what LoRAs bring beside int8 weights in device memory. @return 0 or a logged error */
int  td_model_load_sides(TDModel *m);
/** Compare a clip of n steps, which keeps `fixed` bytes throughout, with the memory there is; changes nothing.
 *  @return 0, or ENOMEM if no residency allowed fits; only logged if log is set */
int  td_model_plan(const TDModel *m, const TDStep *steps, int n, uint64_t fixed, TDPlan *plan, TDLog *log);
/** Load what is not there. shared (size bytes): names of the files whose weights another context had loaded. */
int  td_model_load_all(TDModel *m, char *shared, size_t size);
/** By stage: let the low-noise expert come while the other one works, if there is room for both. */
void td_model_prefetch(TDModel *m);
/** The clip is over: stop that if it still goes on. */
void td_model_prefetch_end(TDModel *m);
/** Make the weights of one file present, and room for `work` bytes more; by_stage others may be released first. */
int  td_model_require(TDModel *m, enum TDFile file, uint64_t work);
/** Before block i is computed with, or (td_model_require() calls it) -1 for the rest: where the file comes block by
 *  block, wait for all work so far and have the block's weights there. keys: of a transformer, those that make keys and
 *  values of a prompt, alone. @return 0 or a logged error */
int  td_model_block(TDModel *m, enum TDFile file, int i, int keys);
/** What came block by block goes. */
void td_model_stream_end(TDModel *m);
/** While one file is computed with: whether it is still what was loaded. Of no effect where the device has a copy.
 *  @return 0, or a logged EBADMSG */
int  td_model_check_file(const TDModel *m, enum TDFile file);
/** Room for bytes of a clip: by_stage, weights may be released. */
void td_model_make_room(TDModel *m, uint64_t bytes);
/** Account device memory that a clip allocates (or frees: negative). */
void td_model_account(TDModel *m, int64_t bytes);
/** Bytes of each part while it is held, 0 where there is none. */
void td_model_costs(const TDModel *m, TDPartCost costs[TD_N_PARTS]);
/** All weights: device memory, and the file mapping where the backend computes from it. */
uint64_t td_model_bytes(const TDModel *m);

/** Where the files are (model_files.c): fills path[] with malloc'd strings. Those of s->model are visible, regular
 *  files (or links to such). No tokenizer is no error yet: the text encoder's file may bring its vocabulary.
 *  chosen: which parts are the best of several files, for a line; or ""
 *  @return 0 or a logged error */
int  td_model_find_files(char *path[TD_N_FILES], char chosen[TD_CHOSEN], const TDSettings *s, TDLog *log);
/** The error of a model without a vocabulary. */
int  td_model_no_tokenizer(const TDSettings *s, TDLog *log);
/** Whether td_model_find_files() would look at this entry of a directory (an open one) as a file of weights. */
int  td_model_is_weight_file(int dir, const char *name);
/** Whether the transformers found go together: a pair for image to video; for text to video one, or a pair by their
 *  names or the caller's. in_dim: input channels of path[TD_FILE_DIT]. @return 1 for a pair, 0 for one, or a logged
 *  error */
int  td_model_check_experts(char *const path[TD_N_FILES], const TDSettings *s, int64_t in_dim, TDLog *log);

#endif /* TD_MODEL_H */
