/* SPDX-License-Identifier: BSD-2-Clause
 * The files of a model: found in a directory or named one by one, opened, bound to the device, and kept or released by
 * stage. */
#ifndef TD_MODEL_H
#define TD_MODEL_H

#include "dit.h"
#include "text_encoder.h"
#include "tokenizer.h"
#include "vae.h"

enum TDFile { TD_FILE_DIT, TD_FILE_TEXT, TD_FILE_VAE, TD_FILE_TOKENIZER, TD_N_FILES };

typedef struct TDModel {
    TDLog *log;
    TDDev *dev;
    enum TDQuant quant;
    enum TDNorm norm;
    int by_stage;                                ///< release a stage's weights when another stage is required
    char *path[TD_N_FILES];
    TDCheckpoint *ckpt[TD_FILE_TOKENIZER];
    TDTokenizer *tokenizer;
    TDTextEncoder *text;                         ///< dims stay valid while the weights are released
    TDDit *dit;
    TDVae *vae;
    int loaded[TD_FILE_TOKENIZER];
    char name[64];
} TDModel;

/** Find, open and check every file; bind the weights. @return 0 or a logged error */
int  td_model_open(TDModel **m, const TDSettings *s, TDDev *dev, TDLog *log);
/** Make the weights of one file present; with by_stage the others are released first. */
int  td_model_require(TDModel *m, enum TDFile file);
uint64_t td_model_bytes(const TDModel *m);       ///< file bytes of tensors in use plus device memory of weights
void td_model_close(TDModel **m);

/** Where the files are (model_files.c): fills path[] with malloc'd strings. */
int  td_model_find_files(char *path[TD_N_FILES], const TDSettings *s, TDLog *log);

#endif /* TD_MODEL_H */
