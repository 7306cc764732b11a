/* module.c - the tree of modules: ownership, names, paths, running. */
#include "nn/layers.h"

#include "core/error.h"
#include "core/memory.h"
#include "tensor/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- making and freeing -------------------------------------------------------------------------- */
void *nas_module_alloc(size_t size, nas_forward_fn forward, const char *type) {
    nas_module *module = nas__alloc(size);
    nas_module_state *state = module ? nas__alloc(sizeof *state) : NULL;
    char *name = state ? nas__strdup("") : NULL;
    if (!name) {
        free(state);
        free(module);
        return NULL;
    }
    state->name = name;
    *module = (nas_module){.forward = forward, .type = type, .state = state};
    return module;
}

void nas__module_drop_parameters(nas_module *module) {
    nas_module_state *s = module->state;
    for (size_t i = 0; i < s->n_parameters; i++) {
        nas_tensor_free(s->parameters[i].tensor);
        free(s->parameters[i].name);
    }
    s->n_parameters = 0;
}

void nas_module_free(nas_module *module) {
    if (!module) {
        return;
    }
    nas__module_detach(module);
    if (module->release) {
        module->release(module);
    }
    nas_module_state *s = module->state;
    while (s->n_children) {
        nas_module_free(s->children[s->n_children - 1]);
    }
    for (size_t i = s->n_attachments; i-- > 0;) {
        s->attachments[i].free_fn(s->attachments[i].object);
    }
    nas__module_drop_parameters(module);
    free(s->children);
    free(s->parameters);
    free(s->attachments);
    free(s->name);
    free(s);
    free(module);
}

nas_module *nas__module_complete(void *module, bool complete) {
    if (!complete) {
        nas_module_free(module);
    }
    return complete ? module : NULL;
}

/* --- names and paths ----------------------------------------------------------------------------- */
static bool bad_name(const char *what, const nas_module *owner, const char *name) {
    if (!name || !*name || strchr(name, '.')) {
        nas__fail(NAS_INVALID, "%s: \"%s\" below \"%s\" is no name; it must not be empty or contain a dot", what,
                  name ? name : "", nas_module_path(owner));
        return true;
    }
    return false;
}

static size_t write_path(const nas_module *module, char *text, size_t size) {
    const nas_module_state *s = module->state;
    if (!s->parent) {
        return 0;
    }
    size_t used = write_path(s->parent, text, size);
    if (used < size) {
        used += (size_t)snprintf(text + used, size - used, used ? ".%s" : "%s", s->name);
    }
    return used < size ? used : size;
}

const char *nas_module_path(const nas_module *module) {
    static _Thread_local char text[2048];
    text[0] = 0;
    if (module) {
        write_path(module, text, sizeof text);
    }
    return text;
}

/* --- the tree ------------------------------------------------------------------------------------ */
nas_module *nas__module_root(nas_module *module) {
    while (module->state->parent) {
        module = module->state->parent;
    }
    return module;
}

nas_module *const *nas__module_children(const nas_module *module, size_t *n) {
    *n = module->state->n_children;
    return module->state->children;
}

static bool has_child(const nas_module_state *s, const char *name) {
    for (size_t i = 0; i < s->n_children; i++) {
        if (!strcmp(s->children[i]->state->name, name)) {
            return true;
        }
    }
    return false;
}

/* The parent owns the child from the call on, so a child that cannot be added is freed; unless somebody else owns it.
 */
nas_module *nas_module_add(nas_module *parent, const char *name, nas_module *child) {
    if (!child) {
        return nas__fail_null(NAS_INVALID, "nas_child: the module for \"%s\" is NULL", name ? name : "");
    }
    if (child->state->parent) {
        return nas__fail_null(NAS_INVALID, "nas_child: \"%s\" is a child already, at \"%s\"; make a second module",
                              name ? name : "", nas_module_path(child));
    }
    if (parent && nas__module_root(parent) == child) {
        return nas__fail_null(NAS_INVALID, "nas_child: \"%s\" would stand below itself", name ? name : "");
    }
    char *copy = NULL;
    if (!parent) {
        nas__fail(NAS_INVALID, "nas_child: the parent of \"%s\" is NULL", name ? name : "");
    } else if (!bad_name("nas_child", parent, name)) {
        if (has_child(parent->state, name)) {
            nas__fail(NAS_INVALID, "nas_child: \"%s\" has a child \"%s\" already; names are unique among siblings",
                      nas_module_path(parent), name);
        } else {
            copy = nas__strdup(name);
        }
    }
    if (!copy || !nas__grow(&parent->state->children, parent->state->n_children, sizeof(nas_module *))) {
        free(copy);
        nas_module_free(child);
        return NULL;
    }
    free(child->state->name);
    child->state->name = copy;
    child->state->parent = parent;
    parent->state->children[parent->state->n_children++] = child;
    return child;
}

