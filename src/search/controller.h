/* controller.h - the policy of ENAS (Pham, Guan, Zoph, Le and Dean, ICML 2018): an LSTM that walks the choices of any
 * space and gives every architecture a probability.
 *
 * Choices are visited in the order of the space, except that an input choice comes before the layer choices of its
 * edges, the inputs of all terms of a node before the terms' operations, a choice before those nested in it, and the
 * choices whose outputs are offered come before the input choice that offers them. A choice that is unreachable under
 * what was taken before is not visited: it keeps its first candidates and has no part in log pi.
 *
 * Layer and value choices are one token: a softmax over the candidates; the next input is the token's embedding.
 * Choices of equal kind and candidate names share embeddings and output weights; the state of the LSTM tells them
 * apart. Input choices look at an anchor per candidate: the state of the LSTM at the step that made it (see
 * nas__anchor), or a learned vector. With a fixed number of inputs these are so many draws without replacement;
 * otherwise one Bernoulli bit per candidate, in order, where bits that the limits n_min and n_max leave no choice about
 * are no tokens, so that the probabilities of all permitted sets add up to 1. */
#ifndef SEARCH_CONTROLLER_H
#define SEARCH_CONTROLLER_H

#include <espalier/space.h>

#include "io/state.h"

typedef struct nas__controller_config {
    int hidden;
    double tanh_constant; /* logits are tanh_constant * tanh(l / temperature); 0: not capped */
    double temperature;   /* 0: none */
    double op_reduce;     /* divides tanh_constant for the logits of layers and values; 0 = 1 */
    double op_bias;       /* initial bias of convolutions' logits, before they are capped; 0: no biases */
    bool own_words;       /* layers and values with equal candidates share no weights */
    double skip_target;   /* of the bits' KL term */
    bool skip_compat; /* that term on sigmoid(c tanh q), as the authors' code has it, not on the bit's probability */
    double lr;        /* Adam(0, 0.999), eps 1e-3 */
    uint64_t seed;
} nas__controller_config;

/* Candidate of an input choice: the choice whose state is its anchor, an input of a row of nodes (its number behind the
 * choices'), or -1; and the learned vector for want of a state. A candidate without an edge that is named after a
 * choice is that choice's output. Otherwise input choices that offer one candidate more each are the nodes of a row, of
 * one module (a cell) or, with a free number of inputs, of several side by side (layers with skips): the last
 * candidates are the earlier nodes, the others the row's inputs. As anchors these have the state of a step each, before
 * the first node; as inputs of the LSTM the cell's are zero. */
typedef struct nas__anchor {
    int choice, vocabulary, row;
} nas__anchor;

/* What equal lists of candidates share. */
typedef struct nas__vocabulary {
    int choice;            /* the first that has it */
    nas_tensor *embedding; /* (n, hidden): inputs after a token; anchors of candidates without a state */
    nas_tensor *output;    /* (n, hidden): logits; NULL for input choices */
    nas_tensor *bias;      /* (n) of the logits, or NULL */
    bool learned;          /* input choices: some anchor is a row of the embedding */
} nas__vocabulary;

typedef struct nas__visit {
    int choice, vocabulary;
    nas__anchor *anchors;      /* input choices: per candidate */
    int previous;              /* input choices: the node before this one in its cell, or -1 */
    bool is_anchor;            /* some other choice looks at its state */
    int finishes;              /* the input choice whose node is decided after this visit, or -1 */
    int n_inputs, first_input; /* of a row of nodes: steps before this visit that make their anchors */
    bool starts_anew;          /* these steps begin with the start vector; else behind what came before */
} nas__visit;

typedef struct nas__controller {
    const nas_space *space;
    nas__controller_config config;
    nas_tape *tape;
    int n_visits, n_vocabularies, most_tokens, n_row_inputs;
    nas__visit *visits; /* in the order of the walk */
    nas__vocabulary *vocabularies;
    nas_tensor *lstm, *start; /* (4 hidden, 2 hidden), (1, hidden) */
    nas_tensor *of_anchor, *of_state,
        *attention; /* (hidden, hidden) twice, (1, hidden): v tanh(of_anchor a + of_state h) */
    size_t n_tensors;
    nas_tensor **tensors;
    char (*names)[32];
    nas_optimizer *optimizer;
    double *marginals; /* NAS_MAX_CANDIDATES per choice, and how often each was reached */
    int64_t *reached;
} nas__controller;

/* One walk. */
typedef struct nas__sample {
    nas_architecture *architecture;
    int *tokens, *arity, n_tokens; /* arity: out of how many each token is */
    double log_pi, entropy, kl;    /* entropy: sum of the tokens' exact entropies; kl: of the bits */
    double uniform;                /* the entropy of the uniform policy on this walk: sum of log(open candidates) */
    double saturation;             /* mean |tanh| of the logits: near 1 the cap stops all learning */
} nas__sample;

nas__controller *nas__controller_new(const nas_space *space, const nas__controller_config *config);
void nas__controller_free(nas__controller *c); /* NULL is fine */
nas_status nas__sample_new(nas__sample *sample, const nas__controller *c);
void nas__sample_free(nas__sample *sample);

/* Draws an architecture; `count`: adds the probabilities on the way to the marginals. */
nas_status nas__controller_draw(nas__controller *c, nas_rng *rng, bool count, nas__sample *sample);
/* The sample's log pi, entropy and kl under the present parameters: the same walk with the sample's tokens. */
nas_status nas__controller_replay(nas__controller *c, nas__sample *sample);
/* What a sample adds to the loss that one update descends. */
typedef struct nas__lesson {
    double advantage;
    double kl_weight, entropy_weight;
    double clip; /* 0: -advantage * log pi (REINFORCE). Else, with r = pi / old pi, -min(r * advantage, clipped r *
                    advantage), r being kept within 1 +- clip (PPO) */
    double old_log_pi; /* when it was drawn */
} nas__lesson;
/* Adds the gradient of that + kl_weight * kl - entropy_weight * entropy, times `share`. */
nas_status nas__controller_learn(nas__controller *c, nas__sample *sample, const nas__lesson *lesson, double share);
nas_status nas__controller_step(nas__controller *c); /* one update by the gradients so far */

/* Mean probability (of inputs: of being chosen) over the counted draws that reached the choice; the even share without
 * any. */
void nas__controller_marginal(const nas__controller *c, int choice, double *p);
void nas__controller_forget(nas__controller *c); /* the draws counted so far */
void nas__controller_state(nas__controller *c, nas_state *state);

/* Moving average of rewards, from the first reward on; it takes a reward in before it is used for it. */
typedef struct nas__baseline {
    double value;
    int64_t rewards;
} nas__baseline;
double nas__baseline_advantage(nas__baseline *b, double decay, double reward);

/* controller_plan.c */
nas_status nas__controller_plan(nas__controller *c);

#endif
