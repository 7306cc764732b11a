/* espalier.h - everything. The rooms, from the bottom up: */
#ifndef ESPALIER_ESPALIER_H
#define ESPALIER_ESPALIER_H

#include <espalier/core.h>
#include <espalier/tensor.h>
#include <espalier/ops.h>
#include <espalier/options.h>
#include <espalier/nn.h>
#include <espalier/data.h>
#include <espalier/space.h>
#include <espalier/hardware.h>
#include <espalier/io.h>
#include <espalier/dist.h>
#include <espalier/search.h>
#include <espalier/strategy.h>

#endif
