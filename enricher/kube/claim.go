package kube

import "math"

// Times are event times: unix nanoseconds. forever is the end of what lasts.
const forever = math.MaxInt64

// second is what most times of the API are cut off to.
const second = int64(1e9)

// skew is how long after its end an address still names its last owner, if
// nobody else claims it: clocks of nodes differ.
const skew = 2 * second

// Owner is what an address belongs to: a [*Pod], a [*Service] or a [*Node].
type Owner interface {
	// On is the name of the node that has it, "" if none or many have.
	On() string
}

// claim says when an address was who's: for certain during [sure, end), if that
// isn't empty; possibly during [from, until).
type claim struct {
	who        Owner
	from, sure int64
	end, until int64
}

// claims are those of one address, in no order: the order in which they were
// heard of makes no difference.
type claims []claim

// at returns whose the address was at t; nil if nobody's, or if that can't be
// told. A claim that has become sure ends all that were before, however late
// their end is heard of.
func (c claims) at(t int64) Owner {
	var last *claim
	var maybe pick
	for i := range c {
		if s := &c[i]; s.sure <= t && s.sure <= s.end && (last == nil || last.sure <= s.sure) {
			if last != nil && last.sure < s.sure {
				maybe = pick{}
			} else if last != nil && t < last.until {
				maybe.add(last.who)
			}
			last = s
		}
	}
	if last != nil && t < last.end && maybe.n == 0 {
		return last.who
	}
	if last != nil && t < last.until {
		maybe.add(last.who)
	}
	for i := range c {
		if s := &c[i]; s.from <= t && t < s.until && (t < s.sure || s.sure > s.end) {
			maybe.add(s.who)
		}
	}
	if maybe.n == 0 {
		return c.ended(t)
	}
	return maybe.only()
}

// ended returns who had the address last, if that is not long ago.
func (c claims) ended(t int64) Owner {
	var last int64
	var maybe pick
	for i := range c {
		s := &c[i]
		if s.until > t || t >= s.until+skew || s.until < last {
			continue
		}
		if s.until > last {
			last, maybe = s.until, pick{}
		}
		maybe.add(s.who)
	}
	return maybe.only()
}

// of returns the claim of who, or nil.
func (c claims) of(who Owner) *claim {
	for i := range c {
		if c[i].who == who {
			return &c[i]
		}
	}
	return nil
}

// pick is one owner, if there is only one.
type pick struct {
	who Owner
	n   int
}

func (p *pick) add(who Owner) { p.who, p.n = who, p.n+1 }

func (p *pick) only() Owner {
	if p.n == 1 {
		return p.who
	}
	return nil // never a guess
}
