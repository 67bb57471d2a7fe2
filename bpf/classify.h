/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which protocol the first bytes of a turn may belong to. */
#ifndef WEIR_CLASSIFY_H
#define WEIR_CLASSIFY_H

#include "packet.h"

/* Bytes looked at to recognise a head: the longest method is 16 characters. */
#define PEEK 20

#define WORD(a, b, c, d) bpf_htonl((a) << 24 | (b) << 16 | (c) << 8 | (d))

enum verdict { NO, MAYBE, REQUEST, REQUEST_WITHOUT_BODY, RESPONSE };

/* Do these bytes begin an HTTP/1 message? A token in capitals, a space, and
 * what a request target begins with; or a status line. MAYBE: too few to say. */
static __always_inline enum verdict is_head(const __u8 *b, __u32 n)
{
	if (b[0] == 'H' && n > 1 && b[1] == 'T' && (n < 3 || b[2] == 'T') &&
	    (n < 4 || b[3] == 'P') && (n < 5 || b[4] == '/'))
		return n < 5 ? MAYBE : RESPONSE;
#pragma unroll
	for (__u32 i = 0; i < PEEK - 1; i++) {
		__u8 c = b[i];

		if (i >= n)
			return i ? MAYBE : NO;
		if (c >= 'A' && c <= 'Z')
			continue;
		if (i && (c == '-' || c == '_'))
			continue;
		if (c != ' ' || i < 3)
			return NO;
		if (i + 1 >= n)
			return MAYBE;
		c = b[i + 1];
		if (c == '/' || c == '*')
			return b[0] == 'P' && b[1] == 'R' && i == 3 ? NO
								    : REQUEST; /* PRI * is HTTP/2 */
		/* absolute form, and the authority form of CONNECT */
		if (c == 'h' || c == 'H')
			return i + 2 < n && i + 2 < PEEK && (b[i + 2] | 0x20) != 't' && b[0] != 'C'
				   ? NO
				   : REQUEST;
		if (b[0] == 'C' && b[1] == 'O' && i == 7)
			return c == '[' || (c >= '0' && c <= '9') ||
				       ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
				   ? REQUEST
				   : NO;
		return NO;
	}
	return NO;
}

static __always_inline enum verdict peek(struct __sk_buff *skb, const struct packet *p)
{
	__u8 b[PEEK] __attribute__((aligned(4))) = {};

	if (p->len >= PEEK) {
		if (bpf_skb_load_bytes(skb, p->off, b, PEEK))
			return NO;
		switch (*(__u32 *)b) { /* the usual ones in one look */
		case WORD('G', 'E', 'T', ' '):
			if (b[4] == '/')
				return REQUEST_WITHOUT_BODY;
			break;
		case WORD('P', 'O', 'S', 'T'):
			if (b[4] == ' ' && b[5] == '/')
				return REQUEST;
			break;
		case WORD('H', 'T', 'T', 'P'):
			return b[4] == '/' ? RESPONSE : NO;
		}
		return is_head(b, PEEK);
	}
	if (!load_bytes(skb, p->off, b, p->len, PEEK))
		return NO;
	/* a line break before a request is allowed, and ignored */
	if (p->len <= 2 && (b[0] == '\r' || b[0] == '\n'))
		return MAYBE;
	return is_head(b, p->len);
}

#endif
