/* The safetensors format: what is written is the documented layout and comes back; damaged and hostile files are
 * refused. */
#include "in_directory.h"
#include "io/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state) {
    (void)state;
    return make_place("x.safetensors");
}

/* Without the syncing of nas__write_file: there are thousands of damaged files. */
static void put(const void *data, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static const float floats[6] = {1, -2, 3.5f, 0, 1e-30f, 7};
static const double doubles[2] = {0.1, -1e300};
static const int64_t ints[1] = {INT64_MIN};
static const uint64_t words[2] = {UINT64_MAX, 1};
static const uint8_t bytes[3] = {1, 2, 255};

static void write_five(void) {
    const nas__array arrays[] = {
        {"bytes", NAS__U8, 1, {3}, bytes},      {"float \"quoted\" \xc3\xa9", NAS__F32, 2, {2, 3}, floats},
        {"doubles", NAS__F64, 1, {2}, doubles}, {"scalar", NAS__I64, 0, {0}, ints},
        {"words", NAS__U64, 1, {2}, words},     {"empty", NAS__F32, 2, {0, 5}, NULL},
    };
    const nas__text_pair metadata[] = {{"note", "a \"b\" checksum\":\"crc32:"}};
    assert_int_equal(nas__safetensors_write(path, 6, arrays, 1, metadata), NAS_OK);
}

static void comes_back(void **state) {
    (void)state;
    write_five();
    nas__safetensors *f = nas__safetensors_read(path);
    assert_no_error();
    assert_int_equal(nas__safetensors_size(f), 6);
    assert_true(nas__safetensors_checked(f));
    assert_string_equal(nas__safetensors_metadata(f, "note"), "a \"b\" checksum\":\"crc32:");
    assert_null(nas__safetensors_metadata(f, "other"));
    assert_null(nas__safetensors_find(f, "other"));
    const nas__array *a = nas__safetensors_find(f, "float \"quoted\" \xc3\xa9");
    assert_string_equal(nas__array_text(a), "F32 2x3");
    assert_memory_equal(a->data, floats, sizeof floats);
    assert_memory_equal(nas__safetensors_find(f, "doubles")->data, doubles, sizeof doubles);
    assert_memory_equal(nas__safetensors_find(f, "words")->data, words, sizeof words);
    assert_memory_equal(nas__safetensors_find(f, "bytes")->data, bytes, sizeof bytes);
    a = nas__safetensors_find(f, "scalar");
    assert_string_equal(nas__array_text(a), "I64 scalar");
    assert_memory_equal(a->data, ints, sizeof ints);
    assert_int_equal(nas__array_count(nas__safetensors_find(f, "empty")), 0);
    for (size_t i = 1; i < 6; i++) { /* wide numbers come first, so everything is aligned */
        assert_true(nas__safetensors_at(f, i - 1)->data <= nas__safetensors_at(f, i)->data);
    }
    nas__safetensors_free(f);
}

static void layout_is_the_documented_one(void **state) {
    (void)state;
    write_five();
    size_t size;
    unsigned char *file = (unsigned char *)nas__read_file(path, &size);
    uint64_t header = 0;
    memcpy(&header, file, 8); /* this machine is little-endian, or the next lines fail */
    assert_int_equal((8 + header) % 64, 0);
    assert_int_equal(size, 8 + header + 16 + 8 + 16 + 24 + 3);
    assert_memory_equal(file + 8 + header, doubles, sizeof doubles);
    assert_int_equal(file[8], '{');
    const char *entry = "\"doubles\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}";
    assert_non_null(memmem(file + 8, header, entry, strlen(entry)));
    free(file);
}

static void same_arrays_give_the_same_bytes(void **state) {
    (void)state;
    size_t n, m;
    write_five();
    char *first = nas__read_file(path, &n);
    write_five();
    char *second = nas__read_file(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(first, second, n);
    free(first);
    free(second);
}

/* Every cut and every flipped bit must be refused, whatever it hits. */
static void every_damage_is_seen(void **state) {
    (void)state;
    write_five();
    size_t size;
    char *file = nas__read_file(path, &size);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 40) {
        put(file, cut);
        assert_null(nas__safetensors_read(path));
        assert_error(NAS_PARSE, "truncated");
    }
    for (size_t i = 0; i < size; i++) {
        file[i] ^= (char)(1 << i % 8);
        put(file, size);
        nas__safetensors *f = nas__safetensors_read(path);
        if (f && nas__safetensors_checked(f)) {
            fail_msg("a flipped bit in byte %zu was not noticed", i);
        }
        nas__safetensors_free(f); /* one that hit the word "checksum" itself leaves a file without one */
        nas_error_clear();
        file[i] ^= (char)(1 << i % 8);
    }
    free(file);
}

static void refuse(const char *header, const char *data, size_t n, nas_status status, const char *part) {
    uint64_t length = strlen(header);
    char file[4096] = "";
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    memcpy(file + 8 + length, data, n);
    put(file, 8 + length + n);
    assert_null(nas__safetensors_read(path));
    assert_error(status, part);
}

static void hostile_headers_are_refused(void **state) {
    (void)state;
    const char *zeros = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    refuse("", zeros, 0, NAS_PARSE, "not a JSON object");
    refuse(" {}", zeros, 0, NAS_PARSE, "not a JSON object");
    refuse("{\"a\":", zeros, 0, NAS_PARSE, "its header");
    refuse("{}", zeros, 1, NAS_PARSE, "bytes behind");
    refuse("{\"a\":1}", zeros, 0, NAS_PARSE, "\"a\": its description");
    refuse("{\"a\":{}}", zeros, 0, NAS_PARSE, "dtype is missing");
    refuse("{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", zeros, 4, NAS_UNSUPPORTED, "F16");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", zeros, 8, NAS_PARSE, "shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", zeros, 4, NAS_PARSE, "whole number");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", zeros, 4, NAS_PARSE, "whole number");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", zeros, 4, NAS_PARSE,
           "at most 8");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", zeros, 0, NAS_PARSE,
           "too large");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", zeros, 0, NAS_PARSE,
           "too large");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", zeros, 4, NAS_PARSE, "in order");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", zeros, 4, NAS_PARSE, "in order");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]}}", zeros, 8, NAS_PARSE,
           "do not fit its shape");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", zeros, 8, NAS_PARSE, "gap");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
           "\"data_offsets\":[4,8]}}",
           zeros, 8, NAS_PARSE, "\"b\": it overlaps");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
           "\"data_offsets\":[0,4]}}",
           zeros, 4, NAS_PARSE, "duplicate");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[9],\"data_offsets\":[0,36]}}", zeros, 16, NAS_PARSE, "truncated");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,99999999999999999999]}}", zeros, 4, NAS_PARSE,
           "header");
    refuse("{\"__metadata__\":[]}", zeros, 0, NAS_PARSE, "__metadata__");
    refuse("{\"__metadata__\":{\"a\":1}}", zeros, 0, NAS_PARSE, "not text");
    refuse("{\"__metadata__\":{\"checksum\":\"crc32:\"}}", zeros, 0, NAS_PARSE, "damaged");
    refuse("{\"__metadata__\":{\"checksum\": \"crc32:12345678\"}}", zeros, 0, NAS_PARSE, "damaged");
    put("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
    assert_null(nas__safetensors_read(path));
    assert_error(NAS_PARSE, "more than 100 MB");
}

static void other_failures_say_what(void **state) {
    (void)state;
    assert_null(nas__safetensors_read("/nowhere/x"));
    assert_error(NAS_NOT_FOUND, "/nowhere/x");
    assert_null(nas__safetensors_read(directory));
    assert_error(NAS_IO, "is not a file");
    const nas__array twice[] = {{"a", NAS__U8, 1, {3}, bytes}, {"a", NAS__U8, 1, {3}, bytes}};
    assert_int_equal(nas__safetensors_write(path, 2, twice, 0, NULL), NAS_INVALID);
    assert_error(NAS_INVALID, "used for two arrays");
    const nas__array reserved = {"__metadata__", NAS__U8, 1, {3}, bytes};
    nas__safetensors_write(path, 1, &reserved, 0, NULL);
    assert_error(NAS_INVALID, "used for two arrays");
    const nas__array latin = {"\xe9", NAS__U8, 1, {3}, bytes};
    nas__safetensors_write(path, 1, &latin, 0, NULL);
    assert_error(NAS_INVALID, "UTF-8");
    assert_false(nas__exists(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layout_is_the_documented_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(same_arrays_give_the_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_damage_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_headers_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_failures_say_what, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
