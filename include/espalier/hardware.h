/* hardware.h - what a network costs. */
#ifndef ESPALIER_HARDWARE_H
#define ESPALIER_HARDWARE_H

#include <espalier/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Multiply-adds of one image (channels, height, width) and trainable parameters of a model, choices as decided: the
 * parameters are those that it has once it is fixed so. A dry pass: nothing is computed. Either result may be NULL.
 * Fails as the forward function does. */
NAS_API nas_status nas_model_cost(nas_module *model, int ndim, const int64_t *sample_dims, uint64_t *macs,
                                  int64_t *parameters);

#ifdef __cplusplus
}
#endif
#endif
