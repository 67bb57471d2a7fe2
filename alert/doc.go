// Package alert evaluates Prometheus rule files over WEIR_LATENCY and says what
// fires: in WEIR_ALERTS as CloudEvents, to Alertmanagers and to webhooks.
//
// Rules are evaluated at times that are multiples of their group's interval, as
// of a little before now, when windows are complete: what a rule gives at a time
// depends on the stream alone. Each round is committed like a batch of the
// aggregator: the changes of alerts and, last, all that is known of them, stored
// together or not at all, and fenced. Whoever goes on after a crash evaluates
// from the time of that record on, so no change is said twice and none forgotten,
// also those that happened while nobody was there.
//
// What rules record is stored in WEIR_RECORDED before the round's record, and read
// from there at a start: whoever evaluates a round once more takes what is stored
// for his rules' values. Sinks never hold up the evaluation: Alertmanagers are told
// all that fires once a minute, webhooks read WEIR_ALERTS at their own pace.
package alert
