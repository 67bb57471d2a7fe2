/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Where the payload of a TCP packet is. */
#ifndef WEIR_PACKET_H
#define WEIR_PACKET_H

/* IPv6 extension headers walked before a packet is left alone. */
#define MAX_EXTENSIONS 6

struct packet {
	__u32 off; /* of the payload in the skb */
	__u32 len; /* of the payload */
	__u32 seq;
	__u8 fin, syn, rst, ack;
	__u8 family;
	__u16 sport, dport;
};

struct ipv4_header {
	__u8 version_ihl, tos;
	__be16 length, id, fragment;
	__u8 ttl, protocol;
	__be16 checksum;
	__be32 source, destination;
};

struct ipv6_header {
	__u8 version_class[4];
	__be16 length;
	__u8 next, hops;
	__u8 source[16], destination[16];
};

struct tcp_header {
	__be16 source, destination;
	__be32 seq, ack;
	__u8 offset, flags;
	__be16 window;
};

/* The length comes from the skb, never from the IP header: it is 0 there for
 * BIG TCP, and one skb may hold many segments. */
static __always_inline bool parse_tcp(struct __sk_buff *skb, struct packet *p,
				      const struct tcp_header *tcp, __u32 l4)
{
	p->off = l4 + (tcp->offset >> 4) * 4;
	if (skb->len < p->off)
		return false;
	p->len = skb->len - p->off;
	p->seq = bpf_ntohl(tcp->seq) + !!(tcp->flags & 2); /* a SYN counts for one */
	p->sport = bpf_ntohs(tcp->source);
	p->dport = bpf_ntohs(tcp->destination);
	p->fin = tcp->flags & 1;
	p->syn = tcp->flags & 2;
	p->rst = tcp->flags & 4;
	p->ack = tcp->flags & 16;
	return true;
}

/* Options, extension headers, or headers that are not in the linear part. */
static __always_inline bool parse_unusual(struct __sk_buff *skb, struct packet *p)
{
	struct tcp_header tcp;
	__u32 off;
	__u8 first, next, ext[2];

	if (bpf_skb_load_bytes(skb, 0, &first, 1))
		return false;
	if (first >> 4 == 4) {
		if (bpf_skb_load_bytes(skb, 9, &next, 1))
			return false;
		off = (first & 15) * 4;
		p->family = 4;
	} else {
		if (bpf_skb_load_bytes(skb, 6, &next, 1))
			return false;
		off = sizeof(struct ipv6_header);
		p->family = 6;
		for (int i = 0; i < MAX_EXTENSIONS && next != IPPROTO_TCP; i++) {
			/* hop-by-hop, routing, destination options; the host's own sockets get no
			 * fragments */
			if (next != 0 && next != 43 && next != 60)
				return false;
			if (bpf_skb_load_bytes(skb, off, ext, 2))
				return false;
			next = ext[0];
			off += (ext[1] + 1) * 8;
		}
	}
	if (next != IPPROTO_TCP || bpf_skb_load_bytes(skb, off, &tcp, sizeof(tcp)))
		return false;
	return parse_tcp(skb, p, &tcp, off);
}

static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv4_header *ip4 = data;
	struct ipv6_header *ip6 = data;

	if (data + sizeof(*ip4) + sizeof(struct tcp_header) <= end && ip4->version_ihl == 0x45) {
		p->family = 4;
		return ip4->protocol == IPPROTO_TCP &&
		       parse_tcp(skb, p, data + sizeof(*ip4), sizeof(*ip4));
	}
	if (data + sizeof(*ip6) + sizeof(struct tcp_header) <= end &&
	    ip6->version_class[0] >> 4 == 6 && ip6->next == IPPROTO_TCP) {
		p->family = 6;
		return parse_tcp(skb, p, data + sizeof(*ip6), sizeof(*ip6));
	}
	return parse_unusual(skb, p);
}

#endif
