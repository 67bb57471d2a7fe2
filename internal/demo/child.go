package demo

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	listenerFD = 3 // the listening socket that the parent made
	loadName   = "load"

	envAddress = "WEIR_SHOP_" // + NAME of a service
	envDir     = "WEIR_SHOP_DIR"
	envRate    = "WEIR_SHOP_RATE"
)

// Child is one process of the shop that [Run] started: a service, or "load". It
// ends with ctx or when lifeline does, and reads its addresses from the
// environment.
func Child(ctx context.Context, name string, lifeline io.Reader) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, lifeline)
		stop()
	}()
	sh := newShop(func(service string) string { return os.Getenv(envAddress + service) })
	if name == loadName {
		rate, err := strconv.ParseFloat(os.Getenv(envRate), 64)
		if err != nil {
			return fmt.Errorf("read rate of the load: %w", err)
		}
		return newLoad(sh, filepath.Join(os.Getenv(envDir), CountsFile), rate).run(ctx)
	}
	s, err := find(name)
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	if err != nil {
		return fmt.Errorf("take over listener: %w", err)
	}
	return s.serve(ctx, l, sh)
}

// Alone is one process of the shop that nobody else started, as in a container:
// a service that listens at addr, or "load". The others are at the addresses
// in WEIR_SHOP_NAME, or else at the same port of hosts called like them.
func Alone(ctx context.Context, name, addr string, rate float64) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("read address to listen at: %w", err)
	}
	sh := newShop(func(service string) string {
		return cmp.Or(os.Getenv(envAddress+service), net.JoinHostPort(service, port))
	})
	if name == loadName {
		return newLoad(sh, "", rate).run(ctx)
	}
	s, err := find(name)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for the demo: %w", err)
	}
	return s.serve(ctx, l, sh)
}

func find(name string) (service, error) {
	for _, s := range services() {
		if s.name == name {
			return s, nil
		}
	}
	return service{}, fmt.Errorf("the demo shop has no service %q; it has %s and %s", name, strings.Join(names(), ", "), loadName)
}