static size_t position(const nas_module_state *s, const nas_module *child) {
    size_t i = 0;
    while (s->children[i] != child) {
        i++;
    }
    return i;
}

void nas__module_detach(nas_module *module) {
    nas_module *parent = module->state->parent;
    if (parent) {
        nas_module_state *s = parent->state;
        size_t i = position(s, module);
        memmove(s->children + i, s->children + i + 1, (--s->n_children - i) * sizeof *s->children);
        module->state->parent = NULL;
    }
}

nas_status nas__module_walk(nas_module *module, nas__module_fn visit, void *user) {
    nas_status status = visit(module, user);
    for (size_t i = 0; !status && i < module->state->n_children; i++) {
        status = nas__module_walk(module->state->children[i], visit, user);
    }
    return status;
}

/* An error that was pending before is none of this module's. */
static nas_status fix_one(nas_module *module, void *user) {
    (void)user;
    bool pending = nas_error_status() != NAS_OK;
    if (!module->state->fixed) {
        module->state->fixed = true;
        nas__weights_keep_given(module);
        if (module->fixed) {
            module->fixed(module);
        }
    }
    return pending ? NAS_OK : nas_error_status();
}

nas_status nas__module_fix(nas_module *module) { return nas__module_walk(module, fix_one, NULL); }

/* --- parameters ---------------------------------------------------------------------------------- */
static nas_status fill_new(nas_module *owner, nas__parameter *p) {
    if (p->init != NAS_INIT_ZERO && p->init != NAS_INIT_ONE && !owner->state->initialised) {
        return NAS_OK; /* its values need its path, which is not known before the tree is complete */
    }
    const char *above = nas_module_path(owner);
    char *path = nas__format(*above ? "%s.%s" : "%s%s", above, p->name);
    nas_status status =
        path ? nas__initialise_parameter(path, p, nas__module_root(owner)->state->seed) : nas_error_status();
    free(path);
    return status;
}

static nas_tensor *add_parameter(nas_module *owner, const char *name, int ndim, const int64_t *dims, nas_init init,
                                 nas_role role) {
    if (!owner || bad_name("nas_parameter", owner, name)) {
        return nas__fail_null(NAS_INVALID, "nas_parameter: the owner of \"%s\" is NULL", name ? name : "");
    }
    nas_module_state *s = owner->state;
    for (size_t i = 0; i < s->n_parameters; i++) {
        if (!strcmp(s->parameters[i].name, name)) {
            return nas__fail_null(NAS_INVALID, "nas_parameter: \"%s\" has a parameter \"%s\" already",
                                  nas_module_path(owner), name);
        }
    }
    bool fits = ndim >= 1 && ndim <= NAS_MAX_DIMS;
    for (int i = 0; fits && i < ndim; i++) {
        fits = dims[i] >= 1;
    }
    if (!fits) {
        return nas__fail_null(NAS_SHAPE, "nas_parameter: \"%s\" of \"%s\" needs 1 to %d positive dimensions", name,
                              nas_module_path(owner), NAS_MAX_DIMS);
    }
    nas__parameter p = {.name = nas__strdup(name), .init = init, .role = role};
    p.tensor = p.name ? nas__persistent(ndim, dims, role) : NULL;
    if (!p.tensor || fill_new(owner, &p) || !nas__grow(&s->parameters, s->n_parameters, sizeof p)) {
        nas_tensor_free(p.tensor);
        free(p.name);
        return NULL;
    }
    s->parameters[s->n_parameters++] = p;
    return p.tensor;
}

nas_tensor *nas_parameter(nas_module *owner, const char *name, int ndim, const int64_t *dims, nas_init init) {
    return add_parameter(owner, name, ndim, dims, init, NAS_ROLE_WEIGHT);
}

nas_tensor *nas_state_buffer(nas_module *owner, const char *name, int ndim, const int64_t *dims, nas_init init) {
    return add_parameter(owner, name, ndim, dims, init, NAS_ROLE_BUFFER);
}

