/* mobile.h - rows of inverted residuals with a choice in each: what the spaces made of MobileNets' blocks have in
 * common. A space is a table of stages and candidates. */
#ifndef SPACE_SPACES_MOBILE_H
#define SPACE_SPACES_MOBILE_H

#include "space/spaces/spaces.h"

enum { NAS__MOBILE_CANDIDATES = 36 };

typedef struct nas__mobile_candidate {
    char name[24];
    int kernel, groups, squeeze; /* as in nas_mbconv_config */
    double expansion;
} nas__mobile_candidate;

typedef struct nas__mobile_stage {
    int width, blocks, stride; /* of the first block */
    nas_activation activation;
} nas__mobile_stage;

typedef struct nas__mobile {
    const char *key;  /* choices are KEY_1, KEY_2, ... */
    int stem, first;  /* channels of the stem, and of a fixed block behind it (kernel 3, expansion 1); 0: none */
    int last, hidden; /* of the 1x1 convolution before the pooling, of a dense layer behind it; 0: none */
    int stem_stride;
    nas_activation activation, first_activation; /* outside the stages */
    const char *nothing;  /* candidate that skips the block, offered where the shape is kept; NULL: none */
    bool shared_shortcut; /* one sum with the block's input around the choice, not one in every candidate */
    bool reducing_skip;   /* where the shape changes `nothing` is a 1x1 convolution with batch norm and ReLU */
    bool always_expand;
    float bn_eps;
    int least_depth; /* searched depth: a stage ends behind so many of its blocks, or more: the choice stage_I/depth,
                        and the blocks' are stage_I/KEY_J then; 0: it has all of them */
    int n_stages, n_candidates;
    nas__mobile_stage stages[NAS_LIST_MOST];
    nas__mobile_candidate candidates[NAS__MOBILE_CANDIDATES];
} nas__mobile;

/* What users may set of the stages, in all these spaces. Strides: the stem's, then those of the stages. */
typedef struct nas__mobile_options {
    nas_list widths, depths, strides;
    double width;
    int stem, last;
    bool fit_strides;
} nas__mobile_options;
#define NAS__MOBILE_OPTIONS(struct_type, widths_, depths_, strides_, stem_, last_)                                     \
    {                                                                                                                  \
        "widths", NAS_OPTION_LIST,         offsetof(struct_type, stages.widths), widths_, 1, 4096,                     \
        NULL,     "channels of the stages"},                                                                           \
        {"depths",                                                                                                     \
         NAS_OPTION_LIST,                                                                                              \
         offsetof(struct_type, stages.depths),                                                                         \
         depths_,                                                                                                      \
         1,                                                                                                            \
         16,                                                                                                           \
         NULL,                                                                                                         \
         "blocks of the stages; a shorter list leaves out the last stages"},                                           \
        {"strides",                                                                                                    \
         NAS_OPTION_LIST,                                                                                              \
         offsetof(struct_type, stages.strides),                                                                        \
         strides_,                                                                                                     \
         1,                                                                                                            \
         4,                                                                                                            \
         NULL,                                                                                                         \
         "stride of the stem, and of each stage's first block"},                                                       \
        {"fit_strides",                                                                                                \
         NAS_OPTION_BOOL,                                                                                              \
         offsetof(struct_type, stages.fit_strides),                                                                    \
         "1",                                                                                                          \
         0,                                                                                                            \
         0,                                                                                                            \
         NULL,                                                                                                         \
         "small images: the first strides are left out, so that the last maps keep 4x4 pixels"},                       \
        {"width",                                                                                                      \
         NAS_OPTION_FLOAT,                                                                                             \
         offsetof(struct_type, stages.width),                                                                          \
         "1",                                                                                                          \
         0.05,                                                                                                         \
         16,                                                                                                           \
         NULL,                                                                                                         \
         "factor of all widths, which are then rounded to multiples of 8"},                                            \
        {"stem", NAS_OPTION_INT, offsetof(struct_type, stages.stem), stem_, 1, 1024, NULL, "channels of the stem"}, {  \
        "last", NAS_OPTION_INT, offsetof(struct_type, stages.last), last_, 1, 8192, NULL,                              \
            "channels of the 1x1 convolution before the pooling"                                                       \
    }

/* Fills stem, last, strides and stages from options, for images as in config; false and an error when the lists do not
 * fit. The activation of all stages is m->activation. */
bool nas__mobile_stages(nas__mobile *m, const char *space, const nas__mobile_options *o,
                        const nas_space_config *config);
/* The network of a table. */
nas_module *nas__mobile_new(const nas__mobile *m, const nas_space_config *config);

#endif
