//go:build ignore

/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sees every TCP segment of the host's sockets, decides which connections may
 * carry a protocol that the agent parses, and sends it the head of each piece
 * of payload with its time; and the answers of DNS servers. Parses no protocol
 * and alters no packet. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "kernel.h"
#include "packet.h"
#include "classify.h"
#include "record.h"

/* ---- limits ---- */

/* Turns that match no protocol before a socket is left alone for ever. */
#define MAX_MISSES 16
/* Unmatched turns on a socket that did match, before only heads are looked
 * for: an upgraded connection (WebSocket) costs a peek a turn from then on. */
#define RESYNC_MISSES 64
/* Bytes captured a turn. A request is mostly head and may carry large cookies
 * (servers allow 8 to 16 KiB); a response's head rarely passes 4 KiB. */
#define REQUEST_BUDGET  MAX_CAPTURE
#define RESPONSE_BUDGET 4032
/* A turn that begins with GET has no body, as a rule. If it is longer than a head
 * it may be many requests (pipelining): all of it is captured, and of their
 * responses, which may come together, as much as so many heads could take. */
#define PIPELINED_BYTES    1024
#define RESPONSES_PER_BYTE 16
#define UNLIMITED          (1 << 30)
/* The largest record. A longer segment takes several; none is longer than
 * GSO_MAX_SIZE, 8 × 65,535 bytes (BIG TCP). */
#define MAX_CAPTURE 16320
#define MAX_PIECES  33
/* Reads reported a turn: more only matter to requests pipelined in one turn. */
#define MAX_READS 8
/* First segments that reached a listener and wait for their socket. */
#define MAX_EARLY 4096
/* Cgroups that are left out: pods of a node, of which a kubelet runs 110. */
#define MAX_LEFT_OUT 1024
/* How deep below the root such a cgroup may be. A kubelet's pods are at level 2
 * or 3, those of a node that is itself a container four or five deeper. */
#define MAX_LEVEL 10
/* How long no agent may have lived before the programs do nothing any more, once
 * the ring is full. */
#define ABANDONED_NS 600000000000ULL

/* ---- configuration, set before loading ---- */

volatile const __u16 own_ports[4]; /* local ports of our own servers … */
volatile const __u32 own_netns;    /* … in this network namespace (inode) */
volatile const __u32 wake_bytes;   /* unread bytes in the ring that wake the reader */

/* ---- what agents share with the programs, and with the agent after them ---- */

struct agents shared SEC(".data.shared") = {.generation = 1};

/* ---- maps ---- */

enum socket_class { CLASS_UNKNOWN, CLASS_MAYBE, CLASS_HTTP1, CLASS_IGNORED, CLASS_LEFT_OUT };
enum want { WANT_NONE, WANT_FIRST, WANT_ALL };

/* One direction of a socket. Only the hook of that direction writes it: the
 * other one may run at the same time, and reads what it must know. */
struct half {
	__u32 turns;    /* runs of bytes in this direction so far */
	__u32 after;    /* turns of the other direction when the present one began */
	__u32 bytes;    /* of the present turn so far */
	__u32 budget;   /* what may still be captured of it */
	__u64 asked;    /* bytes of deep turns of requests, and what was captured */
	__u64 answered; /* of responses meanwhile */
	__u8 live;      /* the turn is captured */
	__u8 skipped;   /* bytes before it were not reported */
	__u8 pipelined; /* requests came that may come many in a turn … */
	__u8 deep;      /* … and did: a turn was longer than a head */
	__u8 pad[4];
};

/* What the hooks share they race on, across CPUs and nested on one: it is a
 * hint. The agent decides by sequence numbers. */
