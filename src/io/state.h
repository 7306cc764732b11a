/* state.h - the named arrays of a checkpoint. The same code that names the numbers for saving names them for loading,
 * so the two can never disagree: `nas_state_f32(state, "alpha", ptr, n)` writes when saving and reads when loading. */
#ifndef IO_STATE_H
#define IO_STATE_H

#include <espalier/io.h>

#include "io/safetensors.h"

/* A safetensors file; metadata (may be NULL) is kept under the key "espalier". */
nas_state *nas__state_save_begin(const char *path, const char *metadata);
/* NULL and an error when the file is missing, truncated or damaged (a checksum over the data is verified). */
nas_state *nas__state_load_begin(const char *path);
bool nas__state_has(const nas_state *s, const char *name); /* a loaded file, an array of this name */
const char *nas__state_metadata(const nas_state *s);       /* of a loaded file; "" if none */
/* Saving: writes atomically. Loading: fills every bound array, or none: missing names and wrong lengths are errors that
 * name them. */
nas_status nas__state_finish(nas_state *s);
void nas__state_abandon(nas_state *s); /* instead of finish; NULL is fine */

/* A tensor as an array of a file: name (borrowed), type and dimensions; no data. */
nas__array nas__array_of(const char *name, const nas_tensor *t);

#endif
