// Package load sends HTTP/1.1 requests and counts them exactly. It writes
// every byte itself: no library retries, pools or follows anything behind the
// caller's back, so Result.Sent is the number of requests that reached a
// socket. Each request is stamped by the client's own clock, from before the
// first byte is written until the read that brought the last one.
//
// A broken connection ends the requests in flight on it, counted as failed;
// the next request dials anew.
package load