struct socket_state {
	__u64 cookie;
	__u64 read_ns; /* a read to be carried by the next record of the socket */
	__u64 lost;    /* a record found no room: the next one says so */
	__u32 read_seq;
	__u32 want_seq; /* a read past this sequence number ends a wait … */
	__u32 tgid;
	__u32 checked;   /* left_out_version when it was last asked whether it is left out */
	__u32 announced; /* shared.generation when it was, 0 if it never was */
	__u8 want;       /* … of this kind: enum want */
	__u8 answers;    /* the turn received last is of responses */
	__u8 reads;
	__u8 class;
	__u8 misses;
	__u8 fresh;
	__u8 guess;
	__u8 nat; /* its peer is not who packets show that are received */
	__u32 pad;
	char comm[16];
	struct half in, out;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_state);
} sockets SEC(".maps");

#ifndef WEIR_OLD_KERNEL /* whose verifier takes too long over it: there the agent drops */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LEFT_OUT);
	__type(key, __u64); /* id of a cgroup: what is in it, or below it, is left out */
	__type(value, __u8);
} left_out SEC(".maps");
#endif

struct early_key {
	__u8 laddr[16];
	__u8 raddr[16];
	__u32 netns;
	__u16 lport;
	__u16 rport;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_EARLY);
	__type(key, struct early_key);
	__type(value, __u32); /* sequence number of the segment */
} early SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20); /* the agent sets it */
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* bpf2go emits Go types for what it finds here. */
const struct record *emit_record __attribute__((unused));
const struct conn_info *emit_conn_info __attribute__((unused));
const enum record_kind *emit_record_kind __attribute__((unused));
const enum record_flag *emit_record_flag __attribute__((unused));

/* ---- helpers ---- */

static __always_inline struct counters *counters(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&counts, &zero);
}

static __always_inline void number(struct record *r, struct counters *c)
{
#ifdef WEIR_OLD_KERNEL /* before 5.12 atomics can't return what they found */
	__sync_fetch_and_add(&c->records, 1);
	r->number = c->records;
#else
	r->number = __sync_fetch_and_add(&c->records, 1) + 1;
#endif
	r->cpu = bpf_get_smp_processor_id();
}

/* Asked of every 64th record: the answer lies in a cache line that all share. */
static __always_inline __u64 wake(const struct record *r)
{
	if ((r->number & 63) == 0 && bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Nobody reads any more, and nobody came to read: then let the host be. */
static __always_inline void lost_record(struct counters *c)
{
	__sync_fetch_and_add(&c->records, 1);
	__sync_fetch_and_add(&c->lost_ring, 1);
	if (shared.beat_ns && bpf_ktime_get_boot_ns() - shared.beat_ns > ABANDONED_NS)
		shared.abandoned = 1;
}

/* The reading or connecting process, never on ingress. */
static __always_inline void current_process(struct socket_state *st)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	st->tgid = BPF_CORE_READ(task, tgid);
	bpf_probe_read_kernel(st->comm, sizeof(st->comm), &leader->comm);
}

static __always_inline __u32 current_tgid(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, tgid);
}

static __always_inline void fill_addresses(struct conn_info *i, const struct sock_common *sk)
{
	i->lport = BPF_CORE_READ(sk, skc_num);
	i->rport = bpf_ntohs(BPF_CORE_READ(sk, skc_dport));
	i->netns = BPF_CORE_READ(sk, skc_net.net, ns.inum);
	if (BPF_CORE_READ(sk, skc_family) == AF_INET_) {
		i->family = 4;
		*(__u32 *)i->laddr = BPF_CORE_READ(sk, skc_rcv_saddr);
		*(__u32 *)i->raddr = BPF_CORE_READ(sk, skc_daddr);
	} else {
		i->family = 6;
		BPF_CORE_READ_INTO(&i->laddr, sk, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&i->raddr, sk, skc_v6_daddr.in6_u.u6_addr8);
	}
}

/* ---- records ---- */

/* Takes what another hook, on another CPU, may put there again meanwhile. */
static __always_inline __u64 take(__u64 *v)
{
	__u64 taken = *v;

	if (!taken)
		return 0;
#ifdef WEIR_OLD_KERNEL /* before 5.12 atomics can't return what they found */
	*v = 0;
	return taken;
#else
	return __sync_lock_test_and_set(v, 0);
#endif
}

