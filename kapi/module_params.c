// SPDX-License-Identifier: GPL-2.0
/*
 * The parameters that the module is loaded with, see module_params.h. They have the names of those
 * of the modules lnet and ksocklnd of existing servers.
 */
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "module_params.h"

static char *networks = "";
module_param(networks, charp, 0444);
MODULE_PARM_DESC(networks, "local networks, such as tcp(eth0),tcp1(eth1); the first interface if empty");

static char *ip2nets = "";
module_param(ip2nets, charp, 0444);
MODULE_PARM_DESC(ip2nets, "networks by local address, such as tcp 10.0.*.*; instead of networks");

static char *accept = "secure";
module_param(accept, charp, 0444);
MODULE_PARM_DESC(accept, "connections taken: secure (from privileged ports), all, none");

static ushort accept_port = 988;
module_param(accept_port, ushort, 0444);
MODULE_PARM_DESC(accept_port, "TCP port of all nodes");

static uint sock_timeout = 50;
module_param(sock_timeout, uint, 0444);
MODULE_PARM_DESC(sock_timeout, "seconds without progress after which a connection is given up");

static uint conns_per_peer = 1;
module_param(conns_per_peer, uint, 0444);
MODULE_PARM_DESC(conns_per_peer, "connections for bulk data to a peer, each way");

void lustre_kapi_module_params(struct lustre_kapi_module_params *p)
{
	p->networks = networks;
	p->ip2nets = ip2nets;
	p->accept = accept;
	p->accept_port = accept_port;
	p->sock_timeout = sock_timeout;
	p->conns_per_peer = conns_per_peer;
}
