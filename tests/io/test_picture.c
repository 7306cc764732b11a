/* Pictures of the networks of all spaces: what they show, that nothing lies on anything else, and what the files are.
 */
#include "in_directory.h"

#include "io/picture.h"

#include <math.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("picture.svg");
}

static char *random_architecture(const char *space, uint64_t seed) {
    nas_module *model = nas_space_build(space, NULL);
    nas_space *s = nas_space_new(model);
    nas_architecture *a = nas_architecture_new(s);
    nas_rng rng = nas_rng_new(seed, 1);
    nas_architecture_random(a, &rng);
    char *json = nas_architecture_json(a, false);
    assert_no_error();
    nas_architecture_free(a);
    nas_space_free(s);
    nas_module_free(model);
    return json;
}

static nas_picture *draw(const char *space, const char *architecture) {
    nas_module *model = nas_space_build(space, NULL);
    nas_picture *p = nas_picture_new(
        model, &(nas_export_config){.ndim = 3, .dims = {1, 28, 28}, .space = space, .architecture = architecture});
    if (!p) {
        fail_msg("%s: %s", space, nas_error_message());
    }
    nas_module_free(model);
    return p;
}

/* --- what lies where --------------------------------------------------------------------------------------- */
typedef struct box {
    double x, y, width, height; /* of the centre */
} box;

static bool meet(const box *a, const box *b) {
    return fabs(a->x - b->x) < (a->width + b->width) / 2 && fabs(a->y - b->y) < (a->height + b->height) / 2;
}

static void check_figure(const char *space, const nas__figure *f) {
    size_t n = 0;
    box *boxes = calloc(f->n_nodes + f->n_edges, sizeof *boxes);
    for (size_t i = 0; i < f->n_nodes; i++) {
        const nas__picture_node *v = &f->nodes[i];
        boxes[n++] = (box){v->x, v->y, v->width, v->height};
        double side = fmax(nas__text_width(v->name), nas__text_width(v->shape));
        boxes[n - 1].width += f->column ? 2 * side : 0;
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        const nas__picture_edge *e = &f->edges[i];
        const double *from = e->line[0], *to = e->line[e->n_points - 1];
        assert_true(f->across ? to[0] > from[0] : to[1] > from[1]);
        assert_true(!e->label == (e->at < 0));
        if (e->label) {
            boxes[n++] = (box){e->line[e->at][0], e->line[e->at][1], e->width, e->height};
        }
    }
    for (size_t i = 0; i < n; i++) {
        const box *b = &boxes[i];
        bool inside = b->x - b->width / 2 >= 0 && b->x + b->width / 2 <= f->width && b->y - b->height / 2 >= 0 &&
                      b->y + b->height / 2 <= f->height;
        for (size_t k = 0; inside && k < i; k++) {
            if (meet(b, &boxes[k])) {
                fail_msg("%s: %zu lies on %zu", space, i, k);
            }
        }
        if (!inside) {
            fail_msg("%s: %zu is not in the picture", space, i);
        }
    }
    free(boxes);
}

/* PICTURES=DIR in the environment: a file for each, to be looked at. */
static void keep(const nas_picture *p, const char *space, uint64_t seed) {
    const char *place = getenv("PICTURES");
    char name[512];
    if (place) {
        snprintf(name, sizeof name, "%s/%s-%d.svg", place, space, (int)seed);
        assert_int_equal(nas_picture_svg(p, name), NAS_OK);
    }
}

static void nothing_lies_on_anything_else(void **state) {
    (void)state;
    for (const nas_space_info *const *s = nas_spaces(); *s; s++) {
        for (uint64_t seed = 0; seed < 2; seed++) {
            char *architecture = random_architecture((*s)->name, seed);
            nas_picture *p = draw((*s)->name, architecture);
            assert_true(p->n_figures > 0);
            for (size_t i = 0; i < p->n_figures; i++) {
                assert_true(p->figures[i].n_nodes > 2);
                check_figure((*s)->name, &p->figures[i]);
            }
            keep(p, (*s)->name, seed);
            nas_picture_free(p);
            free(architecture);
        }
    }
}

/* --- what they show ---------------------------------------------------------------------------------------- */
static void expect_edge(const nas__figure *f, int from, int to, const char *label) {
    for (size_t i = 0; i < f->n_edges; i++) {
        const nas__picture_edge *e = &f->edges[i];
        if (e->from == from && e->to == to && (label ? e->label && !strcmp(e->label, label) : !e->label)) {
            return;
        }
    }
    fail_msg("no edge %d -> %d (%s)", from, to, label ? label : "");
}

static void a_cell_of_edges(void **state) {
    (void)state;
    nas_picture *p = draw("nb201", "{\"edge_1_0\": \"nor_conv_3x3\", \"edge_2_0\": \"none\", \"edge_2_1\": 1, "
                                   "\"edge_3_0\": 2, \"edge_3_1\": 4, \"edge_3_2\": 3}");
    const nas__figure *f = p->figures;
    assert_int_equal(p->n_figures, 1);
    assert_int_equal(f->n_nodes, 4); /* the last one is the cell's output */
    assert_int_equal(f->n_edges, 6);
    assert_string_equal(f->nodes[0].sub, "k-1");
    assert_string_equal(f->nodes[3].sub, "k");
    expect_edge(f, 0, 1, "nor_conv_3x3");
    expect_edge(f, 0, 2, "none");
    expect_edge(f, 1, 2, "skip_connect");
    expect_edge(f, 2, 3, "nor_conv_3x3");
    for (size_t i = 0; i < f->n_edges; i++) {
        assert_true(f->edges[i].faint == !strcmp(f->edges[i].label, "none"));
    }
    nas_picture_free(p);
}