static __always_inline void head(struct record *r, struct socket_state *st, __u8 kind, __u16 flags)
{
	r->time_ns = bpf_ktime_get_boot_ns();
	r->cookie = st->cookie;
	r->tail = 0;
	r->read_seq = st->read_seq;
	r->read_ns = take(&st->read_ns);
	r->seq = 0;
	r->len = 0;
	r->turn = st->in.turns + st->out.turns;
	r->caplen = 0;
	r->kind = kind;
	r->flags = flags;
	r->pad = 0;
}

/* A record without payload. */
static __always_inline bool emit_mark(struct socket_state *st, __u8 kind, __u16 flags, __u32 seq)
{
	struct counters *c = counters();
	struct record *r;

	if (!c)
		return false;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lost_record(c);
		return false;
	}
	head(r, st, kind, flags);
	r->seq = seq;
	number(r, c);
	bpf_ringbuf_submit(r, wake(r));
	return true;
}

struct conn_record {
	struct record r;
	struct conn_info i;
};

static __always_inline bool emit_conn(struct socket_state *st, __u8 kind,
				      const struct sock_common *sk, __u64 cgroup,
				      const struct conn_info *peer)
{
	struct counters *c = counters();
	struct conn_record *r;

	if (!c)
		return false;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);
	if (!r) {
		lost_record(c);
		return false;
	}
	head(&r->r, st, kind, (st->fresh ? FLAG_FRESH : 0) | (st->guess ? FLAG_GUESS : 0));
	number(&r->r, c);
	__builtin_memset(&r->i, 0, sizeof(r->i));
	fill_addresses(&r->i, sk);
	if (peer) {
		__builtin_memcpy(r->i.peer, peer->peer, 16);
		r->i.peer_port = peer->peer_port;
	}
	r->i.cgroup = cgroup;
	r->i.tgid = st->tgid;
	__builtin_memcpy(r->i.comm, st->comm, sizeof(r->i.comm));
	bpf_ringbuf_submit(r, wake(&r->r));
	return true;
}

/* One instance for each size class, since a reserve has a constant size. */
static __always_inline void emit_data(struct __sk_buff *skb, const struct packet *p,
				      struct socket_state *st, struct half *h, __u16 flags,
				      __u32 caplen, const __u32 class)
{
	struct counters *c = counters();
	struct record *r;

	if (!c)
		return;
	r = bpf_ringbuf_reserve(&ring, sizeof(*r) + class, 0);
	if (!r) {
		lost_record(c);
		st->lost = h->skipped = 1;
		return;
	}
	if (h->skipped)
		flags |= FLAG_SKIP;
	h->skipped = 0;
	if (take(&st->lost))
		flags |= FLAG_LOST;
	head(r, st, REC_DATA, flags);
	r->seq = p->seq;
	r->len = p->len;
	number(r, c);
	if (class && caplen) {
		if (load_bytes(skb, p->off, r + 1, caplen, class))
			r->caplen = caplen;
		else
			__sync_fetch_and_add(&c->unreadable, 1);
	}
	if (p->len > caplen && p->len >= 8 &&
	    bpf_skb_load_bytes(skb, p->off + p->len - 8, &r->tail, 8) == 0)
		r->flags |= FLAG_TAIL;
	bpf_ringbuf_submit(r, wake(r));
}

/* A segment of which more is wanted than fits into a record. */
static __always_inline void emit_pieces(struct __sk_buff *skb, const struct packet *p,
					struct socket_state *st, struct half *h, __u16 flags,
					__u32 n)
{
	struct packet piece = *p;

	for (int i = 0; i < MAX_PIECES && piece.len; i++) {
		bool last = n <= MAX_CAPTURE || i == MAX_PIECES - 1;

		if (!last)
			piece.len = MAX_CAPTURE;
		emit_data(skb, &piece, st, h, flags, n < MAX_CAPTURE ? n : MAX_CAPTURE,
			  MAX_CAPTURE);
		flags &= ~FLAG_TURN;
		piece.off += MAX_CAPTURE;
		piece.seq += MAX_CAPTURE;
		n -= MAX_CAPTURE;
		if (last)
			break;
		piece.len = p->len - (i + 1) * MAX_CAPTURE;
	}
}

