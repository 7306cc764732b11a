/* hash.h - FNV-1a, 64 bits: the same number for the same bytes in every process, on every machine. No protection
 * against somebody who looks for collisions. */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t nas__hash_bytes(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ p[i]) * 0x100000001b3u;
    }
    return hash;
}

static inline uint64_t nas__hash_text(const char *text) { return nas__hash_bytes(text, strlen(text)); }

#endif
