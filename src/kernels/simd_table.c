/* simd_table.c - the kernel table of one instruction set. */
#include "kernels/simd_functions.h"
#include "kernels/simd_pointwise.h"

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

const nas__kernels NAS_SIMD(nas__kernels) = {
    .isa = TEXT(NAS_ISA),
    .block = BLOCK,
    .panel = PANEL,
    .unit_forward = NAS_SIMD(nas__unit_forward),
    .unit_backward = NAS_SIMD(nas__unit_backward),
    .global_pool_forward = NAS_SIMD(nas__global_pool_forward),
    .global_pool_backward = NAS_SIMD(nas__global_pool_backward),
    .bn_stats = NAS_SIMD(nas__bn_stats),
    .pointwise_forward = NAS_SIMD(nas__pointwise_forward),
    .pointwise_backward = NAS_SIMD(nas__pointwise_backward),
    .halves_forward = NAS_SIMD(nas__halves_forward),
    .halves_backward = NAS_SIMD(nas__halves_backward),
    .late_values = NAS_SIMD(nas__late_values),
    .late_gradient = NAS_SIMD(nas__late_gradient),
    .late_sums = NAS_SIMD(nas__late_sums),
    .mix_forward = NAS_SIMD(nas__mix_forward),
    .mix_backward = NAS_SIMD(nas__mix_backward),
    .terms_forward = NAS_SIMD(nas__terms_forward),
    .terms_backward = NAS_SIMD(nas__terms_backward),
    .pool_forward_late = NAS_SIMD(nas__pool_forward_late),
    .pools_sums = NAS_SIMD(nas__pools_sums),
    .pools_backward_late = NAS_SIMD(nas__pools_backward_late),
    .relu_forward = NAS_SIMD(nas__relu_forward),
    .relu_backward = NAS_SIMD(nas__relu_backward),
    .add = NAS_SIMD(nas__add),
    .mul = NAS_SIMD(nas__mul),
    .axpby = NAS_SIMD(nas__axpby),
    .scale_per_sample = NAS_SIMD(nas__scale_per_sample),
    .dot = NAS_SIMD(nas__dot),
    .sgd = NAS_SIMD(nas__sgd),
    .adam = NAS_SIMD(nas__adam),
    .conv3_weights_size = NAS_SIMD(nas__conv3_weights_size),
    .conv3_weights = NAS_SIMD(nas__conv3_weights),
    .conv3_forward = NAS_SIMD(nas__conv3_forward),
    .conv3_backward = NAS_SIMD(nas__conv3_backward),
};