static __always_inline void emit_payload(struct __sk_buff *skb, const struct packet *p,
					 struct socket_state *st, struct half *h, __u16 flags)
{
	__u32 n = p->len < h->budget ? p->len : h->budget;

	h->budget -= n;
	if (n == 0)
		emit_data(skb, p, st, h, flags, 0, 0);
	else if (n <= 56)
		emit_data(skb, p, st, h, flags, n, 56);
	else if (n <= 184)
		emit_data(skb, p, st, h, flags, n, 184);
	else if (n <= 440)
		emit_data(skb, p, st, h, flags, n, 440);
	else if (n <= 952)
		emit_data(skb, p, st, h, flags, n, 952);
	else if (n <= 4032)
		emit_data(skb, p, st, h, flags, n, 4032);
	else if (n <= MAX_CAPTURE)
		emit_data(skb, p, st, h, flags, n, MAX_CAPTURE);
	else
		emit_pieces(skb, p, st, h, flags, n);
}

/* ---- sockets ---- */

static __always_inline bool is_own(const struct sock_common *sk)
{
	__u16 lport = BPF_CORE_READ(sk, skc_num);

#pragma unroll
	for (int i = 0; i < 4; i++)
		if (own_ports[i] && own_ports[i] == lport)
			return BPF_CORE_READ(sk, skc_net.net, ns.inum) == own_netns;
	return false;
}

#ifndef WEIR_OLD_KERNEL
/* Whether the packet's socket is in a cgroup that is left out. The verifier takes
 * a function that isn't static by itself: else it would follow all that comes
 * after once for each way out of the loop. */
__attribute__((noinline)) int in_left_out(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	if (!shared.left_out_version || !sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	for (int level = 1; level <= MAX_LEVEL; level++) {
		__u64 id = bpf_sk_ancestor_cgroup_id(sk, level);

		if (!id)
			return 0;
		if (bpf_map_lookup_elem(&left_out, &id))
			return 1;
	}
	return 0;
}

/* Asks that when a socket is new, and again after each change. What was reported
 * of it is then forgotten; once it isn't left out any more it is as one that was
 * open before capture began. */
__attribute__((noinline)) int ask_left_out(struct __sk_buff *skb)
{
	__u32 version = shared.left_out_version;
	struct bpf_sock *sk = skb->sk;
	struct socket_state *st;
	struct counters *c;
	bool is;

	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!st)
		return 0;
	is = in_left_out(skb);
	if (is != (st->class == CLASS_LEFT_OUT)) {
		if (st->announced)
			emit_mark(st, REC_CLOSE, FLAG_FORGET, 0);
		__builtin_memset(st, 0, sizeof(*st));
		if (is) {
			st->class = CLASS_LEFT_OUT;
			c = counters();
			if (c)
				__sync_fetch_and_add(&c->left_out, 1);
		}
	}
	st->checked = version;
	return is;
}

static __always_inline bool is_left_out(const struct socket_state *st, struct __sk_buff *skb)
{
	if (st->checked == shared.left_out_version)
		return st->class == CLASS_LEFT_OUT;
	return ask_left_out(skb);
}
#else
static __always_inline bool in_left_out(struct __sk_buff *skb)
{
	return false;
}

static __always_inline bool is_left_out(const struct socket_state *st, struct __sk_buff *skb)
{
	return false;
}
#endif

