// Package silence reads and writes the bucket WEIR_SILENCES: which alerts webhooks
// hear nothing of for a while.
//
// `weir alerts silence` writes, the alerter reads before each round and decides what
// is silenced, the gateway shows what there is. What somebody else wrote, or what is
// of a later version, is reported beside the others.
package silence
