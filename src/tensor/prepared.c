/* prepared.c - see prepared.h. Several threads may run one frozen network: the list of its prepared forms only grows,
 * by its head. */
#include "tensor/prepared.h"

#include <stdlib.h>

struct nas__prepared_form {
    nas__prepared_form *next;
    uint64_t form;
    nas__buffer *buffer;
};

static nas__prepared_form *first_of(nas_tensor *t) { return atomic_load_explicit(&t->prepared, memory_order_acquire); }

static nas__buffer *find(const nas__prepared_form *from, uint64_t form) {
    while (from && from->form != form) {
        from = from->next;
    }
    return from ? from->buffer : NULL;
}

/* Two threads that prepare the same form at once both keep theirs; the one that comes first is found. */
static void keep(nas_tensor *t, uint64_t form, nas__buffer *buffer) {
    nas__prepared_form *entry = malloc(sizeof *entry);
    if (!entry) {
        return; /* then it is made again for the next pass */
    }
    *entry = (nas__prepared_form){.next = first_of(t), .form = form, .buffer = nas__buffer_ref(buffer)};
    while (!atomic_compare_exchange_weak(&t->prepared, &entry->next, entry)) {
    }
}

nas__buffer *nas__prepared(nas_tensor *t, uint64_t form, size_t count, nas__prepare_fn make, const void *what) {
    nas__buffer *kept = t->frozen ? find(first_of(t), form) : NULL;
    if (kept) {
        return nas__buffer_ref(kept);
    }
    nas__buffer *fresh = nas__buffer_new(count * sizeof(float));
    if (fresh && make(t, what, fresh->data)) {
        nas__buffer_unref(fresh);
        return NULL;
    }
    if (fresh && t->frozen) {
        keep(t, form, fresh);
    }
    return fresh;
}

void nas__freeze(nas_tensor *t) { t->frozen = t->persistent; }

void nas__thaw(nas_tensor *t) {
    nas__prepared_form *entry = atomic_exchange(&t->prepared, NULL);
    while (entry) {
        nas__prepared_form *next = entry->next;
        nas__buffer_unref(entry->buffer);
        free(entry);
        entry = next;
    }
    t->frozen = false;
}