/* The address that packets really go to, if the socket was told another. */
static __always_inline bool real_peer(struct __sk_buff *skb, const struct packet *p,
				      const struct sock_common *sk, struct conn_info *i)
{
	__builtin_memset(i, 0, sizeof(*i));
	fill_addresses(i, sk);
	i->peer_port = p->dport;
	if (p->family == 4) {
		bpf_skb_load_bytes(skb, 16, i->peer, 4);
		if (i->family == 6) { /* a mapped address */
			if (i->rport == p->dport && *(__u32 *)(i->raddr + 12) == *(__u32 *)i->peer)
				return false;
			i->peer[12] = i->peer[0];
			i->peer[13] = i->peer[1];
			i->peer[14] = i->peer[2];
			i->peer[15] = i->peer[3];
			__builtin_memset(i->peer, 0, 10);
			i->peer[10] = i->peer[11] = 0xff;
			return true;
		}
	} else {
		bpf_skb_load_bytes(skb, 24, i->peer, 16);
	}
	return i->rport != p->dport || __builtin_memcmp(i->raddr, i->peer, 16);
}

static __always_inline void announce(struct __sk_buff *skb, const struct packet *p,
				     struct socket_state *st, struct bpf_sock *sk, bool egress)
{
	const struct sock_common *skc = (void *)bpf_skc_to_tcp_sock(sk);
	__u32 generation = shared.generation;
	struct conn_info peer;
	bool nat;

	if (!skc)
		return;
	nat = egress && real_peer(skb, p, skc, &peer);
	/* Whoever sends, if nobody was seen to connect or to read. */
	if (egress && !st->tgid) {
		current_process(st);
		st->guess = 1;
	}
	st->nat = nat;
	st->announced =
	    emit_conn(st, REC_CONN, skc, bpf_sk_cgroup_id(sk), nat ? &peer : NULL) ? generation : 0;
}

/* A record of what has no socket state. */
struct loose_record {
	struct record r;
	struct conn_info i;
	__u8 data[1024];
};

static __always_inline struct loose_record *reserve_loose(struct counters *c, __u8 kind,
							  __u16 flags)
{
	struct loose_record *l = bpf_ringbuf_reserve(&ring, sizeof(*l), 0);

	if (!l) {
		lost_record(c);
		return NULL;
	}
	__builtin_memset(l, 0, sizeof(struct record) + sizeof(struct conn_info));
	l->r.time_ns = bpf_ktime_get_boot_ns();
	l->r.kind = kind;
	l->r.flags = flags;
	number(&l->r, c);
	return l;
}

static __always_inline void load_loose(struct __sk_buff *skb, __u32 off, __u32 n,
				       struct loose_record *l)
{
	if (n > sizeof(l->data))
		n = sizeof(l->data);
	if (load_bytes(skb, off, l->data, n, sizeof(l->data)))
		l->r.caplen = n;
}

/* What isn't TCP may be a DNS server's answer: it names addresses. */
static __always_inline void maybe_answer(struct __sk_buff *skb)
{
	struct counters *c = counters();
	struct bpf_sock *sk = skb->sk;
	struct {
		__be16 source, destination, length, checksum;
		__u8 id[2], flags[2];
		__be16 questions, answers;
	} h;
	struct loose_record *l;
	__u8 first, protocol;
	__u32 off;

	if (!c || !sk || bpf_skb_load_bytes(skb, 0, &first, 1))
		return;
	off = first >> 4 == 4 ? (first & 15) * 4 : sizeof(struct ipv6_header);
	if (bpf_skb_load_bytes(skb, first >> 4 == 4 ? 9 : 6, &protocol, 1) ||
	    protocol != IPPROTO_UDP || bpf_skb_load_bytes(skb, off, &h, sizeof(h)))
		return;
	if (h.source != bpf_htons(53) || !(h.flags[0] & 0x80) || h.flags[1] & 15 || !h.answers)
		return;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	l = reserve_loose(c, REC_ANSWER, 0);
	if (!l)
		return;
	l->i.cgroup = bpf_sk_cgroup_id(sk);
	load_loose(skb, off + 8, skb->len - off - 8, l);
	bpf_ringbuf_submit(l, wake(&l->r));
}

