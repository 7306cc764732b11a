/* A run that was stopped, or killed, and resumed is the same run, bit for bit: losses, weights, probabilities, scores,
 * results. */
#include "search/planted.h"
#include "search/run_log.h"
#include "search/superkernel_fixture.h"
#include "support.h"

#include "core/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES = 320, EPOCHS = 4, STEPS = 5 }; /* 160 for the weights: five batches of 32 */

/* Where to interrupt; 0 = nowhere. Steps count from the start of the process. */
typedef struct interruption {
    int stop_step, kill_step, stop_epoch, kill_epoch;
} interruption;

typedef struct outcome {
    step_losses losses;
    interruption at;
    uint64_t weights;
    char *files[2]; /* final_architecture.json and search-result.json of a search */
    bool stopped;
    int epochs;
} outcome;

static bool on_step(const nas_progress *progress, void *user) {
    outcome *o = user;
    o->losses.stop_at = o->at.stop_step;
    o->losses.kill_at = o->at.kill_step;
    return record_loss(progress, &o->losses);
}

static bool on_epoch(const nas_progress *progress, void *user) {
    const outcome *o = user;
    if (progress->epoch == o->at.kill_epoch) {
        kill(getpid(), SIGKILL);
    }
    return progress->epoch == o->at.stop_epoch;
}

/* --- one process's part of a search or a training -------------------------------------------------- */
static void run_search(nas_trainer_config *config, const char *directory, bool resume, outcome *o) {
    char *path = nas__join(directory, "run"), *json = nas__join(path, "final_architecture.json");
    config->num_epochs = EPOCHS;
    config->run_dir = path;
    config->resume = resume;
    config->log_frequency = 2;
    config->on_step = on_step;
    config->on_epoch = on_epoch;
    config->user = o;
    nas_trainer *t = nas_trainer_new(config);
    assert_no_error();
    assert_int_equal(nas_trainer_train(t), NAS_OK);
    o->stopped = nas_trainer_stopped(t);
    o->weights = weights_hash(config->model, EVERYTHING);
    assert_int_equal(nas_trainer_export(t, json), NAS_OK);
    o->files[0] = file_text(path, "final_architecture.json");
    o->files[1] = file_text(path, "search-result.json");
    free(json);
    free(path);
    nas_trainer_free(t);
}

static outcome search(const char *directory, const char *options, bool resume, interruption at) {
    outcome o = {.at = at};
    planted p = planted_new(PLANTED_CLASSES, SAMPLES, 3);
    p.config.options = options;
    p.config.optimizer =
        strstr(options, "order=2") ? nas_adam(.lr = 0.01) : nas_sgd(.lr = 0.05, .momentum = 0.9, .weight_decay = 3e-4);
    run_search(&p.config, directory, resume, &o);
    planted_free(&p);
    return o;
}

/* The cells of DARTS, small, on images that are mirrored and shifted. */
static nas_module *small_cells(void) {
    const nas_space_info *info = nas_space_info_find("darts");
    void *options = malloc(info->options_size);
    assert_int_equal(nas_options_default(info->options, options), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "channels", "2"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "layers", "3"), NAS_OK);
    assert_int_equal(nas_options_set(info->options, options, "nodes", "2"), NAS_OK);
    nas_module *model = nas_space_build(
        "darts", &(nas_space_config){.channels = 1, .height = 8, .width = 8, .outputs = 2, .options = options});
    free(options);
    assert_no_error();
    return model;
}

/* As deep as the others, once it is asked for enough. */
static nas_module *stage_cells(double share, void *user) {
    (void)user;
    return share > 0.6 ? small_cells() : nas_space_build("chain", &(nas_space_config){0});
}

