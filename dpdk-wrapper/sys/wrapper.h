/*
 * What bindgen reads: the DPDK headers that the wrapper needs, and what their macros, inline functions and field
 * layouts hide from it. It must compile with the headers of DPDK 22.11 and of every later release.
 */
#ifndef DPDK_SYS_WRAPPER_H
#define DPDK_SYS_WRAPPER_H

/* Without this the C library hides CPU sets, and then DPDK hides the functions that use them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_ring_elem.h>
#include <rte_telemetry.h>
#include <rte_version.h>

/*
 * Where the fields of an mbuf lie. Releases since 24.03 nest some of them in unnamed unions, to which bindgen gives
 * names of its own; an offset reads the same in all.
 */
enum {
	DPDK_SYS_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	DPDK_SYS_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	DPDK_SYS_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	DPDK_SYS_MBUF_PORT = offsetof(struct rte_mbuf, port),
	DPDK_SYS_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	DPDK_SYS_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	DPDK_SYS_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	DPDK_SYS_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	DPDK_SYS_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	DPDK_SYS_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	DPDK_SYS_MBUF_NEXT = offsetof(struct rte_mbuf, next),
};

/* The wrapper reads the fields at those offsets with these widths. */
#define DPDK_SYS_WIDTH(field, type) \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == sizeof(type), "rte_mbuf." #field " changed its width")
DPDK_SYS_WIDTH(buf_addr, void *);
DPDK_SYS_WIDTH(data_off, uint16_t);
DPDK_SYS_WIDTH(nb_segs, uint16_t);
DPDK_SYS_WIDTH(port, uint16_t);
DPDK_SYS_WIDTH(ol_flags, uint64_t);
DPDK_SYS_WIDTH(pkt_len, uint32_t);
DPDK_SYS_WIDTH(data_len, uint16_t);
DPDK_SYS_WIDTH(vlan_tci, uint16_t);
DPDK_SYS_WIDTH(hash.rss, uint32_t);
DPDK_SYS_WIDTH(buf_len, uint16_t);
DPDK_SYS_WIDTH(next, struct rte_mbuf *);

/* Flags that DPDK writes as macros with casts, which bindgen drops or gives a width of its own choice. */
#define DPDK_SYS_FLAG(name) static const uint64_t DPDK_SYS_##name = name
DPDK_SYS_FLAG(RTE_MBUF_F_RX_RSS_HASH);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_VLAN_STRIPPED);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_IP_CKSUM_MASK);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_IP_CKSUM_BAD);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_IP_CKSUM_GOOD);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_IP_CKSUM_NONE);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_L4_CKSUM_MASK);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_L4_CKSUM_BAD);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_L4_CKSUM_GOOD);
DPDK_SYS_FLAG(RTE_MBUF_F_RX_L4_CKSUM_NONE);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_IPV4_CKSUM);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_UDP_CKSUM);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_TCP_CKSUM);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_SCATTER);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_RSS_HASH);
DPDK_SYS_FLAG(RTE_ETH_RX_OFFLOAD_VLAN_STRIP);
DPDK_SYS_FLAG(RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
DPDK_SYS_FLAG(RTE_ETH_RSS_IPV4);
DPDK_SYS_FLAG(RTE_ETH_RSS_FRAG_IPV4);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV4_TCP);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV4_UDP);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV4_OTHER);
DPDK_SYS_FLAG(RTE_ETH_RSS_IPV6);
DPDK_SYS_FLAG(RTE_ETH_RSS_FRAG_IPV6);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV6_TCP);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV6_UDP);
DPDK_SYS_FLAG(RTE_ETH_RSS_NONFRAG_IPV6_OTHER);

/* The calling thread's rte_errno, a macro over a per-thread variable. */
static inline int
dpdk_sys_errno(void)
{
	return rte_errno;
}

/*
 * A port's link without waiting for it. The bits of struct rte_eth_link lie in an unnamed union since 24.03.
 * Returns 0, or a negative errno and leaves the rest alone.
 */
static inline int
dpdk_sys_link(uint16_t port, uint32_t *speed_mbps, int *up, int *full_duplex)
{
	struct rte_eth_link link = {0};
	int ret = rte_eth_link_get_nowait(port, &link);

	if (ret != 0)
		return ret;
	*speed_mbps = link.link_speed;
	*up = link.link_status == RTE_ETH_LINK_UP;
	*full_duplex = link.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

/* Adds a number to a dictionary of telemetry: the function has another name since 23.03. */
static inline int
dpdk_sys_tel_add_dict_uint(struct rte_tel_data *data, const char *name, uint64_t value)
{
#if RTE_VERSION >= RTE_VERSION_NUM(23, 3, 0, 0)
	return rte_tel_data_add_dict_uint(data, name, value);
#else
	return rte_tel_data_add_dict_u64(data, name, value);
#endif
}

#endif
