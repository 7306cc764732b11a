/* precision.c - the choice between f32 and bf16 (ops/precision.h) as part of a run. */
#include "search/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = sizeof(nas__conv_shape) / sizeof(int), ROW = NUMBERS + 1 };

/* Mode, then a row for each choice: the numbers of its shape and the verdict. */
static uint64_t *to_list(const nas__precision *p, size_t *count) {
    *count = 1 + p->n * ROW;
    uint64_t *list = nas__alloc(*count * sizeof *list), *at = list;
    if (!list) {
        return NULL;
    }
    *at++ = p->mode;
    for (size_t i = 0; i < p->n; i++) {
        int numbers[NUMBERS];
        memcpy(numbers, &p->choices[i].shape, sizeof numbers);
        for (int k = 0; k < NUMBERS; k++) {
            *at++ = (uint64_t)numbers[k];
        }
        *at++ = p->choices[i].verdict;
    }
    return list;
}

static nas_status from_list(nas__precision *p, const uint64_t *list, size_t count) {
    if (count % ROW != 1 || list[0] > NAS_AUTO) {
        return nas__fail(NAS_PARSE, "the checkpoint's list of bf16 choices is damaged");
    }
    if (list[0] != NAS_F32 && p->mode == NAS_F32) {
        nas__log(NAS_LOG_WARN, "the run computed in bf16 and goes on in f32, with other bits: %s", nas_bf16_missing());
        return NAS_OK;
    }
    p->mode = (nas_precision)list[0];
    p->n = 0;
    nas_status status = NAS_OK;
    for (const uint64_t *at = list + 1; !status && at < list + count; at += ROW) {
        int numbers[NUMBERS];
        for (int k = 0; k < NUMBERS; k++) {
            numbers[k] = (int)at[k];
        }
        nas__precision_choice choice = {.verdict = (nas__verdict)at[NUMBERS]};
        memcpy(&choice.shape, numbers, sizeof numbers);
        status = nas__precision_choose(p, &choice);
    }
    return status;
}

void nas__precision_state(nas__precision *p, nas_precision wanted, nas_state *st) {
    if (wanted == NAS_F32) {
        return;
    }
    bool loading = nas_state_is_loading(st);
    size_t count = 0;
    uint64_t *list = loading ? NULL : to_list(p, &count);
    if (list || loading) {
        nas_state_list_u64(st, "precision", &list, &count);
    }
    if (loading ? list && from_list(p, list, count) : !list) {
        nas_state_fail(st);
    }
    free(list);
}

void nas__precision_journal(const nas__precision *p, nas_precision wanted, nas__run *run, int epoch, int64_t step) {
    char text[1024];
    if (!p || wanted == NAS_F32) {
        return;
    }
    if (p->mode == NAS_F32) {
        snprintf(text, sizeof text, "bf16 for nothing: %s", nas_bf16_missing());
    } else {
        nas__precision_text(p, text, sizeof text);
    }
    nas__log(NAS_LOG_INFO, "%s", text);
    nas__run_event(run, NAS_LOG_INFO, "precision", epoch, step, text);
}
