/* proxies_samples.h - the proxies that compare the samples of a batch with each other; see proxies.h. */
#ifndef SEARCH_PROXIES_SAMPLES_H
#define SEARCH_PROXIES_SAMPLES_H

#include "search/proxies.h"

nas_status nas__proxy_naswot(nas_module *model, const nas__proxy_look *look, double *score);
nas_status nas__proxy_jacob_cov(nas_module *model, const nas__proxy_look *look, double *score);

#endif
