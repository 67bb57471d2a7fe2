// Package bpf is the kernel side of Weir: the C, the objects compiled from it
// (committed, for little-endian machines), and the code that loads and
// attaches them. In: a cgroup to watch. Out: a ring of [Record]s that the
// agent reads, and counters of what found no room in it.
//
// The records' C layout is record.h; only agent/record.go knows it too.
// A kernel that can't run a program says so in the error of [Load].
package bpf

//go:generate go tool bpf2go -tags linux -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -mcpu=v3 -I/usr/include/x86_64-linux-gnu" -type record -type conn_info -type counters -type record_kind -type record_flag weir weir.bpf.c
//go:generate go tool bpf2go -tags linux -target bpfel -cc clang-19 -strip llvm-strip-19 -cflags "-O2 -g -Wall -mcpu=v3 -DWEIR_OLD_KERNEL -I/usr/include/x86_64-linux-gnu" weirold weir.bpf.c