static __always_inline void early_segment(struct __sk_buff *skb, const struct packet *p,
					  const struct sock_common *skc)
{
	struct loose_record *e;
	struct early_key key = {};
	struct counters *c = counters();

	if (!c || peek(skb, p) == NO || is_own(skc))
		return;
	e = reserve_loose(c, REC_EARLY, FLAG_TURN | FLAG_FRESH);
	if (!e)
		return;
	e->r.seq = p->seq;
	e->r.len = p->len;
	e->i.netns = key.netns = BPF_CORE_READ(skc, skc_net.net, ns.inum);
	e->i.lport = key.lport = p->dport;
	e->i.rport = key.rport = p->sport;
	e->i.family = p->family;
	if (p->family == 4) {
		bpf_skb_load_bytes(skb, 12, key.raddr, 4);
		bpf_skb_load_bytes(skb, 16, key.laddr, 4);
	} else {
		bpf_skb_load_bytes(skb, 8, key.raddr, 16);
		bpf_skb_load_bytes(skb, 24, key.laddr, 16);
	}
	__builtin_memcpy(e->i.laddr, key.laddr, 16);
	__builtin_memcpy(e->i.raddr, key.raddr, 16);
	load_loose(skb, p->off, p->len, e);
	bpf_map_update_elem(&early, &key, &p->seq, BPF_ANY);
	bpf_ringbuf_submit(e, wake(&e->r));
}

#ifndef WEIR_OLD_KERNEL /* before 5.12 tracing programs lack storage or cookies */
/* The first segment of this socket may have reached its listener. Then the
 * socket has no state yet when its process reads. */
static __always_inline struct socket_state *adopt(struct sock *sk)
{
	struct conn_info i = {};
	struct early_key key = {};
	struct socket_state *st;
	__u32 *seq;

	fill_addresses(&i, &sk->__sk_common);
	key.netns = i.netns;
	key.lport = i.lport;
	key.rport = i.rport;
	/* the listener of a mapped address saw IPv4 packets */
	if (i.family == 6 && *(__u64 *)i.raddr == 0 &&
	    *(__u32 *)(i.raddr + 8) == bpf_htonl(0xffff)) {
		__builtin_memcpy(key.laddr, i.laddr + 12, 4);
		__builtin_memcpy(key.raddr, i.raddr + 12, 4);
	} else {
		__builtin_memcpy(key.laddr, i.laddr, 16);
		__builtin_memcpy(key.raddr, i.raddr, 16);
	}
	seq = bpf_map_lookup_elem(&early, &key);
	if (!seq)
		return NULL;
	st = bpf_sk_storage_get(&sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!st)
		return NULL;
	st->cookie = bpf_get_socket_cookie(sk);
	st->class = CLASS_HTTP1;
	st->in.turns = 1;
	st->in.live = 1;
	st->in.budget = REQUEST_BUDGET;
	st->fresh = 1;
	st->want_seq = *seq;
	st->want = WANT_FIRST;
	current_process(st);
	if (emit_conn(st, REC_CONN, &sk->__sk_common, 0, NULL))
		st->announced = shared.generation;
	bpf_map_delete_elem(&early, &key);
	return st;
}

#endif

/* A server's wait ends with the first read past the first byte of a request. A
 * client has a response when it has read all that came. */
static __always_inline void want_read(struct socket_state *st, const struct packet *p,
				      enum verdict v, bool turn)
{
	if (v == RESPONSE || (!turn && st->want != WANT_FIRST && st->answers)) {
		st->answers = 1;
		st->want = WANT_ALL;
		st->want_seq = p->seq;
	} else if (turn || (v >= REQUEST && !st->want)) {
		st->answers = 0;
		st->want = WANT_FIRST;
		st->want_seq = p->seq;
		st->reads = 0;
	}
}

