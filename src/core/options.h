/* options.h - several options in one text. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <espalier/options.h>

/* Defaults, then "a=1,b=2" (NULL: none) into `fields`; `owner` is whose options they are, for the message. */
nas_status nas__options_read(const nas_option *table, void *fields, const char *owner, const char *text);

#endif
