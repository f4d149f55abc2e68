/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The parameters that the module is loaded with, for the crate kapi. They stay as they are.
 */
#ifndef LUSTRE_KAPI_MODULE_PARAMS_H
#define LUSTRE_KAPI_MODULE_PARAMS_H

#include <linux/types.h>

struct lustre_kapi_module_params {
	const char *networks;
	const char *ip2nets;
	const char *accept;
	u16 accept_port;
	u32 sock_timeout;
	u32 conns_per_peer;
};

void lustre_kapi_module_params(struct lustre_kapi_module_params *p);

#endif
