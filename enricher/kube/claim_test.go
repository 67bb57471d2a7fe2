package kube

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// tenancy is the truth: who had an address when.
type tenancy struct {
	who        *Pod
	start, end int64
}

func tenancies(t *rapid.T) []tenancy {
	var all []tenancy
	now := int64(100)
	for range rapid.IntRange(1, 8).Draw(t, "tenants") {
		now += rapid.Int64Range(0, 30).Draw(t, "gap")
		end := now + rapid.Int64Range(1, 50).Draw(t, "stay")
		all = append(all, tenancy{&Pod{}, now, end})
		now = end
	}
	return all
}

// heard is what the API may tell of a tenancy: bounds of its start and end.
func (y tenancy) heard(t *rapid.T) claim {
	unsure := rapid.Int64Range(0, 40)
	c := claim{
		who:  y.who,
		from: y.start - unsure.Draw(t, "before start"), sure: y.start + unsure.Draw(t, "after start"),
		end: y.end - unsure.Draw(t, "before end"), until: y.end + unsure.Draw(t, "after end"),
	}
	return c
}

// Whoever is named had the address at that time, whatever is unsure about the
// claims, and in whichever order they were heard of.
func TestClaimsNameNobodyWrongly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := tenancies(t)
		var c claims
		for _, y := range all {
			c = append(c, y.heard(t))
		}
		shuffled := rapid.Permutation(slices.Clone(c)).Draw(t, "order")
		for _, y := range all {
			for at := y.start; at < y.end; at++ {
				got := c.at(at)
				if got != nil && got != Owner(y.who) {
					t.Fatalf("at %d: another than %v is named, of %v", at, y, c)
				}
				if shuffled.at(at) != got {
					t.Fatalf("at %d: another is named in another order", at)
				}
			}
		}
	})
}

// Where nothing is unsure, everybody is named.
func TestExactClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := tenancies(t)
		var c claims
		for _, y := range all {
			c = append(c, claim{y.who, y.start, y.start, y.end, y.end})
		}
		for i, y := range all {
			if c.at(y.start) != Owner(y.who) || c.at(y.end-1) != Owner(y.who) {
				t.Fatalf("tenant %d is not named", i)
			}
			if i == len(all)-1 && (c.at(y.end) != Owner(y.who) || c.at(y.end+skew) != nil) {
				t.Fatal("the last tenant is named too long, or not at all")
			}
		}
		if c.at(all[0].start-1) != nil {
			t.Fatal("somebody is named before the first")
		}
	})
}

// An owner whose end is heard of late, or never, loses the address to the next
// once that is sure, and doesn't get it back.
func TestLateEnds(t *testing.T) {
	a, b := &Pod{}, &Pod{}
	c := claims{{a, 0, 10, forever, forever}, {b, 50, 60, forever, forever}}
	check := func(when string, want map[int64]Owner) {
		t.Helper()
		for at, who := range want {
			if got := c.at(at); got != who {
				t.Errorf("%s, at %d: not the right one", when, at)
			}
		}
	}
	check("both last", map[int64]Owner{5: a, 10: a, 55: a, 60: b, 1000: b})
	c[0].end, c[0].until = 40, 70
	check("the first has ended", map[int64]Owner{39: a, 45: a, 50: nil, 55: nil, 60: b, 69: b, 1000: b})
	c[1].end, c[1].until = 100, 100
	check("both have ended", map[int64]Owner{99: b, 100: b, 100 + skew: nil})
	c[0].end, c[0].until = forever, forever
	check("the first never ended", map[int64]Owner{99: b, 100 + skew: nil})
}

func BenchmarkClaims(b *testing.B) {
	var c claims
	for i := range int64(20) {
		c = append(c, claim{&Pod{}, i * 100, i*100 + 10, i*100 + 80, i*100 + 90})
	}
	b.ReportAllocs()
	for b.Loop() {
		if c.at(1950) == nil {
			b.Fatal("nobody")
		}
	}
}