static void a_cell_with_chosen_inputs(void **state) {
    (void)state;
    char *architecture = random_architecture("darts", 5);
    nas_picture *p = draw("darts", architecture);
    assert_int_equal(p->n_figures, 2);
    assert_string_equal(p->figures[0].title, "normal cell");
    assert_string_equal(p->figures[1].title, "reduce cell");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(p->figures[i].n_nodes, 2 + 4 + 1);
        assert_int_equal(p->figures[i].n_edges, 4 * 2 + 4); /* two for each node, and to the output */
        expect_edge(&p->figures[i], 5, 6, NULL);
    }
    nas_picture_free(p);
    free(architecture);
}

static void loose_ends_are_handed_on(void **state) {
    (void)state;
    char *architecture = random_architecture("nasnet", 3);
    nas_picture *p = draw("nasnet", architecture);
    const nas__figure *f = &p->figures[0];
    assert_int_equal(f->n_nodes, 2 + 5 + 1);
    for (int node = 2; node < 7; node++) {
        int read = 0, out = 0;
        for (size_t i = 0; i < f->n_edges; i++) {
            read += f->edges[i].from == node && f->edges[i].to < 7;
            out += f->edges[i].from == node && f->edges[i].to == 7;
        }
        assert_int_equal(out, !read);
    }
    nas_picture_free(p);
    free(architecture);
}

static const nas__picture_node *node_named(const nas__figure *f, const char *name) {
    for (size_t i = 0; i < f->n_nodes; i++) {
        if (f->nodes[i].name && !strcmp(f->nodes[i].name, name)) {
            return &f->nodes[i];
        }
    }
    return NULL;
}

static void a_chain_is_a_column(void **state) {
    (void)state;
    nas_picture *p = draw("chain", "{\"layer_1\": \"conv3x3\", \"layer_2\": \"sep3x3\", \"layer_3\": \"skip\", "
                                   "\"layer_4\": \"max_pool_3x3\", \"layer_5\": \"conv5x5\", \"skip\": \"layer_4\"}");
    const nas__figure *f = p->figures;
    assert_string_equal(node_named(f, "layer_1")->label, "conv3x3");
    assert_string_equal(node_named(f, "layer_2")->label, "sep3x3");
    assert_null(node_named(f, "layer_3")); /* nothing is computed there */
    assert_true(node_named(f, "layer_5")->y > node_named(f, "layer_4")->y);
    assert_true(node_named(f, "layer_1")->colour != node_named(f, "layer_2")->colour);
    int from4 = 0;
    for (size_t i = 0; i < f->n_edges; i++) {
        from4 += &f->nodes[f->edges[i].from] == node_named(f, "layer_4");
    }
    assert_int_equal(from4, 2); /* to the next layer and to the sum */
    nas_picture_free(p);
}

/* --- the files --------------------------------------------------------------------------------------------- */
static void files_are_complete_and_texts_are_escaped(void **state) {
    (void)state;
    char *dot = nas__join(directory, "picture.dot"), *architecture = random_architecture("macro", 1);
    nas_module *model = nas_space_build("macro", NULL);
    nas_picture *p = nas_picture_new(
        model, &(nas_export_config){.ndim = 3, .dims = {1, 28, 28}, .space = "a<b>&\"c", .architecture = architecture});
    assert_non_null(p);
    assert_int_equal(nas_picture_svg(p, path), NAS_OK);
    assert_int_equal(nas_picture_dot(p, dot), NAS_OK);
    char *svg = nas__read_text(path), *graph = nas__read_text(dot);
    assert_non_null(strstr(svg, "<title>a&lt;b&gt;&amp;\"c</title>"));
    assert_string_equal(svg + strlen(svg) - 7, "</svg>\n");
    assert_non_null(strstr(svg, "layer_8"));
    assert_ptr_equal(strstr(graph, "digraph \"a<b>&\\\"c\" {"), graph);
    assert_non_null(strstr(graph, "n0_0 -> n0_1;"));
    assert_int_equal(nas_picture_svg(p, "/nowhere/x.svg"), NAS_IO);
    assert_error(NAS_IO, "/nowhere/x.svg");
    assert_int_equal(nas_picture_dot(p, "/nowhere/x.dot"), NAS_IO);
    assert_error(NAS_IO, "/nowhere/x.dot");
    nas_picture_free(p);
    nas_module_free(model);
    free(svg);
    free(graph);
    free(dot);
    free(architecture);
}

static void what_cannot_be_drawn(void **state) {
    (void)state;
    nas_module *model = nas_space_build("nb201", NULL);
    nas_export_config config = {.ndim = 3, .dims = {1, 28, 28}};
    assert_null(nas_picture_new(model, &config));
    assert_error(NAS_INVALID, "architecture");
    config.architecture = "{}";
    assert_null(nas_picture_new(model, &config));
    assert_error(NAS_NOT_FOUND, "edge_1_0");
    nas_picture_free(NULL);
    nas_module_free(model);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(nothing_lies_on_anything_else), CASE(a_cell_of_edges),     CASE(a_cell_with_chosen_inputs),
        CASE(loose_ends_are_handed_on),      CASE(a_chain_is_a_column), CASE(files_are_complete_and_texts_are_escaped),
        CASE(what_cannot_be_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
