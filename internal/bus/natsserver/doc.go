// Package natsserver runs a nats-server with JetStream on disk inside this
// process: `weir up` and the tests use it. It is a folder of its own so that
// programs which only connect do not link a server.
package natsserver
