/* picture_svg.c - pictures as SVG: figures one below the other. */
#include "io/picture.h"

#include "core/error.h"
#include "core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const colours[] = {"#cfe2f3", "#fce5cd", "#d9ead3", "#f4cccc", "#d9d2e9", "#fff2cc",
                                      "#d0e0e3", "#ead1dc", "#dde8b9", "#f9d9b8", "#c9daf8", "#e6d5c3",
                                      "#cdeee2", "#e8e0ff", "#9fc5e8", "#f9cb9c", "#b6d7a8", "#ea9999",
                                      "#b4a7d6", "#ffe599", "#a2c4c9", "#d5a6bd", "#c4d69b", "#e0b088"};
enum { N_COLOURS = sizeof colours / sizeof *colours, TITLE = 26, LINE = 14 };

static const char *fill_of(int colour) { return colour < 0 ? "white" : colours[colour % N_COLOURS]; }

static void write_text(FILE *out, const char *text, size_t length) {
    for (const char *end = text + length; text < end; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        default:
            if ((unsigned char)*text >= ' ') {
                fputc(*text, out);
            }
        }
    }
}

/* Lines around a place; sub: behind the last one. */
static void write_label(FILE *out, double x, double y, const char *more, const char *text, const char *sub) {
    int lines = nas__text_lines(text);
    for (int i = 0; text && i < lines; i++) {
        const char *end = strchrnul(text, '\n');
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\"%s>", x, y + 4 + LINE * (i - 0.5 * (lines - 1)), more);
        write_text(out, text, (size_t)(end - text));
        if (sub && i == lines - 1) {
            fputs("<tspan font-size=\"8\" dy=\"3\">", out);
            write_text(out, sub, strlen(sub));
            fputs("</tspan>", out);
        }
        fputs("</text>\n", out);
        text = *end ? end + 1 : end;
    }
}

/* Through all points, straight past what stands in their layers. */
static void write_curve(FILE *out, const nas__figure *f, const nas__picture_edge *e) {
    fprintf(out, "<path class=\"%s\" d=\"M%.1f %.1f", e->faint ? "e f" : "e", e->line[0][0], e->line[0][1]);
    for (int i = 1; i < e->n_points; i++) {
        const double *a = e->line[i - 1], *b = e->line[i];
        double ax = a[0] + (f->across ? a[2] : 0), ay = a[1] + (f->across ? 0 : a[2]),
               bx = b[0] - (f->across ? b[2] : 0), by = b[1] - (f->across ? 0 : b[2]), mx = (ax + bx) / 2,
               my = (ay + by) / 2;
        if (a[2] > 0) {
            fprintf(out, "L%.1f %.1f", ax, ay);
        }
        if (f->across) {
            fprintf(out, "C%.1f %.1f %.1f %.1f %.1f %.1f", mx, ay, mx, by, bx, by);
        } else {
            fprintf(out, "C%.1f %.1f %.1f %.1f %.1f %.1f", ax, my, bx, my, bx, by);
        }
    }
    fputs("\"/>\n", out);
}

static void write_edge(FILE *out, const nas__figure *f, const nas__picture_edge *e) {
    write_curve(out, f, e);
    if (e->at >= 0) {
        double x = e->line[e->at][0], y = e->line[e->at][1];
        fprintf(out,
                "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.1f\" fill=\"%s\" stroke=\"%s\"/>\n",
                x - e->width / 2, y - e->height / 2, e->width, e->height, e->height / 2, fill_of(e->colour),
                e->faint ? "#bbb" : "#777");
        write_label(out, x, y, e->faint ? " fill=\"#999\"" : "", e->label, NULL);
    }
}

static void write_node(FILE *out, const nas__figure *f, const nas__picture_node *n) {
    double round = n->form == NAS__NODE_BLOCK ? 4 : n->height / 2, side = n->width / 2 + 6;
    fprintf(out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"%.1f\" fill=\"%s\" stroke=\"#333\"/>\n",
            n->x - n->width / 2, n->y - n->height / 2, n->width, n->height, round,
            n->form == NAS__NODE_VALUE ? "#eeeeee" : fill_of(n->colour));
    char *note = nas__node_note(f, n);
    write_label(out, n->x, n->y - (note ? LINE / 2 : 0), "", n->label, n->sub);
    write_label(out, n->x, n->y + n->height / 2 - LINE / 2 - 3, " class=\"s\"", note, NULL);
    free(note);
    if (f->across) {
        write_label(out, n->x, n->y + n->height / 2 + 10, " class=\"s\"", n->name, NULL);
    } else if (f->column) {
        write_label(out, n->x - side, n->y, " class=\"s\" text-anchor=\"end\"", n->name, NULL);
        write_label(out, n->x + side, n->y, " class=\"s\" text-anchor=\"start\"", n->shape, NULL);
    }
}

static void write_figure(FILE *out, const nas__figure *f, double x, double y) {
    fprintf(out, "<g transform=\"translate(%.1f %.1f)\">\n", x, y);
    if (f->title) {
        write_label(out, f->width / 2, 8, " font-weight=\"bold\"", f->title, NULL);
        fprintf(out, "<g transform=\"translate(0 %d)\">\n", TITLE);
    }
    for (size_t i = 0; i < f->n_edges; i++) {
        write_edge(out, f, &f->edges[i]);
    }
    for (size_t i = 0; i < f->n_nodes; i++) {
        write_node(out, f, &f->nodes[i]);
    }
    fputs(f->title ? "</g>\n</g>\n" : "</g>\n", out);
}

static double height_of(const nas__figure *f) { return f->height + (f->title ? TITLE : 0); }

nas_status nas_picture_svg(const nas_picture *p, const char *path) {
    nas__atomic_file file;
    double width = 0, height = 0;
    for (size_t i = 0; i < p->n_figures; i++) {
        width = p->figures[i].width > width ? p->figures[i].width : width;
        height += height_of(&p->figures[i]);
    }
    if (nas__atomic_open(&file, path)) {
        return nas_error_status();
    }
    FILE *out = file.stream;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
            "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n<title>",
            width, height, width, height);
    const char *title = p->title ? p->title : "network";
    write_text(out, title, strlen(title));
    fputs("</title>\n<style>.e{fill:none;stroke:#333;marker-end:url(#a)}.f{stroke:#bbb;stroke-dasharray:4 3}"
          ".s{font-size:10px;fill:#666}</style>\n<marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" "
          "markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\"><path d=\"M0 .8L8 4L0 7.2z\" fill=\"#333\"/></marker>\n"
          "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
          out);
    double y = 0;
    for (size_t i = 0; i < p->n_figures; i++) {
        write_figure(out, &p->figures[i], (width - p->figures[i].width) / 2, y);
        y += height_of(&p->figures[i]);
    }
    fputs("</svg>\n", out);
    return nas__atomic_commit(&file);
}
