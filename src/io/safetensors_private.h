/* safetensors_private.h - what the writer and the reader of safetensors files must agree on. */
#ifndef IO_SAFETENSORS_PRIVATE_H
#define IO_SAFETENSORS_PRIVATE_H

/* The checksum is the CRC-32 of the padded header, with zeros in place of these eight digits, and the data. In a
 * compact dump this text can only be the key itself: a quote inside a name or value is written with a backslash. */
#define NAS__CHECKSUM_KEY    "checksum"
#define NAS__CHECKSUM_PREFIX "crc32:"
#define NAS__CHECKSUM_TEXT   "\"" NAS__CHECKSUM_KEY "\":\"" NAS__CHECKSUM_PREFIX
#define NAS__CHECKSUM_ZERO   NAS__CHECKSUM_PREFIX "00000000"
enum { NAS__CHECKSUM_DIGITS = 8, NAS__HEADER_LIMIT = 100 * 1000 * 1000 /* as the reference implementation has it */ };

#endif
