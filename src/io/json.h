/* json.h - numbers as JSON has them: it knows neither infinity nor NaN. */
#ifndef IO_JSON_H
#define IO_JSON_H

#include <jansson.h>
#include <math.h>

/* null when it is not finite */
static inline json_t *nas__real_json(double value) { return isfinite(value) ? json_real(value) : json_null(); }

#endif
