/* page.h - the page (web/ in the sources), built into one file, compressed and embedded. */
#ifndef WEB_PAGE_H
#define WEB_PAGE_H

#include <stddef.h>

extern const unsigned char nas__page[]; /* gzip */
extern const size_t nas__page_size;
extern const char nas__page_policy[]; /* its Content-Security-Policy: hashes of its script and style */

#endif
