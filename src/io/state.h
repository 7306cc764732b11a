/* state.h - the named arrays of a checkpoint. The same code that names the numbers for saving names them for loading,
 * so the two can never disagree: `nas__state_f32(state, "alpha", ptr, n)` writes when saving and reads when loading. */
#ifndef IO_STATE_H
#define IO_STATE_H

#include <espalier/nn.h>

typedef struct nas__state nas__state;

/* Bind memory that lives until nas__state_finish(). Sticky: the first failure is reported by finish. Names are unique.
 */
void nas__state_f32(nas__state *s, const char *name, float *values, size_t count);
void nas__state_f64(nas__state *s, const char *name, double *values, size_t count);
void nas__state_i64(nas__state *s, const char *name, int64_t *values, size_t count);
void nas__state_u64(nas__state *s, const char *name, uint64_t *values, size_t count);
void nas__state_tensor(nas__state *s, const char *name, nas_tensor *t); /* persistent tensors */
/* "PREFIX" + path for every parameter and buffer */
void nas__state_model(nas__state *s, const char *prefix, nas_module *model);
/* An array whose length is not known before loading. Saving copies it at once. Loading sets *values to a new array (the
 * caller's, to be freed with free(); what it pointed to before stays as it is) and *count to its length at once, so
 * that later bindings may depend on them; NULL and 0 after a failure. */
void nas__state_list_f64(nas__state *s, const char *name, double **values, size_t *count);
void nas__state_list_u64(nas__state *s, const char *name, uint64_t **values, size_t *count);
/* Takes the calling thread's pending error as a failure of the state. */
void nas__state_fail(nas__state *s);
bool nas__state_is_loading(const nas__state *s);

/* A safetensors file; metadata (may be NULL) is kept under the key "espalier". */
nas__state *nas__state_save_begin(const char *path, const char *metadata);
/* NULL and an error when the file is missing, truncated or damaged (a checksum over the data is verified). */
nas__state *nas__state_load_begin(const char *path);
const char *nas__state_metadata(const nas__state *s); /* of a loaded file; "" if none */
/* Saving: writes atomically. Loading: fills every bound array, or none: missing names and wrong lengths are errors that
 * name them. */
nas_status nas__state_finish(nas__state *s);
void nas__state_abandon(nas__state *s); /* instead of finish; NULL is fine */

#endif
