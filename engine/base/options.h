/* SPDX-License-Identifier: BSD-2-Clause
 * What can be chosen by name, in td and in the filters, whose own table `make style` compares with this one: one row
 * an option, one list of words an enum. turbodiff.conf has a table of its own (model_conf.c), and the words of
 * sla_block from here. */
#ifndef TD_OPTIONS_H
#define TD_OPTIONS_H

#include "base/log.h"

enum TDOptionType { TD_OPTION_WORD, TD_OPTION_FLAG, TD_OPTION_INT, TD_OPTION_U64, TD_OPTION_DOUBLE, TD_OPTION_TEXT };

typedef struct TDOption {
    const char *name;                            ///< as the filter has it
    int of_clip;                                 ///< a field of TDParams, else of TDSettings
    enum TDOptionType type;
    size_t offset;
    const char *const *words;                    ///< of an enum, by value, NULL at the end
    double low, high;                            ///< of a DOUBLE or an INT; both 0: who uses it checks it
    double named_low;                            ///< of a DOUBLE: at least this where a user names it; 0: low
    int named_high;                              ///< of an INT: from 0 to this where a user names it; 0: low to high
    size_t second;                               ///< of a DOUBLE that may be two, joined with |: that of the second
} TDOption;

extern const TDOption td_options[];              ///< ends with a name that is NULL

extern const char *const td_attention_words[], *const td_noise_words[], *const td_quant_words[],
    *const td_sla_block_words[];

/** @return the row, or NULL */
const TDOption *td_option(const char *name);
/** of: TDParams with defaults filled in, or TDSettings. @return 0, or a logged EINVAL */
int td_options_check(const void *of, int of_clip, TDLog *log);

#endif /* TD_OPTIONS_H */
