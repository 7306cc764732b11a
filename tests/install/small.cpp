// The smallest program in C++: no compound literals, the same functions.
#include <espalier/espalier.h>

int main() {
    const int64_t dims[] = {3};
    nas_tape *tape = nas_tape_new();
    nas_tensor *x = nas_variable(1, dims, NAS_ROLE_WEIGHT);
    nas_tape_config config = {};
    config.grad = NAS_ROLE_WEIGHT;
    nas_tape_begin(tape, &config);
    float grad[3] = {};
    if (!x || nas_backward(nas_sum(nas_scale(x, 2))) || nas_tensor_read_grad(x, grad)) {
        return nas_print_error();
    }
    nas_tape_free(tape);
    nas_tensor_free(x);
    return grad[0] == 2 && grad[2] == 2 ? 0 : 1;
}
