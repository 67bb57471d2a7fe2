// Package enricher turns raw frames into enriched ones: WEIR_RAW →
// WEIR_ENRICHED, one frame for one, in order, partition by partition.
//
// Who is at the local end of an exchange, its event says (process, unit,
// container). Who is at the other end, another event may say: the same
// exchange seen at the other socket, if that is on the same node.
package enricher
