package histogram

import (
	"math"
	"math/bits"
)

// The 32 bucket bounds of an octave at scale 5, in nanoseconds and shifted left
// until their top bit is set: ⌊10⁹ · 2^(j/32) · 2^k⌋ for j = 4 … 35. Buckets
// are of seconds and values are integer nanoseconds, so with one exception
// (j = 32, a power of two seconds, exact) no value equals a bound and the
// floor decides like the bound itself.
var bounds = [32]uint64{
	0x81ffa7a9549ca6e3, 0x84d8626d3118d396, 0x87c11235836d16a3, 0x8aba10758e1ea3cf,
	0x8dc3b8960164a7d9, 0x90de67fff600044c, 0x940a7e28259fb382, 0x97485c9a622adb60,
	0x9a9867054d512391, 0x9dfb034651c99c68, 0xa1709975dfb06757, 0xa4f993f3ed7b61ca,
	0xa8965f74bf065071, 0xac476b0df43f745f, 0xb00d2843e1060dc2, 0xb3e80b172fd51af7,
	0xb7d88a12d0dd9ea0, 0xbbdf1e5a373ce5c6, 0xbffc43b7e604a922, 0xc43078ac4ed47ae7,
	0xc87c3e7d03cdbec3, 0xcce019443eb56ce4, 0xd15c9000bf211c1f, 0xd5f22ca6019743e0,
	0xdaa17c2cd19555db, 0xdf6b0ea438793a89, 0xe44f7742cb56e3dd, 0xe94f4c7859ce1066,
	0xee6b280000000000, 0xf3a3a6f29dd0c333, 0xf8f969d9b5abf948, 0xfe6d14c2b5114024,
}

// slots[s] is how many bounds lie below the values whose six bits after the
// top one are s. A slot is 1/64 of an octave wide, a bucket at least 1/46, so
// one comparison finds the rest.
var slots = [64]uint8{
	0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9, 10,
	10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 16, 16, 17, 17, 18, 18,
	19, 19, 19, 20, 20, 21, 21, 22, 22, 23, 23, 24, 24, 24, 25, 25,
	26, 26, 26, 27, 27, 28, 28, 28, 29, 29, 30, 30, 30, 31, 31, 31,
}

// octave0 is the index at scale 5 of the lowest bucket of the octave that
// begins at 1 ns: bounds[0] there is 10⁹ · 2^(4/32 − 30) ns.
const octave0 = 4 - 30*32 - 1

// bucketIndex is the index at scale 5 of the bucket that holds ns > 0.
func bucketIndex(ns uint64) int32 {
	lead := bits.LeadingZeros64(ns)
	m := ns << lead
	j := int(slots[m>>57&63])
	if m > bounds[j&31] { // j is at most 31: the last bound lies in the last slot
		j++
	}
	return int32(octave0 + (63-lead)*32 + j)
}

// indexRange is the first and last bucket index at scale that a positive int64
// of nanoseconds can fall into.
func indexRange(scale int32) (first, last int32) {
	shift := uint(MaxScale - scale)
	return -30 << MaxScale >> shift, (34<<MaxScale - 1) >> shift
}

// boundNS is the lower bound of bucket index at scale, in nanoseconds.
func boundNS(index, scale int32) float64 {
	return 1e9 * math.Exp2(math.Ldexp(float64(index), int(-scale)))
}