/* --- walking over parameters --------------------------------------------------------------------- */
static nas_status walk_parameters(nas_module *module, const char *path, nas__parameter_fn visit, void *user) {
    nas_module_state *s = module->state;
    nas_status status = NAS_OK;
    const char *dot = *path ? "." : "";
    for (size_t i = 0; !status && i < s->n_parameters; i++) {
        char *text = nas__format("%s%s%s", path, dot, s->parameters[i].name);
        status = text ? visit(text, &s->parameters[i], user) : nas_error_status();
        free(text);
    }
    for (size_t i = 0; !status && i < s->n_children; i++) {
        char *text = nas__format("%s%s%s", path, dot, s->children[i]->state->name);
        status = text ? walk_parameters(s->children[i], text, visit, user) : nas_error_status();
        free(text);
    }
    return status;
}

nas_status nas__module_parameters(nas_module *module, nas__parameter_fn visit, void *user) {
    char *path = nas__strdup(nas_module_path(module));
    nas_status status = path ? walk_parameters(module, path, visit, user) : nas_error_status();
    free(path);
    return status;
}

typedef struct public_visit {
    nas_parameter_fn visit;
    void *user;
} public_visit;

static nas_status visit_public(const char *path, nas__parameter *p, void *user) {
    const public_visit *v = user;
    return v->visit(path, p->tensor, p->role, v->user);
}

nas_status nas_visit_parameters(nas_module *model, nas_parameter_fn visit, void *user) {
    if (!model) {
        return nas__fail(NAS_INVALID, "nas_visit_parameters: the model is NULL");
    }
    /* Whoever reads sees what the first forward pass would see, and what a visitor writes (a checkpoint) is kept. */
    nas_status status = nas__initialise_once(model);
    return status ? status : nas__module_parameters(model, visit_public, &(public_visit){visit, user});
}

static nas_status count_one(const char *path, nas__parameter *p, void *user) {
    (void)path;
    *(int64_t *)user += p->role == NAS_ROLE_WEIGHT ? nas__count(p->tensor) : 0;
    return NAS_OK;
}

int64_t nas_parameter_count(nas_module *model) {
    int64_t count = 0;
    if (model) {
        nas__module_parameters(model, count_one, &count);
    }
    return count;
}

int64_t nas__own_parameters(const nas_module *module) {
    int64_t count = 0;
    for (size_t i = 0; i < module->state->n_parameters; i++) {
        const nas__parameter *p = &module->state->parameters[i];
        count += p->role == NAS_ROLE_WEIGHT ? nas_tensor_count(p->tensor) : 0;
    }
    return count;
}

int64_t nas__own_parameters_when_fixed(const nas_module *module) {
    int64_t of_norm = nas__bn_fixed_parameters(module);
    return of_norm >= 0 ? of_norm : nas__own_parameters(module) - nas__weights_unused(module);
}

/* --- attachments --------------------------------------------------------------------------------- */
nas_status nas__attach(nas_module *module, const char *tag, void *object, void (*free_fn)(void *object)) {
    nas_module_state *s = module->state;
    if (!nas__grow(&s->attachments, s->n_attachments, sizeof *s->attachments)) {
        free_fn(object);
        return nas_error_status();
    }
    s->attachments[s->n_attachments++] = (nas__attachment){tag, object, free_fn};
    return NAS_OK;
}

void *nas__attached(const nas_module *module, const char *tag, size_t index) {
    const nas_module_state *s = module->state;
    for (size_t i = 0; i < s->n_attachments; i++) {
        if (!strcmp(s->attachments[i].tag, tag) && index-- == 0) {
            return s->attachments[i].object;
        }
    }
    return NULL;
}

/* --- running ------------------------------------------------------------------------------------- */
/* Says where in the network an error arose. The innermost module speaks first; its path begins with that of those
 * around it. */
static void locate_error(const nas_module *module) {
    const char *path = nas_module_path(module), *message = nas_error_message();
    size_t length = strlen(path);
    bool said = !strncmp(message, path, length) && (message[length] == '.' || message[length] == ':');
    if (length && !said) {
        nas__error_context("%s", path);
    }
}

static _Thread_local const nas__forward_watcher *watching;

void nas__watch_forward(const nas__forward_watcher *watcher) { watching = watcher; }

static void tell(const nas_module *module, bool done) {
    if (watching) {
        watching->event(watching->user, module, done);
    }
}

nas_tensor *nas_forward(nas_module *module, nas_tensor *x) {
    if (!module || !x) {
        return nas__fail_null(NAS_INVALID, "nas_forward: the %s is NULL", module ? "input" : "module");
    }
    if (!module->state->initialised && !nas__dry() && nas__initialise_once(module)) {
        return NULL;
    }
    tell(module, false);
    nas_tensor *y = module->forward(module, x);
    tell(module, true);
    if (!y) {
        nas__fail(NAS_INVALID, "the forward function returned NULL");
        locate_error(module);
    }
    return y;
}