static nas_dataset *small_images(void) {
    float *x = random_floats(8, SAMPLES * 64), y[SAMPLES];
    for (int i = 0; i < SAMPLES; i++) {
        y[i] = (float)(i % 2);
        for (int p = 0; p < 64; p++) {
            x[64 * i + p] = 0.5f + 0.2f * x[64 * i + p] + (i % 2 && p % 8 % 2 ? 0.2f : 0);
        }
    }
    nas_dataset *d = nas_dataset_from_arrays(SAMPLES, 3, (int64_t[]){1, 8, 8}, x, 1, y, 2);
    free(x);
    return d;
}

static outcome search_cells(const char *directory, const char *options, bool resume, interruption at) {
    outcome o = {.at = at};
    nas_dataset *data = small_images(), *parts[2];
    assert_int_equal(nas_dataset_split(data, 1, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_transform transform = nas_transform_default(data, false);
    transform.flip = true;
    transform.crop_padding = 1;
    nas_trainer_config config = {.model = small_cells(),
                                 .strategy = "darts",
                                 .space_name = "darts",
                                 .options = options,
                                 .batch_size = 32,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .transform = &transform,
                                 .stage_model = stage_cells,
                                 .seed = 3,
                                 .threads = 1};
    run_search(&config, directory, resume, &o);
    nas_free(config.model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return o;
}

static outcome search_drawing(const char *directory, const char *options, bool resume, interruption at) {
    outcome o = {.at = at};
    planted p = planted_new(PLANTED_CLASSES, SAMPLES, 3);
    p.config.strategy = strstr(options, "theta_lr") ? "fbnet" : strstr(options, "alpha_period") ? "proxyless" : "gdas";
    p.config.options = options;
    run_search(&p.config, directory, resume, &o);
    planted_free(&p);
    return o;
}

static outcome search_dots(const char *directory, const char *options, bool resume, interruption at) {
    outcome o = {.at = at};
    nas_dataset *data = dots_data(DOTS, SAMPLES, 3), *parts[2];
    nas_module *model = dots_model();
    assert_int_equal(nas_dataset_split(data, 3, 2, (const double[]){0.5, 0.5}, parts), NAS_OK);
    nas_trainer_config config = {.model = model,
                                 .strategy = "single-path",
                                 .options = options,
                                 .batch_size = 32,
                                 .dataset_train = parts[0],
                                 .dataset_valid = parts[1],
                                 .seed = 3,
                                 .threads = 1};
    run_search(&config, directory, resume, &o);
    nas_free(model);
    nas_dataset_free(parts[0]);
    nas_dataset_free(parts[1]);
    nas_dataset_free(data);
    return o;
}

static outcome train(const char *directory, const char *options, bool resume, interruption at) {
    outcome o = {.at = at};
    planted p = planted_new(PLANTED_CLASSES, SAMPLES, 3);
    char *path = nas__join(directory, "run"), *answer = planted_answer(3);
    (void)options;
    assert_int_equal(nas_apply_fixed_architecture_text(p.model, answer), NAS_OK);
    nas_fit_config config = {.model = p.model,
                             .optimizer = nas_adam(.lr = 0.01),
                             .drop_path = 0.2,
                             .batch_size = 32,
                             .num_epochs = EPOCHS,
                             .dataset_train = p.parts[0],
                             .dataset_valid = p.parts[1],
                             .log_frequency = 2,
                             .seed = 3,
                             .threads = 1,
                             .run_dir = path,
                             .resume = resume,
                             .on_step = on_step,
                             .on_epoch = on_epoch,
                             .user = &o};
    assert_int_equal(nas_fit(&config, &o.epochs), NAS_OK);
    o.weights = weights_hash(p.model, EVERYTHING);
    free(path);
    free(answer);
    planted_free(&p);
    return o;
}

typedef outcome (*run_fn)(const char *directory, const char *options, bool resume, interruption at);

/* The same in a process of its own, which is killed. */
static void run_killed(run_fn run, const char *directory, const char *options, interruption at) {
    char step[16], epoch[16];
    snprintf(step, sizeof step, "%d", at.kill_step);
    snprintf(epoch, sizeof epoch, "%d", at.kill_epoch);
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test_resume", run == search ? "search" : "train", directory, options, step, epoch,
              (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int be_killed(char **argv) {
    (strcmp(argv[1], "search") == 0 ? search : train)(
        argv[2], argv[3], false, (interruption){.kill_step = atoi(argv[4]), .kill_epoch = atoi(argv[5])});
    return 1; /* it should not have come here */
}

static void outcome_free(outcome *o) {
    free(o->files[0]);
    free(o->files[1]);
}

/* --- interrupted and resumed against in one go ------------------------------------------------------ */
typedef struct expectation {
    char *directory;
    outcome whole;
    int steps; /* of an epoch: of the weights, and where a strategy has phases those on the other part */
} expectation;

static expectation in_one_go(run_fn run, const char *options) {
    expectation e = {.directory = temporary_directory()};
    e.whole = run(e.directory, options, false, (interruption){0});
    e.steps = e.whole.losses.n / EPOCHS;
    assert_true(e.steps >= STEPS && e.whole.losses.n == EPOCHS * e.steps);
    assert_false(e.whole.stopped);
    return e;
}

static void expectation_free(expectation *e) {
    outcome_free(&e->whole);
    remove_directory(e->directory);
}

/* `done` epochs were saved before the interruption. */
static void assert_resumes(const expectation *e, run_fn run, const char *directory, const char *options, int done) {
    outcome rest = run(directory, options, true, (interruption){0});
    assert_int_equal(rest.losses.n, (EPOCHS - done) * e->steps);
    assert_same_losses(rest.losses.values, e->whole.losses.values + done * e->steps, rest.losses.n, "resumed");
    assert_true(rest.weights == e->whole.weights);
    for (int i = 0; i < 2 && rest.files[i]; i++) {
        assert_string_equal(rest.files[i], e->whole.files[i]);
    }
    assert_int_equal(rest.epochs, e->whole.epochs);
    assert_false(rest.stopped);
    char *whole_run = nas__join(e->directory, "run"), *run_of_parts = nas__join(directory, "run");
    assert_same_log(whole_run, run_of_parts);
    free(whole_run);
    free(run_of_parts);
    outcome_free(&rest);
}

static void stopped_and_resumed(run_fn run, const char *options, interruption at, int done) {
    expectation e = in_one_go(run, options);
    char *directory = temporary_directory();
    outcome first = run(directory, options, false, at);
    assert_same_losses(first.losses.values, e.whole.losses.values, first.losses.n, "before the interruption");
    assert_true(first.losses.n < e.whole.losses.n);
    assert_resumes(&e, run, directory, options, done);
    outcome_free(&first);
    remove_directory(directory);
    expectation_free(&e);
}

static void search_stopped_after_an_epoch(void **state) {
    (void)state;
    stopped_and_resumed(search, "order=1,alpha_lr=0.05", (interruption){.stop_epoch = 2}, 2);
    stopped_and_resumed(search, "order=2,alpha_lr=0.05", (interruption){.stop_epoch = 1}, 1);
}

static void cells_stopped_and_resumed(void **state) {
    (void)state;
    stopped_and_resumed(search_cells, "order=2,alpha_lr=0.05", (interruption){.stop_step = 2 * STEPS + 2}, 2);
}

static void gdas_stopped_and_resumed(void **state) {
    (void)state;
    stopped_and_resumed(search_drawing, "alpha_lr=0.05", (interruption){.stop_epoch = 1}, 1);
    stopped_and_resumed(search_drawing, "alpha_lr=0.05,update_all=1", (interruption){.stop_step = 2 * STEPS + 2}, 2);
    stopped_and_resumed(search_drawing, "alpha_lr=0.05,hard=0", (interruption){.stop_step = STEPS + 3}, 1);
}

/* In the warm-up with its dropped decisions, and behind it. */
static void single_path_stopped_and_resumed(void **state) {
    (void)state;
    stopped_and_resumed(search_dots, "cost_weight=10,threshold_lr=3", (interruption){.stop_epoch = 1}, 1);
    stopped_and_resumed(search_dots, "cost_weight=10,threshold_lr=3", (interruption){.stop_step = 3 * STEPS + 2}, 3);
}

static void fbnet_stopped_and_resumed(void **state) {
    (void)state;
    static const char options[] = "theta_lr=0.05,phases=batch,cost=macs,final_samples=2";
    stopped_and_resumed(search_drawing, options, (interruption){.stop_epoch = 1}, 1);
    stopped_and_resumed(search_drawing, options, (interruption){.stop_step = 2 * STEPS + 2}, 2);
}

/* Each epoch is a pass over the weights' part and one over theta's: stopped behind an epoch, and among theta's steps.
 */
static void fbnet_stopped_and_resumed_in_its_phases(void **state) {
    (void)state;
    static const char options[] = "theta_lr=0.05,warmup=0.25,cost=macs,cost_loss=add,final_samples=1";
    expectation e = in_one_go(search_drawing, options);
    int steps = e.steps;
    expectation_free(&e);
    assert_true(steps > STEPS);
    stopped_and_resumed(search_drawing, options, (interruption){.stop_epoch = 1}, 1);
    stopped_and_resumed(search_drawing, options, (interruption){.stop_step = 3 * steps - 1}, 2);
}

/* Stages, decided choices, eigenvalues and draws go on where they were. */
static void repairs_of_darts_resumed(void **state) {
    (void)state;
    stopped_and_resumed(search_cells, "variant=progressive,alpha_lr=0.05", (interruption){.stop_epoch = 2}, 2);
    stopped_and_resumed(search_cells, "variant=perturbation,select_batches=1", (interruption){.stop_epoch = 3}, 3);
    stopped_and_resumed(search_cells, "variant=drnas,partial=2,partial2=1,stop=eigenvalue,alpha_lr=0.05",
                        (interruption){.stop_step = 3 * STEPS + 2}, 3);
    stopped_and_resumed(search_cells, "variant=pc,partial=2,auxiliary=1,stop=skips", (interruption){.stop_epoch = 1},
                        1);
    stopped_and_resumed(search, "variant=fair,alpha_lr=0.05", (interruption){.stop_epoch = 2}, 2);
    stopped_and_resumed(search, "variant=beta,alpha_lr=0.05", (interruption){.stop_step = STEPS + 1}, 1);
    stopped_and_resumed(search, "variant=early,alpha_lr=0.05", (interruption){.stop_epoch = 3}, 3);
    stopped_and_resumed(search_cells, "variant=minus,alpha_lr=0.05", (interruption){.stop_epoch = 2}, 2);
}

static void proxyless_stopped_and_resumed(void **state) {
    (void)state;
    stopped_and_resumed(search_drawing, "alpha_lr=0.05,alpha_period=1,warmup_epochs=0,cost=macs",
                        (interruption){.stop_epoch = 1}, 1);
    stopped_and_resumed(search_drawing, "mode=reinforce,alpha_lr=0.05,alpha_period=2,warmup_epochs=1,samples=3",
                        (interruption){.stop_step = 2 * STEPS + 2}, 2);
    stopped_and_resumed(search_drawing, "mode=full,alpha_lr=0.05,alpha_period=1,warmup_epochs=1",
                        (interruption){.stop_epoch = 2}, 2);
}

static void search_stopped_inside_an_epoch(void **state) {
    (void)state;
    stopped_and_resumed(search, "order=1,alpha_lr=0.05", (interruption){.stop_step = 2 * STEPS + 2}, 2);
    stopped_and_resumed(search, "order=1,alpha_lr=0.05", (interruption){.stop_step = 2}, 0);
}

static void training_stopped_and_resumed(void **state) {
    (void)state;
    stopped_and_resumed(train, "", (interruption){.stop_epoch = 2}, 2);
    stopped_and_resumed(train, "", (interruption){.stop_step = 3 * STEPS + 3}, 3);
    stopped_and_resumed(train, "", (interruption){.stop_step = 1}, 0);
}

static void killed_and_resumed(run_fn run, const char *options) {
    static const struct {
        interruption at;
        int done;
    } cases[] = {
        {{.kill_step = 2}, 0},
        {{.kill_step = 2 * STEPS + 3}, 2},
        {{.kill_step = 2 * STEPS}, 1},    /* the last step of epoch 2: not saved yet */
        {{.kill_epoch = 3}, 3},           /* just saved */
        {{.kill_epoch = EPOCHS}, EPOCHS}, /* all done but the last words */
    };
    expectation e = in_one_go(run, options);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *directory = temporary_directory();
        run_killed(run, directory, options, cases[i].at);
        assert_resumes(&e, run, directory, options, cases[i].done);
        remove_directory(directory);
    }
    expectation_free(&e);
}

static void search_killed(void **state) {
    (void)state;
    killed_and_resumed(search, "order=1,alpha_lr=0.05");
}

static void training_killed(void **state) {
    (void)state;
    killed_and_resumed(train, "");
}

static void finished_run_resumed(void **state) {
    (void)state;
    expectation e = in_one_go(search, "order=1");
    outcome again = search(e.directory, "order=1", true, (interruption){0});
    assert_int_equal(again.losses.n, 0);
    assert_string_equal(again.files[0], e.whole.files[0]);
    assert_string_equal(again.files[1], e.whole.files[1]);
    assert_true(again.weights == e.whole.weights);
    outcome_free(&again);
    expectation_free(&e);
}

/* --resume where nothing is yet begins. */
static void nothing_to_resume(void **state) {
    (void)state;
    expectation e = in_one_go(search, "order=1");
    char *directory = temporary_directory();
    assert_resumes(&e, search, directory, "order=1", 0);
    remove_directory(directory);
    expectation_free(&e);
}

static void other_run_is_refused(void **state) {
    (void)state;
    char *directory = temporary_directory(), *path = nas__join(directory, "run");
    outcome o = search(directory, "order=1", false, (interruption){.stop_epoch = 1});
    planted p = planted_new(PLANTED_CLASSES, SAMPLES, 3);
    p.config.run_dir = path; /* without resume: what is there is kept */
    assert_null(nas_trainer_new(&p.config));
    assert_error(NAS_USAGE, path);
    nas_module *other = nas_space_build("chain", &(nas_space_config){0});
    p.config.model = other;
    p.config.resume = true;
    assert_null(nas_trainer_new(&p.config));
    assert_error(nas_error_status(), directory);
    char *json = file_text(path, "final_architecture.json");
    assert_string_equal(json, o.files[0]);
    free(json);
    nas_free(other);
    outcome_free(&o);
    planted_free(&p);
    free(path);
    remove_directory(directory);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_stopped_after_an_epoch),
        cmocka_unit_test(search_stopped_inside_an_epoch),
        cmocka_unit_test(cells_stopped_and_resumed),
        cmocka_unit_test(repairs_of_darts_resumed),
        cmocka_unit_test(gdas_stopped_and_resumed),
        cmocka_unit_test(single_path_stopped_and_resumed),
        cmocka_unit_test(fbnet_stopped_and_resumed),
        cmocka_unit_test(fbnet_stopped_and_resumed_in_its_phases),
        cmocka_unit_test(proxyless_stopped_and_resumed),
        cmocka_unit_test(search_killed),
        cmocka_unit_test(finished_run_resumed),
        cmocka_unit_test(nothing_to_resume),
        cmocka_unit_test(other_run_is_refused),
        cmocka_unit_test(training_stopped_and_resumed),
        cmocka_unit_test(training_killed),
    };
    return argc == 6 ? be_killed(argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
