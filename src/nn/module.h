/* module.h - the inside of modules, for layers and for the rooms that work on trees of them (spaces, checkpoints). */
#ifndef NN_MODULE_H
#define NN_MODULE_H

#include <espalier/nn.h>

/* Where a layer's input comes from that is a row of equal parts along the channels, some of which may be missing. */
typedef struct nas__supply {
    int parts;                             /* 0: it comes whole */
    uint64_t (*given)(const void *source); /* bit i: part i is there; NULL once fixed */
    const void *source;
    uint64_t kept; /* fixed: these parts are all that is left */
} nas__supply;

/* A searched width: so many of a layer's channels, the first ones, are in use. */
typedef struct nas__width {
    int64_t (*now)(const void *source); /* NULL: all are, or what was not is gone */
    const void *source;
} nas__width;

/* A parameter or buffer of a module. */
typedef struct nas__parameter {
    char *name;
    nas_tensor *tensor;
    nas_init init;
    nas_role role;
    nas__supply supply;  /* of its dimension 1 */
    nas__width width[2]; /* of its dimensions 0 and 1 */
} nas__parameter;

/* Something that lives with a module and is none of nn's business (input and value choices), found again by its tag. */
typedef struct nas__attachment {
    const char *tag; /* a string literal */
    void *object;
    void (*free_fn)(void *object);
} nas__attachment;

struct nas_module_state {
    char *name; /* "" for a root */
    nas_module *parent;
    nas_module **children;
    nas__parameter *parameters;
    nas__attachment *attachments;
    size_t n_children, n_parameters, n_attachments;
    bool initialised; /* by nas_initialise, from here on down */
    bool fixed;       /* the hook `fixed` has run */
    uint64_t seed;    /* of the initialisation */
};

/* --- the tree ------------------------------------------------------------------------------------ */
nas_module *nas__module_root(nas_module *module);
/* Children in order; *n of them. Borrowed; invalid after the next change of the tree. */
nas_module *const *nas__module_children(const nas_module *module, size_t *n);
/* Calls visit for the module and everything below it, parents first; ends with the first status other than 0. */
typedef nas_status (*nas__module_fn)(nas_module *module, void *user);
nas_status nas__module_walk(nas_module *module, nas__module_fn visit, void *user);
/* Takes a module out of its parent; the caller owns it from then on. A module without a parent is left alone. */
void nas__module_detach(nas_module *module);
/* Runs the hook `fixed` of the module and of everything below it; once each, however often it is called. */
nas_status nas__module_fix(nas_module *module);
/* Returns the module, or frees it and returns NULL when `complete` is false: the end of a constructor. */
nas_module *nas__module_complete(void *module, bool complete);

/* nas_identity_new()? */
bool nas__is_identity(const nas_module *module);

/* --- watching ------------------------------------------------------------------------------------ */
/* Called on its own thread when the forward function of a module begins and when it has ended. */
typedef struct nas__forward_watcher {
    void (*event)(void *user, const nas_module *module, bool done);
    void *user;
} nas__forward_watcher;
/* Of the calling thread's passes, until it is replaced; NULL: nobody watches. Borrowed. */
void nas__watch_forward(const nas__forward_watcher *watcher);

/* --- parameters ---------------------------------------------------------------------------------- */
/* As nas_visit_parameters, with what the initialiser needs and without initialising anything. */
typedef nas_status (*nas__parameter_fn)(const char *path, nas__parameter *parameter, void *user);
nas_status nas__module_parameters(nas_module *module, nas__parameter_fn visit, void *user);
/* Trainable numbers of the module itself, without its children: now, and once the architecture is fixed (batch norms
 * may get theirs then, or be dropped). */
int64_t nas__own_parameters(const nas_module *module);
int64_t nas__own_parameters_when_fixed(const nas_module *module);
/* Frees the module's own parameters and buffers (not those of its children). */
void nas__module_drop_parameters(nas_module *module);
/* Initialises the tree that the module belongs to when that has never been done (seed 0), or what came to it later. */
nas_status nas__initialise_once(nas_module *module);
/* Values of one parameter as nas_initialise makes them. */
nas_status nas__initialise_parameter(const char *path, nas__parameter *parameter, uint64_t seed);

/* --- inputs in parts ------------------------------------------------------------------------------ */
/* The convolutions and dense layers below `module` all read an input of that supply. NAS_SHAPE when the channels of one
 * are not equal parts. Passes use the weights of the parts that are given; fixing drops the others. */
nas_status nas__module_supply(nas_module *module, const nas__supply *supply);
/* The weight (out, in, ...) of a layer for what its input has in this pass: the weight itself, or those of the parts
 * that are given side by side. NULL and an error on failure. */
nas_tensor *nas__weight_in_use(const nas_module *layer, nas_tensor *weight);
/* Numbers in the module's own weights (not its children's) that this pass does not use. */
int64_t nas__weights_unused(const nas_module *layer);
/* Drops these for good. */
void nas__weights_keep_given(nas_module *layer);

/* --- searched widths (width.c) ---------------------------------------------------------------------- */
/* Convolutions and batch norms below `module` have that width (NULL: whole), convolutions read that many channels.
 * Grouped ones have to be depthwise. Passes use the first channels; fixing drops the others. */
void nas__module_width(nas_module *module, const nas__width *out, const nas__width *in);
/* What this pass uses of a layer's parameter: itself, or a slice of it. NULL and an error on failure. */
nas_tensor *nas__width_in_use(const nas_module *layer, nas_tensor *parameter);
/* Its channels in use, of dimension 0. */
int64_t nas__channels_in_use(const nas_module *layer, const nas_tensor *parameter);
/* Numbers of it that are not in use; drops these for good. */
int64_t nas__width_unused(const nas__parameter *p);
void nas__width_keep(nas__parameter *p);

/* --- folding (fold.c) ------------------------------------------------------------------------------- */
/* Calls fold for what nas_fold_batch_norm would fold: n convolutions whose outputs, one behind the other, are what a
 * batch norm reads; ends with the first status other than 0. */
typedef nas_status (*nas__fold_fn)(int n, nas_module *const *convs, nas_module *bn, void *user);
nas_status nas__fold_pairs(nas_module *model, nas__fold_fn fold, void *user);
const nas_tensor *nas__bn_mean(const nas_module *bn);   /* its running estimate */
bool nas__bn_goes_when_fixed(const nas_module *module); /* a batch norm that is there while searching alone */

/* --- attachments --------------------------------------------------------------------------------- */
/* The module owns the object from here on (it is freed at once on failure). */
nas_status nas__attach(nas_module *module, const char *tag, void *object, void (*free_fn)(void *object));
/* The index-th object with this tag in the order of attaching, or NULL. */
void *nas__attached(const nas_module *module, const char *tag, size_t index);

#endif
