package service

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// CheckHTTP tries the address of a service before anything is started, so that
// a port in use is said in one sentence and leaves nothing half-started.
func CheckHTTP(address string) error {
	if address == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return fmt.Errorf("--http %q is not an address such as 127.0.0.1:7070", address)
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("HTTP address %s is in use: stop what listens there, or choose another with --http", address)
	}
	if err != nil {
		return fmt.Errorf("listen at HTTP address: %w", err)
	}
	return l.Close()
}

// Ports are the ports of addresses of Weir's own servers on this host, which
// the agent leaves out.
func Ports(addresses ...string) []uint16 {
	var ports []uint16
	for _, a := range addresses {
		if _, port, err := net.SplitHostPort(a); err == nil {
			if p, err := netip.ParseAddrPort("0.0.0.0:" + port); err == nil {
				ports = append(ports, p.Port())
			}
		}
	}
	return ports
}
