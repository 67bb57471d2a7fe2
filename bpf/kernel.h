/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The kernel's types, by hand: only the fields that are read. Offsets are
 * those of the running kernel (CO-RE). Differences between kernels live here. */
#ifndef WEIR_KERNEL_H
#define WEIR_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
};

struct tcp_sock {
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u64 bytes_received;
};

struct task_struct {
	int tgid;
	struct task_struct *group_leader;
	char comm[16];
};

#pragma clang attribute pop

#define TCP_ESTABLISHED_STATE 1 /* include/net/tcp_states.h */
#define TCP_FIN_WAIT1_STATE   4
#define TCP_FIN_WAIT2_STATE   5
#define TCP_CLOSE_STATE       7
#define TCP_LISTEN_STATE      10 /* TCP_LISTEN */
#define IPPROTO_TCP           6
#define IPPROTO_UDP           17
#define AF_INET_              2

/* Loads 1 to max bytes; false if n is 0, more than max, or the packet shorter.
 * Before 6.8 (d028f87517d6) the verifier learns nothing from n != 0, but it
 * learns the bounds of a sum. */
static __always_inline bool load_bytes(struct __sk_buff *skb, __u32 off, void *to, __u32 n,
				       const __u32 max)
{
	n--;
	barrier_var(n);
	return n < max && bpf_skb_load_bytes(skb, off, to, n + 1) == 0;
}

#endif
