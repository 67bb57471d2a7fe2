// Package compose runs docker-compose.yaml on a Docker engine of its own and
// compares what `weir latency` shows of the shop's containers with what the load
// generator sent. The engine lives in a network namespace and keeps everything
// in a folder of the test, so that the host's rules and images stay as they are.
//
// Nothing can be pulled where the tests run. The build stage of the Dockerfile
// is carried out here, on what .dockerignore lets through; its final stage by
// Docker. The nats image is built from the nats-server module.
package compose
