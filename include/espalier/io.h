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

#ifdef __cplusplus
}
#endif
#endif
