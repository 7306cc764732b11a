/* c_functions.c - the C99 functions that exported networks call: plain loops over one sample in (C,H,W) order, the
 * innermost ones over neighbouring floats, so that compilers make vector code of them. */
#include "io/c_writer.h"

#define EACH(name, expression)                                                                                         \
    "static void " name "(const float *x, float *y, int n) {\n"                                                        \
    "    for (int i = 0; i < n; i++) {\n"                                                                              \
    "        y[i] = " expression ";\n"                                                                                 \
    "    }\n"                                                                                                          \
    "}\n"

#define PAIR(name, operator)                                                                                           \
    "static void " name "(const float *a, const float *b, float *y, int n) {\n"                                        \
    "    for (int i = 0; i < n; i++) {\n"                                                                              \
    "        y[i] = a[i] "                                                                                             \
    operator" b[i];\n"                                                                                                 \
            "    }\n"                                                                                                  \
            "}\n"

#define BY_CHANNEL(name, factors, expression)                                                                          \
    "static void " name "(const float *x, " factors ", float *y, int channels, int area) {\n"                          \
    "    for (int c = 0; c < channels; c++, x += area, y += area) {\n"                                                 \
    "        for (int i = 0; i < area; i++) {\n"                                                                       \
    "            y[i] = " expression ";\n"                                                                             \
    "        }\n"                                                                                                      \
    "    }\n"                                                                                                          \
    "}\n"

#define POOL(name, start, step, end)                                                                                   \
    "static void " name "(const float *x, float *y, int channels, int ih, int iw, int oh, int ow, int kernel, int "    \
    "stride,\n"                                                                                                        \
    "                     int pad, int count_padding) {\n"                                                             \
    "    (void)count_padding;\n"                                                                                       \
    "    for (int c = 0; c < channels; c++, x += ih * iw) {\n"                                                         \
    "        for (int i = 0; i < oh * ow; i++) {\n"                                                                    \
    "            int top = i / ow * stride - pad, left = i % ow * stride - pad;\n"                                     \
    "            int y0 = top < 0 ? 0 : top, y1 = top + kernel > ih ? ih : top + kernel;\n"                            \
    "            int x0 = left < 0 ? 0 : left, x1 = left + kernel > iw ? iw : left + kernel;\n"                        \
    "            float v = " start ";\n"                                                                               \
    "            for (int r = y0; r < y1; r++) {\n"                                                                    \
    "                for (int k = x0; k < x1; k++) {\n"                                                                \
    "                    " step ";\n"                                                                                  \
    "                }\n"                                                                                              \
    "            }\n"                                                                                                  \
    "            *y++ = " end ";\n"                                                                                    \
    "        }\n"                                                                                                      \
    "    }\n"                                                                                                          \
    "}\n"

