// Command weir measures the latency of every HTTP request on a host and
// shows it. One file per subcommand; this package only reads flags, wires the
// services together and prints.
package main
