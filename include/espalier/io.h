/* io.h - networks as files. */
#ifndef ESPALIER_IO_H
#define ESPALIER_IO_H

#include <espalier/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* All parameters and buffers as a safetensors file, by path, and back (names and shapes must agree: errors name the
 * first that does not). */
NAS_API nas_status nas_save_weights(nas_module *model, const char *path);
NAS_API nas_status nas_load_weights(nas_module *model, const char *path);
/* The same, for the names that both have with equal shapes; *loaded (may be NULL) counts them. A checkpoint of a search
 * serves, too. */
NAS_API nas_status nas_inherit_weights(nas_module *model, const char *path, int *loaded);

/* --- networks for other tools ------------------------------------------------------------------------- */
/* What is written beside the network itself. Texts may be NULL: left out. */
typedef struct nas_export_config {
    int ndim; /* of one sample: 1 to 4 */
    int64_t dims[NAS_MAX_DIMS - 1];
    const char *space, *architecture; /* a name, and the choices as JSON */
    int n_classes;
    const char *const *class_names;
    /* The network was trained on (pixel * scale - mean) / std, per channel; std[0] 0: not known. */
    float scale, mean[4], std[4];
    bool normalise; /* ONNX: the file does that itself and is given pixels as they are */
} nas_export_config;
/* A model with a fixed architecture as an ONNX file (opset 13): input "input" (batch, dims...), output "output"; any
 * batch. Batch norms are in it as they are in the model: nas_fold_batch_norm() before leaves few. NAS_UNSUPPORTED when
 * an operation has no place in such a file. Written atomically. */
NAS_API nas_status nas_export_onnx(nas_module *model, const nas_export_config *config, const char *path);
typedef struct nas_c_memory {
    int64_t arena_bytes, weight_bytes; /* of the static arrays of an exported C file */
} nas_c_memory;
/* The same as one C99 file that needs nothing but libm: weights, one static arena for everything between input and
 * output, and a function `void NAME_run(const float *input, float *output)` for one sample, NAME as the file's. *memory
 * (may be NULL): what its arrays occupy. */
NAS_API nas_status nas_export_c(nas_module *model, const nas_export_config *config, const char *path,
                                nas_c_memory *memory);

/* What nas_export_c would say of the network that the decisions in force of a model make (choices may be open), batch
 * norms folded: to the byte, without fixing or writing anything. NAS_UNSUPPORTED where weights are computed while
 * searching, as of smash. */
NAS_API nas_status nas_count_c(nas_module *model, int ndim, const int64_t *sample_dims, nas_c_memory *memory);

/* Its weights as safetensors with the names that PyTorch would give them: as nas_save_weights, but for gamma and beta
 * of batch norms, which are weight and bias. nas_load_weights and nas_inherit_weights read both. */
NAS_API nas_status nas_export_safetensors(nas_module *model, const nas_export_config *config, const char *path);

/* A network from an ONNX file (convolutions, batch norm, ReLU, ReLU6 as Clip, sigmoid, pools, Add, Concat, dense
 * layers, Flatten, Reshape, Identity, Dropout and Constant), without open choices, with its weights; dimensions of a
 * sample, 0 where they are free. NULL and an error: the file is damaged, or has a node that is not read
 * (NAS_UNSUPPORTED, by its name). */
NAS_API nas_module *nas_import_onnx(const char *path, int *ndim, int64_t sample_dims[NAS_MAX_DIMS - 1]);

/* --- pictures ---------------------------------------------------------------------------------------- */
/* Of the network that config->architecture (required) chooses from a model whose choices are open: its cells, where it
 * is made of nas_cell(), as graphs of values with operations on the edges; else the modules that are computed, with
 * their chosen candidates, from the top down. config->space is the title (NULL: none). The model may be fixed
 * afterwards. NULL and an error as of nas_export_onnx and nas_architecture_parse. */
typedef struct nas_picture nas_picture;
NAS_API nas_picture *nas_picture_new(nas_module *model, const nas_export_config *config);
NAS_API nas_status nas_picture_svg(const nas_picture *picture, const char *path); /* laid out in layers */
NAS_API nas_status nas_picture_dot(const nas_picture *picture, const char *path); /* for Graphviz */
NAS_API void nas_picture_free(nas_picture *picture);                              /* NULL is fine */

/* --- the named numbers of a checkpoint ------------------------------------------------------------- */
/* One function names them, for saving and for loading: `nas_state_f32(state, "alpha", ptr, n)` writes or reads, so the
 * two cannot disagree. */
typedef struct nas_state nas_state;
/* Bind memory that lives until nas__state_finish(). Sticky: the first failure is reported by finish. Names are unique.
 */
NAS_API void nas_state_f32(nas_state *s, const char *name, float *values, size_t count);
NAS_API void nas_state_f64(nas_state *s, const char *name, double *values, size_t count);
NAS_API void nas_state_i64(nas_state *s, const char *name, int64_t *values, size_t count);
NAS_API void nas_state_u64(nas_state *s, const char *name, uint64_t *values, size_t count);
NAS_API void nas_state_tensor(nas_state *s, const char *name, nas_tensor *t); /* persistent tensors */
/* "PREFIX" + path for every parameter and buffer */
NAS_API void nas_state_model(nas_state *s, const char *prefix, nas_module *model);
/* An array whose length is not known before loading. Saving copies it at once. Loading sets *values to a new array (the
 * caller's, to be freed with free(); what it pointed to before stays as it is) and *count to its length at once, so
 * that later bindings may depend on them; NULL and 0 after a failure. */
NAS_API void nas_state_list_f64(nas_state *s, const char *name, double **values, size_t *count);
NAS_API void nas_state_list_u64(nas_state *s, const char *name, uint64_t **values, size_t *count);
/* Every buffer and counter of a bound optimiser, each name with the prefix. */
NAS_API void nas_state_optimizer(nas_state *s, const char *prefix, nas_optimizer *optimizer);
/* Takes the calling thread's pending error as a failure of the state. */
NAS_API void nas_state_fail(nas_state *s);
NAS_API bool nas_state_is_loading(const nas_state *s);

#ifdef __cplusplus
}
#endif
#endif
