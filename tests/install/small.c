/* The smallest program: the derivative of the sum of 2x is 2. */
#include <espalier/espalier.h>

int main(void) {
    nas_tape *tape = nas_tape_new();
    nas_tensor *x = nas_variable(NAS_DIMS(3), NAS_ROLE_WEIGHT);
    nas_tape_begin(tape, &(nas_tape_config){.grad = NAS_ROLE_WEIGHT});
    float grad[3] = {0};
    if (!x || nas_backward(nas_sum(nas_scale(x, 2))) || nas_tensor_read_grad(x, grad)) {
        return nas_print_error();
    }
    nas_tape_free(tape);
    nas_tensor_free(x);
    return grad[0] == 2 && grad[2] == 2 ? 0 : 1;
}