/* What to capture of the turn that h is in, from a message of this kind on. */
static __always_inline void set_budget(struct half *h, const struct half *other, enum verdict v,
				       bool turn)
{
	if (v == REQUEST_WITHOUT_BODY) {
		h->pipelined = 1;
		h->deep = h->bytes > PIPELINED_BYTES;
	} else if (v == REQUEST) {
		h->pipelined = h->deep = 0;
	}
	if (h->pipelined && (v == REQUEST_WITHOUT_BODY || h->deep)) {
		h->budget = UNLIMITED;
	} else if (v == REQUEST || (!other->pipelined && v != RESPONSE)) {
		h->budget = REQUEST_BUDGET;
	} else if (turn || h->budget < RESPONSE_BUDGET) {
		__u64 due = other->asked * RESPONSES_PER_BYTE;

		h->budget = RESPONSE_BUDGET;
		if (other->deep && due > h->answered + RESPONSE_BUDGET)
			h->budget = due - h->answered < UNLIMITED ? due - h->answered : UNLIMITED;
	}
}

/* ---- programs ---- */

static __always_inline int on_packet(struct __sk_buff *skb, bool egress)
{
	struct bpf_sock *sk = skb->sk;
	struct socket_state *st;
	struct bpf_tcp_sock *tcp;
	struct sock_common *skc;
	struct packet p = {};
	enum verdict v = NO;
	__u16 flags = egress ? FLAG_OUT : 0;
	struct half *h, *other;
	bool connects, turn, live;

	if (!sk || shared.abandoned)
		return 1;
	if (!parse(skb, &p)) {
		if (!egress)
			maybe_answer(skb);
		return 1;
	}
	connects = egress && p.syn && !p.ack;
	if (!p.len && !p.fin && !p.rst && !connects)
		return 1;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return 1;
	if (sk->state == TCP_LISTEN_STATE) {
		skc = (void *)bpf_skc_to_tcp_sock(sk);
		if (skc && !egress && p.len && !in_left_out(skb))
			early_segment(skb, &p, skc);
		return 1;
	}
	st = bpf_sk_storage_get(&sockets, sk, 0,
				p.len || connects ? BPF_SK_STORAGE_GET_F_CREATE : 0);
	if (!st) {
		struct counters *c = counters();

		if (c && (p.len || connects))
			__sync_fetch_and_add(&c->lost_storage, 1);
		return 1;
	}
	if (st->class == CLASS_IGNORED)
		return 1;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return 1;
	if (connects) /* a socket may be connected again */
		__builtin_memset(st, 0, sizeof(*st));
	if (is_left_out(st, skb))
		return 1;
	if (!st->cookie) {
		skc = (void *)bpf_skc_to_tcp_sock(sk);
		if (!skc)
			return 1;
		st->cookie = bpf_get_socket_cookie(skb);
		st->fresh =
		    connects || (!egress && !BPF_CORE_READ((struct tcp_sock *)skc, bytes_received));
		if (is_own(skc) || (connects && current_tgid() == shared.own_tgid)) {
			st->class = CLASS_IGNORED;
			return 1;
		}
		if (connects)
			current_process(st);
	}
	if (p.len) {
		/* a retransmission, or a segment received before */
		if ((__s32)(p.seq + p.len - (egress ? tcp->snd_nxt : tcp->rcv_nxt)) <= 0)
			return 1;
		h = egress ? &st->out : &st->in;
		other = egress ? &st->in : &st->out;
		turn = !h->turns || h->after != other->turns;
		live = h->live && !turn;
		if (turn) {
			h->turns++;
			h->after = other->turns;
			h->bytes = 0;
			flags |= FLAG_TURN;
		}
		h->bytes += p.len;
		if (h->pipelined && h->bytes > PIPELINED_BYTES)
			h->deep = 1;
		if (turn || live || st->class == CLASS_HTTP1)
			v = peek(skb, &p);
		if (v >= REQUEST) {
			st->class = CLASS_HTTP1;
			st->misses = 0;
		} else if (turn) {
			if (v == MAYBE && st->class == CLASS_UNKNOWN)
				st->class = CLASS_MAYBE;
			if (st->misses < 255)
				st->misses++;
			if (st->class != CLASS_HTTP1 && st->misses >= MAX_MISSES) {
				st->class = CLASS_IGNORED;
				return 1;
			}
		}
		if (v >= REQUEST || (turn && (v == MAYBE || (st->class == CLASS_HTTP1 &&
							     st->misses < RESYNC_MISSES)))) {
			live = true;
			set_budget(h, other, v, turn);
		}
		h->live = live;
		if (!live) {
			h->skipped = 1;
			return 1;
		}
		if (!egress)
			want_read(st, &p, v, turn);
		/* Who packets go to is seen when they are sent. */
		if ((st->announced != shared.generation && (egress || !st->nat)) ||
		    (egress && !st->tgid))
			announce(skb, &p, st, sk, egress);
		if (h->deep)
			h->asked += p.len;
		if (other->deep)
			h->answered += p.len < h->budget ? p.len : h->budget;
		emit_payload(skb, &p, st, h, flags);
	}
	if (!st->announced)
		return 1;
	if (p.fin)
		emit_mark(st, REC_FIN, flags, p.seq + p.len);
#ifdef WEIR_OLD_KERNEL /* else weir_state tells, and of resets that were accepted only */
	else if (p.rst) {
		emit_mark(st, REC_CLOSE, flags, 0);
		st->announced = 0;
	}
#endif
	return 1;
}

