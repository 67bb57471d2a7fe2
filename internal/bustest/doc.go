// Package bustest runs real nats-servers for tests: in the process
// ([Start]), as a cluster of three ([StartCluster]), or as a process of its
// own that can be killed ([StartProcess], which needs [Main] as TestMain).
package bustest