static const char *const texts[NAS__N_C_FUNCTIONS] = {
    [NAS__C_CONV] =
        "/* one line of an output plane += tap * line of the input, where that is inside */\n"
        "static void add_line(const float *x, float tap, float *y, int iw, int ow, int stride, int from) {\n"
        "    int begin = from < 0 ? (stride - 1 - from) / stride : 0;\n"
        "    int end = iw - from <= 0 ? 0 : (iw - from + stride - 1) / stride;\n"
        "    end = end < ow ? end : ow;\n"
        "    if (stride == 1) {\n"
        "        for (int i = begin; i < end; i++) {\n"
        "            y[i] += tap * x[i + from];\n"
        "        }\n"
        "    } else {\n"
        "        for (int i = begin; i < end; i++) {\n"
        "            y[i] += tap * x[i * stride + from];\n"
        "        }\n"
        "    }\n"
        "}\n"
        "static void conv(const float *x, const float *w, const float *bias, float *y, int ic, int ih, int iw, int "
        "oc,\n"
        "                 int oh, int ow, int kh, int kw, int stride, int dilation, int pad_h, int pad_w, int groups) "
        "{\n"
        "    int ins = ic / groups, outs = oc / groups;\n"
        "    for (int o = 0; o < oc; o++, y += oh * ow) {\n"
        "        for (int i = 0; i < oh * ow; i++) {\n"
        "            y[i] = bias ? bias[o] : 0;\n"
        "        }\n"
        "        for (int c = 0; c < ins; c++) {\n"
        "            const float *plane = x + (o / outs * ins + c) * ih * iw;\n"
        "            for (int k = 0; k < kh * kw; k++, w++) {\n"
        "                for (int r = 0; r < oh; r++) {\n"
        "                    int row = r * stride - pad_h + k / kw * dilation;\n"
        "                    if (row >= 0 && row < ih) {\n"
        "                        add_line(plane + row * iw, *w, y + r * ow, iw, ow, stride, k % kw * dilation - "
        "pad_w);\n"
        "                    }\n"
        "                }\n"
        "            }\n"
        "        }\n"
        "    }\n"
        "}\n",
    [NAS__C_LINEAR] = "static void linear(const float *x, const float *w, const float *bias, float *y, int in, int "
                      "out) {\n"
                      "    for (int o = 0; o < out; o++, w += in) {\n"
                      "        float sum = bias ? bias[o] : 0;\n"
                      "        for (int i = 0; i < in; i++) {\n"
                      "            sum += w[i] * x[i];\n"
                      "        }\n"
                      "        y[o] = sum;\n"
                      "    }\n"
                      "}\n",
    [NAS__C_AFFINE] = BY_CHANNEL("affine", "const float *scale, const float *shift", "scale[c] * x[i] + shift[c]"),
    [NAS__C_MAX_POOL] = POOL("max_pool", "x[y0 * iw + x0]", "v = x[r * iw + k] > v ? x[r * iw + k] : v", "v"),
    [NAS__C_AVG_POOL] = POOL("avg_pool", "0", "v += x[r * iw + k]",
                             "v / (float)(count_padding ? kernel * kernel : (y1 - y0) * (x1 - x0))"),
    [NAS__C_GLOBAL_POOL] = "static void global_pool(const float *x, float *y, int channels, int area) {\n"
                           "    for (int c = 0; c < channels; c++, x += area) {\n"
                           "        float sum = 0;\n"
                           "        for (int i = 0; i < area; i++) {\n"
                           "            sum += x[i];\n"
                           "        }\n"
                           "        y[c] = sum / (float)area;\n"
                           "    }\n"
                           "}\n",
    [NAS__C_RELU] = EACH("relu", "x[i] > 0 ? x[i] : 0"),
    [NAS__C_RELU6] = EACH("relu6", "x[i] < 0 ? 0 : x[i] > 6 ? 6 : x[i]"),
    [NAS__C_SIGMOID] = EACH("sigmoid", "1 / (1 + expf(-x[i]))"),
    [NAS__C_TANH] = EACH("hyperbolic", "tanhf(x[i])"),
    [NAS__C_GELU] = EACH("gelu", "0.5f * x[i] * (1 + erff(x[i] * 0.70710678f))"),
    [NAS__C_SWISH] = EACH("swish", "x[i] / (1 + expf(-x[i]))"),
    [NAS__C_HARD_SIGMOID] = EACH("hard_sigmoid", "(x[i] < -3 ? 0 : x[i] > 3 ? 6 : x[i] + 3) * (1 / 6.0f)"),
    [NAS__C_HARD_SWISH] = EACH("hard_swish", "x[i] * (x[i] < -3 ? 0 : x[i] > 3 ? 6 : x[i] + 3) * (1 / 6.0f)"),
    [NAS__C_SOFTMAX] = "static void softmax(const float *x, float *y, int rows, int n, int logarithm) {\n"
                       "    for (int r = 0; r < rows; r++, x += n, y += n) {\n"
                       "        float most = x[0], sum = 0;\n"
                       "        for (int i = 1; i < n; i++) {\n"
                       "            most = x[i] > most ? x[i] : most;\n"
                       "        }\n"
                       "        for (int i = 0; i < n; i++) {\n"
                       "            sum += expf(x[i] - most);\n"
                       "        }\n"
                       "        for (int i = 0; i < n; i++) {\n"
                       "            y[i] = logarithm ? x[i] - most - logf(sum) : expf(x[i] - most) / sum;\n"
                       "        }\n"
                       "    }\n"
                       "}\n",
    [NAS__C_ADD] = PAIR("add", "+"),
    [NAS__C_SUB] = PAIR("sub", "-"),
    [NAS__C_MUL] = PAIR("mul", "*"),
    [NAS__C_GATE] = BY_CHANNEL("gate", "const float *by", "by[c] * x[i]"),
    [NAS__C_SCALE] = "static void scale(const float *x, float by, float *y, int n) {\n"
                     "    for (int i = 0; i < n; i++) {\n"
                     "        y[i] = by * x[i];\n"
                     "    }\n"
                     "}\n",
    [NAS__C_ROWS] = "/* rows of n floats, so many floats apart */\n"
                    "static void copy_rows(const float *x, float *y, int rows, int n, int x_step, int y_step) {\n"
                    "    for (int r = 0; r < rows; r++, x += x_step, y += y_step) {\n"
                    "        memcpy(y, x, (size_t)n * sizeof *y);\n"
                    "    }\n"
                    "}\n",
    [NAS__C_PAD] = "static void pad(const float *x, float *y, int channels, int ih, int iw, int oh, int ow, int top, "
                   "int left) {\n"
                   "    for (int c = 0; c < channels; c++, x += ih * iw) {\n"
                   "        for (int i = 0; i < oh * ow; i++) {\n"
                   "            int r = i / ow - top, k = i % ow - left;\n"
                   "            *y++ = r >= 0 && r < ih && k >= 0 && k < iw ? x[r * iw + k] : 0;\n"
                   "        }\n"
                   "    }\n"
                   "}\n",
};

const char *nas__c_text(nas__c_function f) { return texts[f]; }