SEC("cgroup_skb/ingress")
int weir_ingress(struct __sk_buff *skb)
{
	return on_packet(skb, false);
}

SEC("cgroup_skb/egress")
int weir_egress(struct __sk_buff *skb)
{
	return on_packet(skb, true);
}

#ifndef WEIR_OLD_KERNEL
/* Runs in the reading process whenever received bytes were copied to it. */
SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(weir_read, struct sock *sk)
{
	struct socket_state *st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	struct tcp_sock *tcp;
	__u32 copied, unread, tgid;
	__u8 state;

	if (!st)
		st = adopt(sk);
	if (!st || !st->want || st->class == CLASS_IGNORED)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (!tcp)
		return 0;
	copied = tcp->copied_seq; /* a look with MSG_PEEK doesn't move it */
	if ((__s32)(copied - st->want_seq) <= 0)
		return 0;
	tgid = bpf_get_current_pid_tgid() >> 32;
	if (tgid == shared.own_tgid) {
		st->class = CLASS_IGNORED;
		emit_mark(st, REC_CLOSE, FLAG_FORGET, 0);
		return 0;
	}
	if (st->tgid != tgid || st->guess) {
		current_process(st);
		st->guess = 0;
		if (st->announced)
			emit_conn(st, REC_PROC, &sk->__sk_common, 0, NULL);
	}
	/* Unread is what came after; a FIN counts for one. */
	unread = tcp->rcv_nxt - copied;
	state = sk->__sk_common.skc_state;
	if (unread == 1 && state != TCP_ESTABLISHED_STATE && state != TCP_FIN_WAIT1_STATE &&
	    state != TCP_FIN_WAIT2_STATE)
		unread = 0;
	if (st->want == WANT_ALL && unread)
		return 0;
	/* What was not carried away yet is reported by itself, the end of a
	 * response at once: perhaps nothing follows. */
	if (st->read_ns)
		emit_mark(st, REC_READ, 0, 0);
	st->read_seq = copied;
	st->read_ns = bpf_ktime_get_boot_ns();
	if (st->want == WANT_ALL) {
		st->want = WANT_NONE;
		emit_mark(st, REC_READ, 0, 0);
	} else if (++st->reads < MAX_READS && unread) {
		st->want_seq = copied;
	} else {
		st->want = WANT_NONE;
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(weir_state, struct sock *sk, int oldstate, int newstate)
{
	struct socket_state *st;

	if (newstate != TCP_CLOSE_STATE)
		return 0;
	st = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (st && st->announced)
		emit_mark(st, REC_CLOSE, 0, 0);
	return 0;
}
#endif

/* Run once by the loader: tells the others who the caller is as the kernel
 * knows it, which its own getpid() doesn't say in a pid namespace. */
SEC("raw_tp")
int weir_whoami(void *ctx)
{
	shared.own_tgid = current_tgid();
	return 0;
}

/* This file is GPL-2.0 or Apache-2.0, at your choice. */
char LICENSE[] SEC("license") = "GPL";
