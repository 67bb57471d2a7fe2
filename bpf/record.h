/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the kernel programs send to the agent. Every field has a fixed width,
 * padding is explicit, everything is zeroed before it is filled. */
#ifndef WEIR_RECORD_H
#define WEIR_RECORD_H

enum record_kind {
	REC_DATA = 1, /* a segment of payload */
	REC_CONN,     /* addresses of a socket, before its first segment */
	REC_PROC,     /* the process of a socket changed */
	REC_READ,     /* received bytes up to read_seq were read at read_ns */
	REC_FIN,      /* a direction ended; seq is that of the FIN */
	REC_CLOSE,    /* the socket is gone, or must be forgotten (FLAG_FORGET) */
	REC_EARLY,    /* a segment that reached the listener: info instead of cookie */
	REC_ANSWER,   /* of a DNS server: of info only cgroup is filled */
};

enum record_flag {
	FLAG_OUT = 1,    /* sent by the local socket; else received */
	FLAG_TURN = 2,   /* first segment of a turn */
	FLAG_TAIL = 4,   /* tail holds the last 8 bytes */
	FLAG_FORGET = 8, /* one of our own connections: drop what is known */
	FLAG_FRESH = 16, /* the connection was opened after capture began */
	FLAG_GUESS = 32, /* tgid is the task that ran at egress, perhaps another's */
	FLAG_SKIP = 64,  /* bytes of this direction before it were not reported */
	FLAG_LOST = 128, /* records of this socket before it found no room */
};

/* Followed by caplen bytes of payload (REC_DATA), or by a conn_info and then
 * caplen bytes (REC_CONN, REC_PROC, REC_EARLY, REC_ANSWER). */
struct record {
	__u64 time_ns; /* boot time */
	__u64 cookie;  /* of the socket; 0 in REC_EARLY and REC_ANSWER */
	__u64 number;  /* of this record among those of its CPU */
	__u64 tail;    /* last 8 bytes of the payload as they are in memory */
	__u64 read_ns; /* boot time of a read not reported before, or 0 */
	__u32 read_seq;
	__u32 seq; /* TCP sequence number of the first payload byte */
	__u32 len; /* payload bytes */
	__u32 turn;
	__u16 caplen;
	__u16 cpu;
	__u16 flags;
	__u8 kind;
	__u8 pad;
};

struct conn_info {
	__u8 laddr[16]; /* as the socket has it; IPv4 is in the first 4 bytes */
	__u8 raddr[16];
	__u8 peer[16]; /* where packets really go if NAT hides it; else zero */
	__u8 comm[16]; /* of the thread group leader */
	__u64 cgroup;  /* id of the socket's cgroup */
	__u32 netns;   /* inode */
	__u32 tgid;
	__u16 lport;
	__u16 rport;
	__u16 peer_port;
	__u8 family; /* 4 or 6 */
	__u8 pad;
};

/* One per CPU; only ever added to. */
struct counters {
	__u64 records;      /* tried */
	__u64 lost_ring;    /* no room in the ring */
	__u64 lost_storage; /* no socket storage */
	__u64 unreadable;   /* payload or headers could not be loaded */
	__u64 left_out;     /* sockets found to be in a cgroup that is left out */
};

/* Of all agents of a host, one after another: see handover.go. */
struct agents {
	__u64 beat_ns;      /* boot time at which an agent last lived; 0: none follows it */
	__u64 told_ring;    /* how many of counters.lost_ring … */
	__u64 told_storage; /* … and of lost_storage agents have told of */
	__u32 generation;   /* every socket announces itself once in each; from 1 */
	__u32 own_tgid;     /* the agent's process: its connections are ignored */
	__u32
	    left_out_version; /* of the map left_out: raised with each change; 0 until the first */
	__u32 abandoned;      /* no agent came: the programs do nothing */
};

#endif
