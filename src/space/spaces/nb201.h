/* nb201.h - cells of NAS-Bench-201 as numbers and strings, for tables of known accuracies. */
#ifndef SPACE_SPACES_NB201_H
#define SPACE_SPACES_NB201_H

#include <espalier/space.h>

enum { NAS__NB201_EDGES = 6, NAS__NB201_OPS = 5, NAS__NB201_CELLS = 15625 };

/* The lexicographic code: the six edges' operations as digits to base 5, edge 1<-0 first. -1 and an error for other
 * spaces. */
int nas__nb201_code(const nas_architecture *a);
nas_architecture *nas__nb201_decode(const nas_space *space, int code);
/* "|nor_conv_3x3~0|+|...|" of a code (new, free()) and back; -1 and an error when it is none. */
char *nas__nb201_string(int code);
int nas__nb201_parse(const char *string);

#endif
