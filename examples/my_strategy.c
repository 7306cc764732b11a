/* my_strategy.c - a search strategy of your own, outside the library: every choice is a gradient bandit (Sutton and
 * Barto 2018, section 2.8). A step trains one sampled path, plays another one and moves its odds by how well it did.
 *
 *     cc -shared -fPIC my_strategy.c $(pkg-config --cflags espalier) -o my_strategy.so
 *     espalier search --strategy-plugin ./my_strategy.so --space nb201 --data fashion-mnist --set rate=0.2 */
#include <espalier/espalier.h>

#include <math.h>

enum { MOST_CHOICES = 256, PURPOSE_TRAIN = 1, PURPOSE_PLAY };

typedef struct bandit_options {
    double rate;
} bandit_options;

static const nas_option options[] = {
    {"rate", NAS_OPTION_FLOAT, offsetof(bandit_options, rate), "0.2", 0, 10, NULL, "how fast the odds move"},
    {0},
};

typedef struct bandit {
    double logits[MOST_CHOICES][NAS_MAX_CANDIDATES], usual, plays;
    int played[MOST_CHOICES];
} bandit;

static nas_status accepts(const nas_space *space) {
    bool fits = nas_space_size(space) <= MOST_CHOICES;
    for (int i = 0; fits && i < nas_space_size(space); i++) {
        fits = nas_space_choice(space, i)->n_max == 1;
    }
    return fits ? NAS_OK : nas_fail(NAS_UNSUPPORTED, "bandit plays at most 256 choices, each of one candidate");
}

static bool probabilities(nas_search *s, int choice, double *p) {
    const double *logits = ((bandit *)s->memory)->logits[choice];
    double sum = 0;
    int n = nas_space_choice(s->space, choice)->n;
    for (int k = 0; k < n; k++) {
        sum += p[k] = exp(logits[k]);
    }
    for (int k = 0; k < n; k++) {
        p[k] /= sum;
    }
    return true;
}

static nas_status sample(nas_search *s, void *purpose) {
    nas_rng rng = nas_search_rng(s, *(const uint32_t *)purpose);
    nas_status status = NAS_OK;
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        double p[NAS_MAX_CANDIDATES];
        probabilities(s, i, p);
        int k = ((bandit *)s->memory)->played[i] = nas_rng_choose(&rng, nas_space_choice(s->space, i)->n, p);
        status = nas_decide(s->space, i, (nas_decision){.run = (uint64_t)1 << k});
    }
    return status;
}

static nas_status step(nas_search *s, const nas_batch *train, double *loss) {
    bandit *b = s->memory;
    uint32_t purposes[] = {PURPOSE_TRAIN, PURPOSE_PLAY};
    nas_pass_result result = {.want_reward = true};
    nas_status status = nas_search_weight_step(s, train, sample, &purposes[0], loss);
    nas_pass play = {.batch = status ? NULL : nas_search_arch_batch(s), .freeze_running = true, .decide = sample};
    play.user = &purposes[1];
    status = status ? status : nas_search_pass(s, &play, &result);
    b->usual += (result.reward - b->usual) / fmin(++b->plays, 50);
    for (int i = 0; !status && i < nas_space_size(s->space); i++) {
        double p[NAS_MAX_CANDIDATES], by = ((bandit_options *)s->options)->rate * (result.reward - b->usual);
        probabilities(s, i, p);
        for (int k = 0; k < nas_space_choice(s->space, i)->n; k++) {
            b->logits[i][k] += by * ((k == b->played[i]) - p[k]);
        }
    }
    return status;
}

static nas_status state(nas_search *s, nas_state *st) {
    bandit *b = s->memory;
    nas_state_f64(st, "logits", b->logits[0], MOST_CHOICES * NAS_MAX_CANDIDATES);
    nas_state_f64(st, "usual", &b->usual, 1);
    nas_state_f64(st, "plays", &b->plays, 1);
    return NAS_OK;
}

static const nas_strategy strategy = {
    .name = "bandit",
    .summary = "every choice a gradient bandit",
    .paper = "Sutton and Barto 2018, section 2.8",
    .options = options,
    .options_size = sizeof(bandit_options),
    .state_size = sizeof(bandit),
    .arch_batches = true,
    .accepts = accepts,
    .step = step,
    .probabilities = probabilities,
    .state = state,
};

const nas_strategy *nas_strategy_plugin(int version) { return version == NAS_STRATEGY_VERSION ? &strategy : NULL; }
